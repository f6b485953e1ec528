"""Twelve visits typed by hand, in `data/visits/`, and the facts that a note of each must hold.

They are material for judging what is served, by hand, in the report of 05. Nothing is trained,
chosen or tuned on them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import dialogue_text
from medisum_utils.runs import resolve, shown_path
from medisum_utils.runs.paths import PathLike

FOLDER = "data/visits"
FACTS_FILE = "facts.csv"
_PATIENT = ("allergy", "medicine", "dose", "symptom", "denial")
KINDS = (*_PATIENT, "vital", "result", "diagnosis", "plan")
_COLUMNS = ("visit", "fact", "kind", "dangerous_if", "said")


@dataclass(frozen=True, slots=True)
class VisitFact:
    """What a clinician looks for in the note of a visit.

    `dangerous_if` are statements about it that could hurt the patient, `said` the dialogue's own
    words for it.
    """

    fact: str
    kind: str
    dangerous_if: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TypedVisit:
    """One visit: its number as two digits, its dialogue as models read it, and its facts."""

    number: str
    dialogue: str
    facts: tuple[VisitFact, ...]


def read_visits(folder: PathLike = FOLDER) -> list[TypedVisit]:
    """The visits of a folder, in order; a relative one is looked up under the project's root.

    Raises: FileNotFoundError without visits or `facts.csv`; ValueError that names the line of a
    fact of another form, of an unknown visit or kind, or whose words are not in its dialogue; and
    for a visit without facts.
    """
    folder = resolve(folder)
    paths = sorted(folder.glob("[0-9][0-9].txt"))
    if not paths or not (folder / FACTS_FILE).is_file():
        raise FileNotFoundError(
            f"expected 01.txt and so on and {FACTS_FILE} in {shown_path(folder)}, which come with "
            f"the repository; restore them with `git checkout {FOLDER}`"
        )
    dialogues = {
        path.stem: dialogue_text(parse_turns(path.read_text(encoding="utf-8"))) for path in paths
    }
    facts = _read_facts(folder / FACTS_FILE, dialogues)
    empty = [number for number in dialogues if not facts[number]]
    if empty:
        raise ValueError(f"{FACTS_FILE}: expected facts of every visit, got none of {empty}")
    return [TypedVisit(name, text, tuple(facts[name])) for name, text in dialogues.items()]


def whole_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with exactly these columns, each with its place for errors.

    Raises: ValueError for other columns, or that names a line with more or fewer fields.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if tuple(reader.fieldnames or ()) != columns:
            raise ValueError(f"{path.name}: expected the columns {', '.join(columns)}")
        for row in reader:
            where = f"{path.name}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: expected {len(columns)} fields, got more or fewer")
            yield where, row


def _read_facts(path: Path, dialogues: dict[str, str]) -> dict[str, list[VisitFact]]:
    facts: dict[str, list[VisitFact]] = {number: [] for number in dialogues}
    for where, row in whole_rows(path, _COLUMNS):
        if row["visit"] not in dialogues or row["kind"] not in KINDS or not row["fact"]:
            raise ValueError(
                f"{where}: expected a fact of a visit that is there, of a kind among "
                f"{', '.join(KINDS)}"
            )
        fact = VisitFact(
            row["fact"],
            row["kind"],
            _parts(row["dangerous_if"], ";"),
            _parts(row["said"], "|"),
        )
        if not fact.said or any(words not in dialogues[row["visit"]] for words in fact.said):
            raise ValueError(
                f"{where}: expected `said` to be words of visit {row['visit']}, got others"
            )
        facts[row["visit"]].append(fact)
    return facts


def _parts(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())
