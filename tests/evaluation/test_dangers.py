"""Errors that could hurt a patient are counted in the notes in which they stand, and only there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from medisum_utils import evaluation
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation.dangers import Danger, danger_table, dangers
from medisum_utils.synthesis.encounters import generate_tests

N = 60
DENIED = "says of a patient with an allergy that there is none"
LOST = "leaves out a patient's allergy, or names another"
GIVEN = "gives a patient without allergies one"
MEDICINE = "names a medicine, or a change of one, that is not in the record"
DOSE = "leaves out a dose or gets it wrong"
REVERSED = "denies a reported symptom, or reports a denied one"
SIDE = "leaves out the side (left, right) or gets it wrong"


@pytest.fixture(scope="module")
def visits() -> list[Encounter]:
    return list(generate_tests(N, seed=5, split="test"))


def counted(visits: list[Encounter], change: Callable[[Encounter], str]) -> dict[str, Danger]:
    """The dangers of notes that are the references, changed."""
    scores = evaluation.score_split(visits, {"finetuned": [change(visit) for visit in visits]})
    return {danger.error: danger for danger in dangers(scores, {})}


def struck(visits: list[Encounter], change: Callable[[Encounter], str]) -> dict[str, int]:
    found = counted(visits, change)
    return {error: danger.n_struck for error, danger in found.items() if danger.n_struck}


def having(visits: list[Encounter], *kinds: str) -> int:
    return sum(any(fact.kind in kinds for fact in visit.facts) for visit in visits)


def allergies(line: str) -> Callable[[Encounter], str]:
    return lambda visit: re.sub(r"Allergies: .*\n", line, visit.note_text)


def test_the_references_have_none_and_each_error_could_happen(visits):
    found = counted(visits, lambda visit: visit.note_text)
    assert not any(danger.n_struck for danger in found.values())
    assert {error: danger.n_at_risk for error, danger in found.items()} == {
        DENIED: having(visits, "allergy"),
        LOST: having(visits, "allergy"),
        GIVEN: N - having(visits, "allergy"),
        MEDICINE: N,
        DOSE: having(visits, "dose"),
        REVERSED: having(visits, "symptom", "denial"),
        SIDE: having(visits, "laterality"),
    }
    assert all(danger.n_at_risk for danger in found.values())


def test_an_allergy_denied_is_told_from_one_left_out_or_misnamed(visits):
    n = having(visits, "allergy")
    assert struck(visits, allergies("No known allergies.\n")) == {DENIED: n}
    assert struck(visits, allergies("")) == {LOST: n}
    assert struck(visits, allergies("Allergies: zelvorin.\n")) == {LOST: n}


def test_an_allergy_that_nobody_has_counts_only_where_there_is_none(visits):
    def with_allergy(visit: Encounter) -> str:
        return visit.note_text.replace("\n\nObjective:", "\nAllergies: zelvorin.\n\nObjective:")

    assert struck(visits, with_allergy) == {GIVEN: N - having(visits, "allergy")}


def test_a_wrong_dose_is_no_wrong_medicine(visits):
    def with_dose(visit: Encounter) -> str:
        text = visit.note_text
        for fact in visit.facts:
            if fact.kind == "dose":
                text = text.replace(fact.value, f"9{fact.value}")
        return text

    assert struck(visits, with_dose) == {DOSE: having(visits, "dose")}


def test_a_medicine_that_is_not_in_the_record_counts_once_a_note(visits):
    def with_medicine(visit: Encounter) -> str:
        return visit.note_text.replace("Plan:\n", "Plan:\nStop zelvorin.\nStop brimotane.\n")

    assert struck(visits, with_medicine) == {MEDICINE: N}


def test_a_denial_turned_round_counts(visits):
    turned = struck(visits, lambda visit: visit.note_text.replace("\nDenies ", "\nReports "))
    assert turned == {
        REVERSED: sum("\nDenies " in visit.note_text for visit in visits),
    }


def test_of_real_notes_the_spoken_facts_are_counted(visits):
    real = [dataclasses.replace(visit, facts=()) for visit in visits[:4]]
    scores = evaluation.score_split(real, {"finetuned": ["Plan:\nRest."] * 4})
    kinds = {
        "allergy": {"n": 7, "omission": {"mean": 3 / 7}},
        "number": {"n": 5, "omission": {"mean": 0.0}},
    }
    found = dangers(scores, kinds)
    assert [(danger.n_struck, danger.n_at_risk) for danger in found] == [(3, 7), (0, 5)]
    assert "allergy" in found[0].error


def test_the_table_leaves_out_errors_never_made():
    first = [Danger("a", 3, 65), Danger("b", 0, 9), Danger("c", 0, 8)]
    second = [Danger("a", 0, 20), Danger("c", 1, 4)]
    table = danger_table({"test": first, "other": second})
    assert table.to_dict("index") == {
        "a": {"test": "3 of 65", "other": "0 of 20"},
        "c": {"test": "0 of 8", "other": "1 of 4"},
    }
    assert danger_table({"test": [Danger("b", 0, 9)]}).empty
