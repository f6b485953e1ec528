"""Which dialogues the server accepts, and how it refuses and logs without repeating their text.

A library's error message may quote its input, which here is what a patient said.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import dialogue_text
from medisum_utils.modelling.generation import WrittenNote

MIN_TURNS = 2


@dataclass
class Refusal(Exception):
    """A response other than 200: its status and a one-sentence reason without the client's text."""

    status: int
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The size limits of one request; the model limits tokens, see `engine`."""

    max_body_bytes: int = 1_048_576  # 60,000 characters, each escaped as 12 bytes, still fit
    max_characters: int = 60_000  # about six times the longest encounter of ACI-Bench
    body_timeout_s: float = 30.0


class Writer(Protocol):
    """What the server needs from a loaded model; `writer.ModelWriter` implements it."""

    name: str
    max_prompt_tokens: int

    def count_tokens(self, dialogue: str) -> int:
        """The length of the rendered prompt, in tokens; called from any thread."""

    def write(self, dialogues: Sequence[str]) -> list[WrittenNote]:
        """One note per dialogue, in order; called from the engine's thread only."""


def is_accepted(text: str, limits: Limits, writer: Writer) -> bool:
    """Whether the server would write a note for this dialogue."""
    try:
        dialogue = check_dialogue(text, limits)
    except Refusal:
        return False
    return writer.count_tokens(dialogue) <= writer.max_prompt_tokens


def check_dialogue(text: str, limits: Limits) -> str:
    """Returns the dialogue in the training format, one turn per line; see `transcript.parse_turns`.

    Raises: Refusal 413 for too many characters; 422 for a text that is empty or has fewer than
    two turns `Speaker: text`, each on its own line.
    """
    if len(text) > limits.max_characters:
        raise Refusal(
            413, f"dialogue: expected at most {limits.max_characters} characters, got {len(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can contain half of a surrogate pair
        raise Refusal(422, "dialogue: expected whole Unicode characters, got half of one") from None
    if not text.strip():
        raise Refusal(422, "dialogue: expected a conversation, got no text")
    try:
        turns = parse_turns(text)
    except ValueError as error:  # its message names the line, never its text
        raise Refusal(422, f"dialogue: {error}") from None
    if len(turns) < MIN_TURNS:
        raise Refusal(
            422,
            f"dialogue: expected at least {MIN_TURNS} turns, each on its own line as "
            f"'Doctor: text' or 'Patient: text', got {len(turns)}",
        )
    return dialogue_text(turns)


def describe(error: BaseException) -> str:
    """The types of an error and of its causes, each with its last five stack frames."""
    descriptions = []
    current: BaseException | None = error
    while current is not None:
        frames = traceback.extract_tb(current.__traceback__)[-5:]
        places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        descriptions.append(f"{type(current).__name__} at {places or 'an unknown place'}")
        current = current.__cause__
    return ", caused by ".join(descriptions)
