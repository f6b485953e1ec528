"""The record that all steps share: a dialogue, its note, and the facts known to be true.

Files of encounters are JSON Lines, UTF-8, one `Encounter` per line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from medisum_utils.runs.files import read_json_lines, write_json_lines

SECTIONS = ("subjective", "objective", "assessment", "plan")


@dataclass(frozen=True, slots=True)
class Turn:
    """One uninterrupted utterance; `speaker` is a lower-case role such as "doctor"."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One checkable statement of an encounter.

    `text` is the statement as the note words it, `polarity` is "present" or "absent" (a denial),
    `turns` are the indices of the dialogue turns that say it, `value` the words that must be right
    (a dose, a number with its unit, a side), empty if there are none.
    """

    kind: str
    section: str
    text: str
    polarity: str = "present"
    value: str = ""
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NoteSection:
    """One part of a note under its own header.

    `soap` is one of `SECTIONS`, or "assessment_and_plan" where a corpus does not separate the
    two, or "" if the header maps to none of them.
    """

    header: str
    soap: str
    text: str


@dataclass(frozen=True, slots=True)
class Encounter:
    """A dialogue with its reference note; `facts` is empty for real data."""

    id: str
    source: str
    split: str
    turns: tuple[Turn, ...]
    note: tuple[NoteSection, ...]
    facts: tuple[Fact, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def dialogue_text(self) -> str:
        """The turns as lines; see the function `dialogue_text`."""
        return dialogue_text(self.turns)

    @property
    def note_text(self) -> str:
        """The sections as `Header:` lines followed by their text, separated by empty lines."""
        return "\n\n".join(f"{section.header}:\n{section.text}" for section in self.note)


def dialogue_text(turns: Iterable[Turn]) -> str:
    """Turns as lines `Speaker: text`, the form that models read."""
    return "\n".join(f"{turn.speaker.capitalize()}: {turn.text}" for turn in turns)


def write_jsonl(path: str | os.PathLike, encounters: Iterable[Encounter]) -> int:
    """Writes encounters to `path` atomically and returns how many."""
    return write_json_lines(path, map(asdict, encounters))


def read_jsonl(path: str | os.PathLike) -> list[Encounter]:
    """The encounters of a JSON Lines file; see `files.read_json_lines` for what it raises."""
    return read_json_lines(path, Encounter)
