"""Conversations as the tokens of a base's chat template, whole or up to the next answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from medisum_utils.modelling.plain_text import PlainText
from medisum_utils.modelling.template import (
    ASSISTANT,
    ONE_NOTE,
    SYSTEM,
    USER,
    Place,
    template_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SAID_BY = {SYSTEM: "an instruction", USER: "a dialogue", ASSISTANT: "a note"}
# What a base's own template is tried with: digits, signs, letters, white space within and around.
_HARMLESS = ("Hello, it's 12.5 mg.\n\n- Née (a)", "\n  Well: 7 \n")


class Message(NamedTuple):
    """What one side of a conversation says, and who: "system", "user" or "assistant"."""

    role: str
    text: str


class ChatEncoder:
    """Encodes conversations: control tokens by their ids, everything from outside as plain text.

    `template` is that of the tokenizer's base, and `plain` encodes text.

    Raises: ValueError for a base without a usable chat template, or for a tokenizer that cannot
    keep its control tokens out of text; see `template_of` and `PlainText`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.template, self.plain = template_of(tokenizer), PlainText(tokenizer)
        self._tokenizer = tokenizer
        self._compared: set[tuple[str, ...]] = set()
        for roles in (ONE_NOTE[:-1], ONE_NOTE):
            self._compare(roles)

    def tokens(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The tokens of a conversation, and for each of them 1 if it is supervised, otherwise 0.

        Supervised are the assistant's messages, each with its end of turn. After a user's message
        at the end, the tokens lead up to the answer; they begin every longer conversation as well,
        so that serving sends what training has read.

        Raises: ValueError for roles other than system, then user and assistant in turn, or for an
        empty message.
        """
        roles = tuple(message.role for message in messages)
        if len(roles) < 2 or roles != (SYSTEM, *((USER, ASSISTANT) * len(roles))[: len(roles) - 1]):
            raise ValueError(f"expected system, then user and assistant in turn, got {list(roles)}")
        for number, (role, text) in enumerate(messages):
            if not text.strip():
                what = "a request" if role == USER and number > 1 else _SAID_BY[role]
                raise ValueError(f"expected {what} with text in it, got an empty one")
        self._compare(roles)
        return self._tokens(messages)

    def _pieces(self, messages: Sequence[Message]) -> Iterator[tuple[int | str, bool]]:
        """The control tokens and texts of a conversation, and whether each is an answer."""
        for part in self.template.lay_out(tuple(message.role for message in messages)):
            if isinstance(part, Place):
                role, text = messages[part.message]
                yield part.fill(text), role == ASSISTANT
            else:
                yield part, False

    def _tokens(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        mask: list[int] = []

        def add(new: list[int], supervised: bool = False) -> None:
            ids.extend(new)
            mask.extend([int(supervised)] * len(new))

        before, after_answer = "", False  # text not yet encoded; whether an answer stands before
        for piece, is_answer in self._pieces(messages):
            if isinstance(piece, int):
                add(self.plain.encode(before))
                add([piece], supervised=after_answer)
                before, after_answer = "", False
            elif is_answer:
                add(self.plain.encode(before))
                add(self._following(before, piece), supervised=True)
                before, after_answer = "", True
            elif self.template.joined:
                before += piece
            else:
                add(self.plain.encode(piece))
        add(self.plain.encode(before))
        return ids, mask

    def _following(self, before: str, answer: str) -> list[int]:
        """The tokens of an answer after those of the text before it, with which a prompt ends.

        Where the two encoded as one have a token across their border, as white space may, the
        answer is encoded by itself: after a prompt, the model can write it in no other way.
        """
        prompt, whole = self.plain.encode(before), self.plain.encode(before + answer)
        return whole[len(prompt) :] if whole[: len(prompt)] == prompt else self.plain.encode(answer)

    def _compare(self, roles: tuple[str, ...]) -> None:
        """Holds a base's own template, once for each form, against `apply_chat_template`.

        Raises: ValueError where it encodes the text between two control tokens in another way.
        """
        if roles in self._compared or not self.template.joined:
            return
        for text in _HARMLESS:
            ids, between = [], ""
            for piece, _ in self._pieces([Message(role, text) for role in roles]):
                if isinstance(piece, int):
                    ids += [*self.plain.encode(between), piece]
                    between = ""
                else:
                    between += piece
            ids += self.plain.encode(between)
            expected = self._tokenizer.apply_chat_template(
                [{"role": role, "content": text} for role in roles],
                add_generation_prompt=roles[-1] != ASSISTANT,
                return_dict=False,
            )
            if expected[: len(ids)] != ids:
                raise ValueError(
                    "expected a tokenizer that encodes the text between two control tokens by "
                    "itself, got one whose tokens differ from those of apply_chat_template; this "
                    "base cannot be used"
                )
        self._compared.add(roles)
