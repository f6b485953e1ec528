"""The only renderer: a dialogue, with or without its note, as the tokens a Llama-3 model reads.

Control tokens are placed by their ids; everything from outside is encoded as plain text, so that a
dialogue that spells `<|eot_id|>` stays a dialogue, in training and in serving.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.adapter import read_record_file
from medisum_utils.runs import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
HEADER_START, HEADER_END = "<|start_header_id|>", "<|end_header_id|>"
TURN_END = "<|eot_id|>"
CONTROL_TOKENS = (BEGIN, END, HEADER_START, HEADER_END, TURN_END)

TOO_LONG_POLICIES = ("drop", "cut_middle", "cut_earliest")
CUT_MARK = "[...]"  # stands where turns were left out, so that the model sees the gap
PROMPT_FILE = "prompt.json"


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """One encounter as tokens: the prompt, then the completion, which alone is supervised.

    `completion_mask` is 0 for each token of the prompt and 1 for each of the note and its end of
    turn. `n_cut_turns` turns of the dialogue were left out to make it fit.

    Raises: ValueError for any other mask.
    """

    id: str
    input_ids: tuple[int, ...]
    completion_mask: tuple[int, ...]
    n_cut_turns: int = 0

    def __post_init__(self) -> None:
        n_supervised = self.n_completion_tokens
        expected = (0,) * self.n_prompt_tokens + (1,) * n_supervised
        if n_supervised < 1 or self.completion_mask != expected:
            raise ValueError(
                f"{self.id}: expected a mask of zeros, then ones, for {len(self.input_ids)} "
                f"tokens, got {len(self.completion_mask)} entries, {n_supervised} of them not 0"
            )

    @property
    def n_completion_tokens(self) -> int:
        """How many tokens are supervised: the note and its end of turn."""
        return sum(self.completion_mask)

    @property
    def n_prompt_tokens(self) -> int:
        """How many tokens stand before the note, to be read and not learnt."""
        return len(self.input_ids) - self.n_completion_tokens


class Renderer:
    """Renders system (instruction), user (dialogue) and assistant (note) in the Llama-3 template.

    `base_model` is the name or path of the base whose tokenizer it is; it is saved with the prompt.
    `stop_ids` end a note, the end of turn first. `pad_id` pads a batch and is always masked;
    Llama-3 has no padding token of its own.

    Raises: ValueError for a tokenizer without the Llama-3 control tokens, or an empty instruction.
    Source: `ChatFormat` in meta-llama/llama-models, models/llama3/chat_format.py.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, instruction: str, base_model: str = ""
    ) -> None:
        from tokenizers import Tokenizer

        if not instruction.strip():
            raise ValueError("expected an instruction with text in it, got an empty one")
        added = tokenizer.added_tokens_encoder
        missing = [token for token in CONTROL_TOKENS if token not in added]
        if missing:
            raise ValueError(
                f"expected a tokenizer with the Llama-3 control tokens, got one without {missing}"
            )
        self.instruction, self.base_model = instruction, base_model
        self.control_ids: dict[str, int] = {token: added[token] for token in CONTROL_TOKENS}
        special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = special | set(self.control_ids.values())
        # A copy, since the switch below would otherwise change the caller's tokenizer.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.no_truncation()
        self.tokenizer_sha256 = hashlib.sha256(self._backend.to_str().encode()).hexdigest()
        self._set_template()

    def _set_template(self) -> None:
        """What stands around a dialogue and its note; nothing else here depends on the template."""
        begin, end, header_start, header_end, turn_end = self.control_ids.values()

        def header(role: str) -> list[int]:
            return [header_start, *self.encode(role), header_end, *self.encode("\n\n")]

        system = [*header("system"), *self.encode(self.instruction), turn_end]
        self._before_dialogue = [begin, *system, *header("user")]
        self._before_note = [turn_end, *header("assistant")]
        self._after_note = [turn_end]
        self.stop_ids, self.pad_id = (turn_end, end), end

    def encode(self, text: str) -> list[int]:
        """Plain text as token ids: a control token spelt in it becomes ordinary pieces.

        Raises: ValueError if a control token came out all the same.
        """
        ids = self._backend.encode(text, add_special_tokens=False).ids
        if not self._special.isdisjoint(ids):
            raise ValueError(
                "expected plain text pieces only, got a control token from the tokenizer; "
                "its control tokens must be marked as special"
            )
        return ids

    def prompt_ids(self, dialogue_text: str) -> list[int]:
        """The tokens up to where the note begins, for training and for serving.

        Raises: ValueError for an empty dialogue.
        """
        if not dialogue_text.strip():
            raise ValueError("expected a dialogue with text in it, got an empty one")
        return [*self._before_dialogue, *self.encode(dialogue_text), *self._before_note]

    def completion_ids(self, note_text: str) -> list[int]:
        """The tokens of a note and its end of turn.

        Raises: ValueError for an empty note.
        """
        if not note_text.strip():
            raise ValueError("expected a note with text in it, got an empty one")
        return [*self.encode(note_text), *self._after_note]

    def example(
        self, encounter: Encounter, dialogue_text: str | None = None, n_cut_turns: int = 0
    ) -> RenderedExample:
        """An encounter, whole, or with `dialogue_text`, which lacks `n_cut_turns` of its turns.

        Raises: ValueError that names the encounter for an empty dialogue or note.
        """
        if dialogue_text is None:
            dialogue_text = encounter.dialogue_text
        try:
            prompt = self.prompt_ids(dialogue_text)
            completion = self.completion_ids(encounter.note_text)
        except ValueError as error:
            raise ValueError(f"{encounter.id}: {error}") from None
        mask = (0,) * len(prompt) + (1,) * len(completion)
        return RenderedExample(encounter.id, (*prompt, *completion), mask, n_cut_turns)

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
        return self._backend.decode(list(ids[:stop]), skip_special_tokens=True)

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes `prompt.json` into `folder`, beside the adapter trained with it."""
        content = {
            "template": "llama-3",
            "base_model": self.base_model,
            "tokenizer_sha256": self.tokenizer_sha256,
            "instruction": self.instruction,
            "control_ids": self.control_ids,
        }
        return write_json(Path(folder) / PROMPT_FILE, content)

    @classmethod
    def load(cls, folder: str | os.PathLike, tokenizer: PreTrainedTokenizerBase) -> Renderer:
        """The renderer that an adapter was trained with.

        Raises: FileNotFoundError without `prompt.json`; ValueError for a broken one, or for a
        tokenizer that is not the one of training.
        """
        content = read_prompt(folder)
        if content["template"] != "llama-3":
            raise ValueError(f"expected the template 'llama-3', got {content['template']!r}")
        renderer = cls(tokenizer, content["instruction"], content["base_model"])
        saved = (content["control_ids"], content["tokenizer_sha256"])
        if saved != (renderer.control_ids, renderer.tokenizer_sha256):
            raise ValueError(
                f"expected the tokenizer that {Path(folder).name}/{PROMPT_FILE} was made with, got "
                "one with other pieces, ids or control tokens; put that base model back, or run "
                "again from 02_format"
            )
        return renderer


def read_prompt(folder: str | os.PathLike) -> dict[str, Any]:
    """What `Renderer.save` wrote: template, base_model, tokenizer_sha256, instruction, control_ids.

    Raises: FileNotFoundError where it is missing, ValueError where it is broken.
    """
    return read_record_file(
        Path(folder) / PROMPT_FILE,
        dict.fromkeys(("template", "base_model", "tokenizer_sha256", "instruction"), str)
        | {"control_ids": dict},
        "notebook 02_format writes it for 03_qlora_train, which puts it beside the adapter",
    )
