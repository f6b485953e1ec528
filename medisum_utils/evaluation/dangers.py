"""The errors that could hurt a patient, counted: allergies, medicines, doses, sides, symptoms.

Where the facts of the encounters are known, notes are counted that hold such an error, among those
in which it could have happened. Of real notes it is only known which facts the dialogue says, so
there the facts are counted that a note leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.evaluation.fact_counts import KIND_GROUPS
from medisum_utils.evaluation.scores import SplitScores
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

    @property
    def share(self) -> str:
        """Both counts in words."""
        return f"{self.n_struck} of {self.n_at_risk}"


def _has(encounter: Encounter, *kinds: str) -> bool:
    return any(fact.kind in kinds for fact in encounter.facts)


def denies_allergies(note: FactScore) -> bool:
    """Whether a note states that there are no allergies, be it right or not."""
    stated = (*note.right, *note.misplaced, *note.hallucinated)
    return any(fact.kind == "denial" and fact.text.lower() == NO_ALLERGIES for fact in stated)


def _kind_in(facts: tuple[Fact, ...], *kinds: str) -> bool:
    return any(fact.kind in kinds for fact in facts)


def _reversed(encounter: Encounter, note: FactScore) -> bool:
    """Whether the note denies a symptom of the record, or reports one that the record denies."""
    record = {
        (fact.kind, fact.text.lower())
        for fact in encounter.facts
        if fact.kind in ("symptom", "denial")
    }
    opposite = {"symptom": "denial", "denial": "symptom"}
    return any(
        (opposite.get(fact.kind), fact.text.lower()) in record
        for fact in (*note.hallucinated, *note.misplaced)
    )


# The error, in which encounters it can happen, and whether a note of such an encounter has it. The
# first two part the notes of allergic patients: none counts in both.
_ERRORS: tuple[
    tuple[str, Callable[[Encounter], bool], Callable[[Encounter, FactScore], bool]], ...
] = (
    (
        "says of a patient with an allergy that there is none",
        lambda visit: _has(visit, "allergy"),
        lambda _, note: denies_allergies(note),
    ),
    (
        "leaves out a patient's allergy, or names another",
        lambda visit: _has(visit, "allergy"),
        lambda _, note: _kind_in(note.omitted, "allergy") and not denies_allergies(note),
    ),
    (
        "gives a patient without allergies one",
        lambda visit: not _has(visit, "allergy"),
        lambda _, note: _kind_in(note.hallucinated, "allergy"),
    ),
    (
        "names a medicine, or a change of one, that is not in the record",
        lambda _: True,
        lambda _, note: _kind_in(note.hallucinated, *KIND_GROUPS["medicine"]),
    ),
    (
        "leaves out a dose or gets it wrong",
        lambda visit: _has(visit, "dose"),
        lambda _, note: _kind_in(note.omitted, "dose"),
    ),
    (
        "denies a reported symptom, or reports a denied one",
        lambda visit: _has(visit, "symptom", "denial"),
        _reversed,
    ),
    (
        "leaves out the side (left, right) or gets it wrong",
        lambda visit: _has(visit, "laterality"),
        lambda _, note: _kind_in(note.omitted, "laterality"),
    ),
)


def dangers(scores: SplitScores, kinds: Mapping[str, Any], system: str) -> list[Danger]:
    """The errors that a system's notes on a split could have, allergies first, with their counts.

    `kinds` is the system's entry of that name in `metrics.json`, which real notes are counted from.
    """
    if not scores.is_exact:
        spoken = {kind: kinds[kind] for kind in SPOKEN_AND_OMITTED if kind in kinds}
        return [
            Danger(
                SPOKEN_AND_OMITTED[kind], round(rates["n"] * rates["omission"]["mean"]), rates["n"]
            )
            for kind, rates in spoken.items()
        ]
    result = scores.systems[system]
    rows = list(zip(scores.encounters[: result.n], result.exact, strict=True))
    counted = []
    for error, can_happen, has_happened in _ERRORS:
        at_risk = [row for row in rows if can_happen(row[0])]
        if at_risk:
            n_struck = sum(has_happened(*row) for row in at_risk)
            counted.append(Danger(error, n_struck, len(at_risk)))
    return counted


def danger_table(by_split: Mapping[str, list[Danger]]) -> pd.DataFrame:
    """One row an error, one column a split, cells such as "3 of 65"; errors never made are out."""
    made = {
        danger.error: None for split in by_split.values() for danger in split if danger.n_struck
    }
    columns = {
        name: [next((d.share for d in split if d.error == error), "–") for error in made]
        for name, split in by_split.items()
    }
    return pd.DataFrame(columns, index=pd.Index(made, name="a note that ..."))
