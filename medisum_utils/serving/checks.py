"""Which dialogues the server accepts, and how it refuses others without repeating their text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import dialogue_text

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


class Counts(Protocol):
    """Anything that counts the tokens of a prompt, such as the engine's writer."""

    max_prompt_tokens: int

    def count_tokens(self, dialogue: str) -> int:
        """The length of the rendered prompt, in tokens."""


def is_accepted(text: str, limits: Limits, writer: Counts) -> bool:
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
