"""Exact fact scores of notes about generated encounters, whose every fact is known.

A note is read with the grammar that wrote its reference (`soap.read_line`) and compared with the
record, statement by statement. A statement is one of:

- right: a fact of the record has its kind, polarity, wording and SOAP section;
- misplaced: a fact of the record has its kind, polarity and wording, but another section;
- hallucinated: no fact of the record has its kind, polarity and wording. Examples are "Stop
  lisinopril" if the record says to continue it, an allergy to a medicine that the patient takes,
  and a symptom that the patient denied.

Everything is measured against the record, not against the dialogue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from medisum_utils.encounter import SECTIONS, Encounter, Fact
from medisum_utils.synthesis.soap import read_facts, read_line

MEASURES = ("precision", "recall", "f1", "omission", "hallucination")

# Kinds under which the same words make the same claim: what a patient "reports" may be the
# complaint or its course, and a finding may be listed as vital sign, exam or result. Such a
# statement is neither hallucinated nor right: it counts as misplaced. The reverse does not hold: a
# symptom given as the reason for the visit is a different claim.
ALSO_UNDER = {
    "symptom": ("complaint", "laterality", "onset", "severity", "quality", "worse", "better"),
    "vital": ("exam", "result"),
    "exam": ("vital", "result"),
    "result": ("vital", "exam"),
}

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class FactScore:
    """The scores of one note against its record, in 0 to 1, and the facts behind them.

    `precision` is the share of the note's statements that are right, `recall` the share of the
    record that the note has right, `omission` is 1 - `recall`, `hallucination` the share of the
    note's statements that are hallucinated. A true statement under the wrong header lowers
    precision and recall only. A note that states nothing has precision and hallucination 0.

    The section of a hallucinated or misplaced statement is the one in which the note has it.
    """

    precision: float
    recall: float
    f1: float
    omission: float
    hallucination: float
    right: tuple[Fact, ...]
    omitted: tuple[Fact, ...]
    hallucinated: tuple[Fact, ...]
    misplaced: tuple[Fact, ...]


def _key(fact: Fact, section: str, kind: str = "") -> Key:
    """The key that equal statements share; `section` is the one whose grammar has the line."""
    return kind or fact.kind, fact.polarity, fact.text.lower(), section


def _statements(note_text: str) -> list[tuple[Fact, str]]:
    """The note's statements, each with the section that it belongs to.

    That section differs from the statement's own for a line under the wrong header. Such a line is
    read with the grammar of the right section, so that its claim is known in any place.
    """
    statements = []
    for fact in read_facts(note_text):
        misplaced = _read_elsewhere(fact) if fact.kind == "other" else []
        statements += misplaced or [(fact, fact.section)]
    return statements


def _read_elsewhere(line: Fact) -> list[tuple[Fact, str]]:
    """The statements of a line that only the grammar of another section can read."""
    text = line.text.removesuffix(".") + "."
    for section in SECTIONS:
        facts = read_line(section, text) if section != line.section else []
        if facts and all(fact.kind != "other" for fact in facts):
            return [(replace(fact, section=line.section), section) for fact in facts]
    return []


def score_facts(record: Sequence[Fact], note_text: str) -> FactScore:
    """Scores a note's text against the facts of its encounter.

    Raises: ValueError for a record without facts: real data has none.
    """
    if not record:
        raise ValueError("expected an encounter with known facts, got none")
    record_keys = {_key(fact, fact.section) for fact in record}
    right: dict[Key, list[Fact]] = defaultdict(list)
    misplaced: dict[tuple[Key, str], list[Fact]] = defaultdict(list)
    hallucinated: dict[tuple[Key, str], list[Fact]] = defaultdict(list)
    for fact, right_section in _statements(note_text):
        key = _key(fact, right_section)
        if key in record_keys and fact.section == right_section:
            right[key].append(fact)
            continue
        other_keys = {_key(fact, right_section, kind) for kind in ALSO_UNDER.get(fact.kind, ())}
        is_true = not record_keys.isdisjoint({key} | other_keys)
        (misplaced if is_true else hallucinated)[key, fact.section].append(fact)
    n_stated = len(right) + len(misplaced) + len(hallucinated)
    precision = len(right) / n_stated if n_stated else 0.0
    recall = len(right) / len(record_keys)
    return FactScore(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if right else 0.0,
        omission=1 - recall,
        hallucination=len(hallucinated) / n_stated if n_stated else 0.0,
        right=tuple(chain(*right.values())),
        omitted=tuple(fact for fact in record if _key(fact, fact.section) not in right),
        hallucinated=tuple(chain(*hallucinated.values())),
        misplaced=tuple(chain(*misplaced.values())),
    )


def score_encounters(encounters: Sequence[Encounter], notes: Sequence[str]) -> list[FactScore]:
    """Scores one note per encounter, in order.

    Raises: ValueError for different lengths.
    """
    if len(encounters) != len(notes):
        raise ValueError(f"expected {len(encounters)} notes, got {len(notes)}")
    return [score_facts(e.facts, note) for e, note in zip(encounters, notes, strict=True)]
