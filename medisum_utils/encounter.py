"""The one record that every step passes on: a dialogue, its note, and what is known to be true.

Files of encounters are JSON Lines, UTF-8, one `Encounter` per line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
    (a dose, a number with its unit, a side), empty where the statement has none.
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

    `soap` is one of `SECTIONS`, or "assessment_and_plan" where a corpus does not part the two,
    or "" where the header maps to none of them.
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
        """The turns as lines `Speaker: text`, the form in which a model reads them."""
        return "\n".join(f"{turn.speaker.capitalize()}: {turn.text}" for turn in self.turns)

    @property
    def note_text(self) -> str:
        """The sections as `Header:` lines with their text below, an empty line between sections."""
        return "\n\n".join(f"{part.header}:\n{part.text}" for part in self.note)

    @classmethod
    def from_dict(cls, record: dict) -> Encounter:
        """Builds the record from parsed JSON.

        Raises: KeyError or TypeError for a missing or misshaped field.
        """
        return cls(
            id=str(record["id"]),
            source=str(record["source"]),
            split=str(record["split"]),
            turns=tuple(Turn(**turn) for turn in record["turns"]),
            note=tuple(NoteSection(**part) for part in record["note"]),
            facts=tuple(
                Fact(**{**fact, "turns": tuple(fact.get("turns", ()))})
                for fact in record.get("facts", ())
            ),
            meta=dict(record.get("meta", {})),
        )


def write_jsonl(path: str | os.PathLike, encounters: Iterable[Encounter]) -> int:
    """Writes encounters to `path`, whole or not at all, and returns how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    n = 0
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for encounter in encounters:
            file.write(json.dumps(asdict(encounter), ensure_ascii=False) + "\n")
            n += 1
    partial.replace(path)
    return n


def iter_jsonl(path: str | os.PathLike) -> Iterator[Encounter]:
    """Yields the encounters of a JSON Lines file.

    Raises: ValueError that names file and line, never the text, for a line that is no encounter.
    """
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Encounter.from_dict(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: expected one JSON object per line, "
                    f"got invalid JSON ({error.msg} at column {error.colno})"
                ) from None
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number}: expected an encounter with id, source, split, turns "
                    f"and note; {type(error).__name__} while reading it"
                ) from None


def read_jsonl(path: str | os.PathLike) -> list[Encounter]:
    """Reads a whole file of encounters; see `iter_jsonl` for what it raises."""
    return list(iter_jsonl(path))
