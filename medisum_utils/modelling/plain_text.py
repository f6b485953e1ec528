"""A base's tokenizer for text from outside: whatever such text spells, it stays text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The added tokens that text from outside must never become, and their ids.

    Bases differ in which of them they mark as special, so the mark does not decide. Unmarked tokens
    of nothing but white space are text.
    """
    return {
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content.strip()
    }


class PlainText:
    """Encodes plain text with a copy of a base's tokenizer; the caller's own is left as it is.

    `sha256` is that of the tokenizer's pieces, ids and added tokens.

    Raises: ValueError for a tokenizer that is not of the `tokenizers` library, or in which the
    spelling of a control token is one of the ordinary pieces.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import Tokenizer

        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ValueError(
                "expected a tokenizer of the tokenizers library, with a tokenizer.json, got "
                f"{type(tokenizer).__name__}"
            )
        control = control_tokens(tokenizer)
        self._control_ids = set(control.values())
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        for token in content["added_tokens"]:
            token["special"] = token["id"] in self._control_ids
        self._backend = Tokenizer.from_str(json.dumps(content))
        self._backend.no_padding()
        self._backend.no_truncation()
        self.sha256 = hashlib.sha256(self._backend.to_str().encode()).hexdigest()
        self._backend.encode_special_tokens = True
        for token in control:
            self.encode(token)  # a base that cannot spell one must not come as far as a dialogue

    def encode(self, text: str) -> list[int]:
        """Text as token ids: a control token spelt in it becomes ordinary pieces.

        Raises: ValueError if a control token came out all the same.
        """
        ids = self._backend.encode(text, add_special_tokens=False).ids
        if not self._control_ids.isdisjoint(ids):
            raise ValueError(
                "expected plain text pieces only, got a control token: this base's tokenizer "
                "cannot spell all its control tokens, or all characters, as text"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without the control tokens among them."""
        return self._backend.decode(list(ids), skip_special_tokens=True)
