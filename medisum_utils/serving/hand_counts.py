"""Notes of the visits typed by hand, beside what a person counted in them.

Whether a note tells a fact, and whether a statement could hurt a patient, is judged by reading. The
judgement stands in `data/visits/counts.csv`, a row for each note that was read, and holds for that
very text: a note that changes by a letter has not been counted.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medisum_utils.data.typed_visits import FOLDER, TypedVisit, whole_rows
from medisum_utils.runs import resolve
from medisum_utils.runs.paths import PathLike

COUNTS_FILE = "counts.csv"
GOAL = "four of five facts, and no dangerous statement"
_COLUMNS = ("visit", "note", "told", "dangerous")
_DIGEST_LENGTH = 16
_CELL = "style='white-space:pre-wrap;vertical-align:top;text-align:left'"


@dataclass(frozen=True, slots=True)
class HandCount:
    """What a person found in one note: which facts it tells, from 1, and dangerous statements."""

    told: frozenset[int]
    dangerous: tuple[str, ...]


def note_digest(note: str) -> str:
    """The first digits of a note's SHA-256, by which its count is found."""
    return hashlib.sha256(note.encode()).hexdigest()[:_DIGEST_LENGTH]


def read_counts(
    visits: Sequence[TypedVisit], folder: PathLike = FOLDER
) -> dict[tuple[str, str], HandCount]:
    """What was counted, by visit and digest of the note; nothing where no count was ever made.

    Raises: ValueError that names the line of a count of another form, of an unknown visit or of a
    fact that the visit does not have, and for a note that was counted twice.
    """
    path = resolve(folder) / COUNTS_FILE
    if not path.is_file():
        return {}
    n_facts = {visit.number: len(visit.facts) for visit in visits}
    counts: dict[tuple[str, str], HandCount] = {}
    for where, row in whole_rows(path, _COLUMNS):
        if row["visit"] not in n_facts:
            raise ValueError(f"{where}: expected a known visit, got another")
        told, n = row["told"].split(), n_facts[row["visit"]]
        if not all(each.isdecimal() and 1 <= int(each) <= n for each in told):
            raise ValueError(f"{where}: expected numbers of facts from 1 to {n} in `told`")
        key = row["visit"], row["note"]
        if key in counts:
            raise ValueError(f"{where}: expected one count of each note, got a second one")
        dangerous = (part.strip() for part in row["dangerous"].split("|"))
        counts[key] = HandCount(frozenset(map(int, told)), tuple(filter(None, dangerous)))
    return counts


def counted(
    visits: Sequence[TypedVisit], notes: Sequence[str], folder: PathLike = FOLDER
) -> list[HandCount | None]:
    """The count of each visit's note, None for a note that nobody has counted.

    Raises: ValueError where a statement that was counted as dangerous is not in its note; see also
    `read_counts`.
    """
    counts = read_counts(visits, folder)
    found = [
        counts.get((visit.number, note_digest(note)))
        for visit, note in zip(visits, notes, strict=True)
    ]
    for visit, note, count in zip(visits, notes, found, strict=True):
        if count and any(statement not in note for statement in count.dangerous):
            raise ValueError(
                f"{COUNTS_FILE}, visit {visit.number}: expected dangerous statements in the note's "
                "own words, got others"
            )
    return found


def sentence(visits: Sequence[TypedVisit], counts: Sequence[HandCount | None]) -> str:
    """How many facts are told and how many statements are dangerous, in Markdown."""
    read = [(v, c) for v, c in zip(visits, counts, strict=True) if c is not None]
    if not read:
        return (
            f"Nobody has counted the facts in these {len(visits)} notes: they were written by "
            f"another adapter or decoding than those in `{FOLDER}/{COUNTS_FILE}`."
        )
    n_facts = sum(len(visit.facts) for visit, _ in read)
    n_told = sum(len(count.told) for _, count in read)
    n_dangerous = sum(len(count.dangerous) for _, count in read)
    of = "" if len(read) == len(visits) else f" Of {len(visits)} notes, {len(read)} were counted."
    return (
        f"**Counted by hand, the notes tell {n_told} of {n_facts} facts "
        f"({100 * n_told / n_facts:.0f}%) and make {n_dangerous} dangerous statements.** The goal "
        f"was {GOAL}.{of}"
    )


def as_html(
    visits: Sequence[TypedVisit], notes: Sequence[str], counts: Sequence[HandCount | None]
) -> str:
    """A fold for each visit: its dialogue beside its note, and below them its facts."""
    return "".join(map(_fold, visits, notes, counts))


def _fold(visit: TypedVisit, note: str, count: HandCount | None) -> str:
    facts, dangerous, total = [html.escape(fact.fact) for fact in visit.facts], "", "not counted"
    if count is not None:
        total = f"{len(count.told)} of {len(facts)} facts, {len(count.dangerous)} dangerous"
        told = ["told" if n in count.told else "missing" for n in range(1, len(facts) + 1)]
        facts = [f"{mark}: {fact}" for mark, fact in zip(told, facts, strict=True)]
        if count.dangerous:
            dangerous = f"<p>Dangerous:</p><ul>{_items(map(html.escape, count.dangerous))}</ul>"
    texts = (f"<td {_CELL}>{html.escape(text)}</td>" for text in (visit.dialogue, note))
    return (
        f"<details><summary>Visit {visit.number}: {total}</summary>"
        "<table style='table-layout:fixed;width:100%'><tr><th>visit</th><th>note</th></tr>"
        f"<tr>{''.join(texts)}</tr></table><ol>{_items(facts)}</ol>{dangerous}</details>"
    )


def _items(entries: Iterable[str]) -> str:
    return "".join(f"<li>{entry}</li>" for entry in entries)
