"""The only renderer: a dialogue, with or without its note, as the tokens that a base reads.

The control tokens of its chat template are placed by their ids; everything from outside is encoded
as plain text, so that a dialogue that spells one stays a dialogue, in training and in serving.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.adapter import read_record_file
from medisum_utils.modelling.conversation import ChatEncoder, Message
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.template import ASSISTANT, SYSTEM, USER
from medisum_utils.runs import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOO_LONG_POLICIES = ("drop", "cut_middle", "cut_earliest")
CUT_MARK = "[...]"  # stands where turns were left out, so that the model sees the gap
PROMPT_FILE = "prompt.json"


class Renderer:
    """Renders system (instruction), user (dialogue) and assistant (note) in the base's template.

    `base_model` is the name or path of the base whose tokenizer it is; it is saved with the prompt.
    `template` is the base's: see `template_of`. `stop_ids` end a note, the end of turn first;
    `pad_id` pads a batch and is always masked.

    Raises: ValueError for an empty instruction, a base without a usable chat template, or a
    tokenizer that cannot keep its control tokens out of text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, instruction: str, base_model: str = ""
    ) -> None:
        if not instruction.strip():
            raise ValueError("expected an instruction with text in it, got an empty one")
        self.instruction, self.base_model = instruction, base_model
        self._chat = ChatEncoder(tokenizer)
        self.template, self.tokenizer_sha256 = self._chat.template, self._chat.plain.sha256
        self.control_ids: dict[str, int] = dict(self.template.control_ids)
        self.stop_ids, self.pad_id = self.template.stop_ids, self.template.pad_id

    def encode(self, text: str) -> list[int]:
        """Plain text as token ids; see `PlainText.encode`."""
        return self._chat.plain.encode(text)

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The tokens of a conversation and their mask, 1 where supervised; see `ChatEncoder`."""
        return self._chat.tokens(messages)

    def prompt(self, dialogue_text: str) -> list[Message]:
        """The messages before the note: the instruction and the dialogue."""
        return [Message(SYSTEM, self.instruction), Message(USER, dialogue_text)]

    def prompt_ids(self, dialogue_text: str) -> list[int]:
        """The tokens up to where the note begins, for training and for serving.

        Raises: ValueError for an empty dialogue.
        """
        return self.conversation(self.prompt(dialogue_text))[0]

    def completion_ids(self, note_text: str) -> list[int]:
        """The tokens of a note and its end of turn.

        Raises: ValueError for an empty note.
        """
        pairs = self.conversation([*self.prompt("..."), Message(ASSISTANT, note_text)])
        return [token for token, supervised in zip(*pairs, strict=True) if supervised]

    def example(
        self, encounter: Encounter, dialogue_text: str | None = None, n_cut_turns: int = 0
    ) -> RenderedExample:
        """An encounter, whole, or with `dialogue_text`, which lacks `n_cut_turns` of its turns.

        Raises: ValueError that names the encounter for an empty dialogue or note.
        """
        if dialogue_text is None:
            dialogue_text = encounter.dialogue_text
        try:
            ids, mask = self.conversation(
                [*self.prompt(dialogue_text), Message(ASSISTANT, encounter.note_text)]
            )
        except ValueError as error:
            raise ValueError(f"{encounter.id}: {error}") from None
        return RenderedExample(encounter.id, tuple(ids), tuple(mask), n_cut_turns)

    def fit(self, text: str, max_prompt_tokens: int, policy: str = "cut_middle") -> tuple[str, int]:
        """Leaves out as few turns (lines) as make the prompt fit; returns the text and how many.

        "cut_middle" keeps beginning and end of a dialogue, "cut_earliest" the end.

        Raises: ValueError if not even one turn fits.
        """
        if len(self.prompt_ids(text)) <= max_prompt_tokens:
            return text, 0
        lines = text.split("\n")

        def cut(n_kept: int) -> str:
            n_first = (n_kept + 1) // 2 if policy == "cut_middle" else 0
            return "\n".join([*lines[:n_first], CUT_MARK, *lines[len(lines) - n_kept + n_first :]])

        def is_too_long(n_kept: int) -> bool:
            return len(self.prompt_ids(cut(n_kept))) > max_prompt_tokens

        n_kept = bisect.bisect_left(range(1, len(lines)), True, key=is_too_long)
        if n_kept == 0:
            raise ValueError(f"no turn of the dialogue fits into {max_prompt_tokens} prompt tokens")
        return cut(n_kept), len(lines) - n_kept

    def fitted_example(
        self, encounter: Encounter, max_tokens: int, policy: str
    ) -> RenderedExample | str:
        """An encounter within `max_tokens`, or the reason why it is dropped; notes are never cut.

        Raises: ValueError for an unknown policy, an empty dialogue or an empty note.
        """
        if policy not in TOO_LONG_POLICIES:
            raise ValueError(f"expected one of {TOO_LONG_POLICIES}, got {policy!r}")
        whole = self.example(encounter)
        if len(whole.input_ids) <= max_tokens:
            return whole
        if policy == "drop":
            return "longer than the limit"
        room = max_tokens - whole.n_completion_tokens
        try:
            return self.example(encounter, *self.fit(encounter.dialogue_text, room, policy))
        except ValueError:
            return "note leaves no room for a turn"

    def decode_note(self, ids: Sequence[int]) -> str:
        """The text of generated tokens up to the first stop token."""
        stop = next((i for i, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self._chat.plain.decode(ids[:stop])

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes `prompt.json` into `folder`, beside the adapter trained with it."""
        content = {
            "template": self.template.kind,
            "base_model": self.base_model,
            "tokenizer_sha256": self.tokenizer_sha256,
            "instruction": self.instruction,
            "control_ids": self.control_ids,
            **self.template.record,
        }
        return write_json(Path(folder) / PROMPT_FILE, content)

    @classmethod
    def load(cls, folder: str | os.PathLike, tokenizer: PreTrainedTokenizerBase) -> Renderer:
        """The renderer that an adapter was trained with.

        Raises: FileNotFoundError without `prompt.json`; ValueError for a broken one, or for a
        tokenizer or chat template that is not the one of training.
        """
        content = read_prompt(folder)
        renderer = cls(tokenizer, content["instruction"], content["base_model"])
        made_with = f"that {Path(folder).name}/{PROMPT_FILE} was made with, got"
        again = "put that base model back, or run again from 02_format"
        template = renderer.template
        if content["template"] != template.kind:
            raise ValueError(
                f"expected the chat template {content['template']!r} {made_with} "
                f"{template.kind!r}; {again}"
            )
        saved = (content["control_ids"], content["tokenizer_sha256"])
        if saved != (renderer.control_ids, renderer.tokenizer_sha256):
            raise ValueError(
                f"expected the tokenizer {made_with} one with other pieces, ids or control "
                f"tokens; {again}"
            )
        if any(content.get(name) != value for name, value in template.record.items()):
            raise ValueError(f"expected the chat template {made_with} another one; {again}")
        return renderer


def read_prompt(folder: str | os.PathLike) -> dict[str, Any]:
    """What `Renderer.save` wrote: template, base_model, tokenizer_sha256, instruction, control_ids.

    A base's own template adds template_sha256 and template_text.

    Raises: FileNotFoundError where it is missing, ValueError where it is broken.
    """
    return read_record_file(
        Path(folder) / PROMPT_FILE,
        dict.fromkeys(("template", "base_model", "tokenizer_sha256", "instruction"), str)
        | {"control_ids": dict},
        "notebook 02_format writes it for 03_qlora_train, which puts it beside the adapter",
    )
