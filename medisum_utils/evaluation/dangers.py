"""The errors that could hurt a patient, counted: allergies, medicines, doses, sides, symptoms.

Where the facts of the encounters are known, notes are counted that hold such an error, among those
in which it could have happened. Of real notes it is only known which facts the dialogue says, so
there the facts are counted that a note leaves out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medisum_utils.encounter import Fact
from medisum_utils.evaluation.fact_counts import KIND_GROUPS
from medisum_utils.evaluation.scores import OURS, SplitScores
from medisum_utils.runs.results import split_titles
from medisum_utils.synthesis.fact_scores import FactScore

NO_ALLERGIES = "known allergies"  # what the line "No known allergies." denies
SPOKEN_AND_OMITTED = {
    "allergy": "leaves out an allergy that the dialogue names",
    "medicine": "leaves out a medicine that the dialogue names",
    "number": "leaves out a number that the dialogue gives",
    "denial": "leaves out what the patient denies",
}


@dataclass(frozen=True, slots=True)
class Danger:
    """An error with the notes (of real ones: the spoken facts) that it struck, and could have."""

    error: str
    n_struck: int
    n_at_risk: int


def _has(facts: Iterable[Fact], *kinds: str) -> bool:
    return any(fact.kind in kinds for fact in facts)


def _reverses(record: Sequence[Fact], note: FactScore) -> bool:
    """Whether the note denies a symptom of the record, or reports one that the record denies."""
    recorded = {(fact.kind, fact.text.lower()) for fact in record}
    opposite = {"symptom": "denial", "denial": "symptom"}
    return any(
        (opposite.get(fact.kind), fact.text.lower()) in recorded
        for fact in (*note.hallucinated, *note.misplaced)
    )


def _errors(record: Sequence[Fact], note: FactScore) -> dict[str, tuple[bool, bool]]:
    """Each error: whether it could happen in a note of this record, and whether it did.

    The first two part the notes of allergic patients: none counts in both.
    """
    is_allergic = _has(record, "allergy")
    stated = (*note.right, *note.misplaced, *note.hallucinated)
    denies_allergies = any(
        fact.kind == "denial" and fact.text.lower() == NO_ALLERGIES for fact in stated
    )
    return {
        "says of a patient with an allergy that there is none": (is_allergic, denies_allergies),
        "leaves out a patient's allergy, or names another": (
            is_allergic,
            _has(note.omitted, "allergy") and not denies_allergies,
        ),
        "gives a patient without allergies one": (
            not is_allergic,
            _has(note.hallucinated, "allergy"),
        ),
        "names a medicine, or a change of one, that is not in the record": (
            True,
            _has(note.hallucinated, *KIND_GROUPS["medicine"]),
        ),
        "leaves out a dose or gets it wrong": (_has(record, "dose"), _has(note.omitted, "dose")),
        "denies a reported symptom, or reports a denied one": (
            _has(record, "symptom", "denial"),
            _reverses(record, note),
        ),
        "leaves out the side (left, right) or gets it wrong": (
            _has(record, "laterality"),
            _has(note.omitted, "laterality"),
        ),
    }


def dangers(scores: SplitScores, kinds: Mapping[str, Any]) -> list[Danger]:
    """The errors that the fine-tuned model's notes could have, allergies first, with their counts.

    `kinds` are the model's in `metrics.json`, which real notes are counted from.
    """
    if not scores.is_exact:
        return [
            Danger(
                error, round(kinds[kind]["n"] * kinds[kind]["omission"]["mean"]), kinds[kind]["n"]
            )
            for kind, error in SPOKEN_AND_OMITTED.items()
            if kind in kinds
        ]
    n_struck, n_at_risk = Counter(), Counter()
    notes = scores.systems[OURS].judged
    for encounter, note in zip(scores.encounters, notes, strict=False):
        for error, (could_happen, happened) in _errors(encounter.facts, note).items():
            n_at_risk[error] += could_happen
            n_struck[error] += could_happen and happened
    return [Danger(error, n_struck[error], n) for error, n in n_at_risk.items() if n]


def danger_table(by_split: Mapping[str, list[Danger]]) -> pd.DataFrame:
    """One row an error, one column a split, cells such as "3 of 65"; errors never made are out."""
    made = {
        danger.error: None for split in by_split.values() for danger in split if danger.n_struck
    }
    cells = {
        name: {danger.error: f"{danger.n_struck} of {danger.n_at_risk}" for danger in split}
        for name, split in by_split.items()
    }
    columns = {
        title: [cells[name].get(error, "–") for error in made]
        for name, title in split_titles(cells).items()
    }
    return pd.DataFrame(columns, index=pd.Index(made, name="a note that ..."))
