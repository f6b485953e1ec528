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
from medisum_utils.notes.parts import WHOLE, Part, parts_of, parts_to_write
from medisum_utils.runs import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOO_LONG_POLICIES = ("drop", "cut_middle", "cut_earliest")
CUT_MARK = "[...]"  # stands where turns were left out, so that the model sees the gap
PROMPT_FILE = "prompt.json"
_RECORDED = ("template", "base_model", "tokenizer_sha256", "instruction")


class Renderer:
    """Renders system (instruction), user (dialogue) and assistant (note) in the base's template.

    `parts` says how a note is asked for, one of `notes.parts.SCHEMES`: whole, or in several answers
    of one conversation, the dialogue in its first message. `base_model` is the name or path of the
    base whose tokenizer it is. Both are saved with the prompt. `template` is the base's: see
    `template_of`. `stop_ids` end a note, the end of turn first; `pad_id` pads a batch and is always
    masked.

    Raises: ValueError for an empty instruction, unknown `parts`, a base without a usable chat
    template, or a tokenizer that cannot keep its control tokens out of text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        instruction: str,
        base_model: str = "",
        parts: str = WHOLE,
    ) -> None:
        parts_to_write(parts)  # refuses unknown ones
        if not instruction.strip():
            raise ValueError("expected an instruction with text in it, got an empty one")
        self.instruction, self.base_model, self.parts = instruction, base_model, parts
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

    def messages(self, dialogue_text: str, parts: Sequence[Part]) -> list[Message]:
        """The instruction, then request and answer in turn, up to the first answer not written.

        Raises: ValueError for an empty dialogue.
        """
        if not dialogue_text.strip():
            raise ValueError("expected a dialogue with text in it, got an empty one")
        messages, above = [Message(SYSTEM, self.instruction)], dialogue_text
        for part in parts:
            asked = f"{above}\n\n{part.request}" if above and part.request else above
            messages.append(Message(USER, asked or part.request))
            if part.answer is None:
                break
            messages.append(Message(ASSISTANT, part.answer))
            above = ""
        return messages

    def prompt_ids(self, dialogue_text: str, parts: Sequence[Part] | None = None) -> list[int]:
        """The tokens up to where the first answer that is not written begins.

        `parts` are by default those to write, none of them written. For training and for serving.

        Raises: ValueError for an empty dialogue.
        """
        if parts is None:
            parts = parts_to_write(self.parts)
        return self.conversation(self.messages(dialogue_text, parts))[0]

    def completion_ids(self, note_text: str) -> list[int]:
        """The tokens of a note and its end of turn.

        Raises: ValueError for an empty note.
        """
        pairs = self.conversation(self.messages("...", [Part("", note_text)]))
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
            parts = parts_of(encounter, self.parts)
            ids, mask = self.conversation(self.messages(dialogue_text, parts))
        except ValueError as error:
            known = str(error).removeprefix(f"{encounter.id}: ")
            raise ValueError(f"{encounter.id}: {known}") from None
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
        room = max_tokens - (len(whole.input_ids) - whole.n_prompt_tokens)
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
            "parts": self.parts,
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
        renderer = cls(tokenizer, content["instruction"], content["base_model"], content["parts"])
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
    """What `Renderer.save` wrote, by the names of its parameters, and template and control tokens.

    A base's own template adds template_sha256 and template_text.

    Raises: FileNotFoundError where it is missing, ValueError where it is broken.
    """
    content = read_record_file(
        Path(folder) / PROMPT_FILE,
        dict.fromkeys(_RECORDED, str) | {"control_ids": dict},
        "notebook 02_format writes it for 03_qlora_train, which puts it beside the adapter",
    )
    return {"parts": WHOLE, **content}  # files from before there were parts have none
