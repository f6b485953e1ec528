"""Exact fact scores: a perfect note, and notes with one thing wrong in them."""

from __future__ import annotations

import math

import pytest

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import MEASURES, pooled, score_encounters, score_facts
from medisum_utils.synthesis.soap import read_facts

NOTE = """Subjective:
44-year-old man with left knee pain for 3 weeks.
Reports swelling.
Denies fever.
Medications: ibuprofen 400 mg twice daily.

Assessment:
Diagnosis: knee osteoarthritis.

Plan:
Order knee x-ray.
Refer to orthopedics."""
RECORD = read_facts(NOTE)
N = 13  # sex, age, complaint, side, duration, two symptoms, three of a medicine, three of A and P


def numbers(score) -> tuple[float, ...]:
    return tuple(getattr(score, name) for name in MEASURES)


def test_the_record_is_what_the_note_says() -> None:
    assert len(RECORD) == N
    assert Fact("dose", "subjective", "ibuprofen 400 mg", "present", "400 mg") in RECORD
    assert Fact("denial", "subjective", "fever", "absent") in RECORD
    assert Fact("laterality", "subjective", "left knee pain", "present", "left") in RECORD


def test_a_perfect_note_has_all_and_invents_nothing() -> None:
    assert numbers(score_facts(RECORD, NOTE)) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize("split", ["train", "test_unseen"])
def test_every_reference_note_is_perfect(split: str) -> None:
    encounters = list(generate(60, seed=2, split=split))
    scores = score_encounters(encounters, [one.note_text for one in encounters])
    assert all(numbers(score) == (1, 1, 1, 0, 0) for score in scores)


def test_a_changed_dose_is_one_omission_and_one_invention() -> None:
    score = score_facts(RECORD, NOTE.replace("400 mg", "800 mg"))
    share = 1 / N
    assert numbers(score) == pytest.approx((1 - share, 1 - share, 1 - share, share, share))
    assert [fact.text for fact in score.omitted] == ["ibuprofen 400 mg"]
    assert [fact.text for fact in score.invented] == ["ibuprofen 800 mg"]
    assert score.misplaced == ()


def test_a_flipped_denial_is_an_invention_not_a_misplacement() -> None:
    score = score_facts(
        RECORD, NOTE.replace("Denies fever.\n", "").replace("swelling.", "swelling, fever.")
    )
    assert [(fact.kind, fact.text) for fact in score.invented] == [("symptom", "fever")]
    assert [(fact.kind, fact.text) for fact in score.omitted] == [("denial", "fever")]
    assert score.misplaced == ()


def test_a_wrong_side_is_an_invention() -> None:
    score = score_facts(RECORD, NOTE.replace("left knee", "right knee"))
    assert [fact.text for fact in score.invented] == ["right knee pain"]
    assert score.recall == pytest.approx(1 - 1 / N)


def test_a_fact_in_another_section_costs_precision_but_is_not_invented() -> None:
    moved = NOTE.replace("\nRefer to orthopedics.", "").replace("fever.", "fever.\northopedics.")
    score = score_facts(RECORD, moved)
    assert score.hallucination == 0
    assert [fact.text for fact in score.misplaced] == ["orthopedics"]
    assert score.precision == pytest.approx(1 - 1 / N)
    assert score.recall == pytest.approx(1 - 1 / N)


def test_an_invented_item_leaves_recall_whole() -> None:
    score = score_facts(RECORD, NOTE.replace("knee x-ray.", "knee x-ray, lipid panel."))
    assert numbers(score)[1] == 1
    assert score.precision == pytest.approx(N / (N + 1))
    assert score.hallucination == pytest.approx(1 / (N + 1))
    assert [(fact.kind, fact.text) for fact in score.invented] == [("order", "lipid panel")]


def test_a_repeated_statement_counts_once() -> None:
    twice = NOTE.replace("knee x-ray.", "knee x-ray, knee x-ray.")
    assert numbers(score_facts(RECORD, twice)) == (1, 1, 1, 0, 0)


def test_prose_outside_the_grammar_is_invented() -> None:
    score = score_facts(RECORD, f"The patient is well.\n{NOTE}")
    assert [fact.kind for fact in score.invented] == ["other"]


@pytest.mark.parametrize("empty", ["", "\n \n", "Subjective:\n\nPlan:"])
def test_an_empty_note_states_nothing(empty: str) -> None:
    score = score_facts(RECORD, empty)
    assert numbers(score) == (0, 0, 0, 1, 0)
    assert len(score.omitted) == N


def test_a_record_without_facts_is_refused() -> None:
    with pytest.raises(ValueError, match="known facts"):
        score_facts([], NOTE)


def test_each_encounter_needs_its_note() -> None:
    with pytest.raises(ValueError, match="expected 1 notes, got 0"):
        score_encounters([Encounter("a", "own", "test", (), ())], [])


def test_pooled_rates_count_facts_not_notes() -> None:
    wrong = NOTE.replace("Denies fever.", "Denies chills, fever.").replace("400 mg", "800 mg")
    table = pooled([score_facts(RECORD, NOTE), score_facts(RECORD, wrong)], by="kind")
    assert table["denial"] == pytest.approx(
        {"n": 2, "n_stated": 3, "precision": 2 / 3, "recall": 1.0, "f1": 0.8}
    )
    assert table["dose"]["recall"] == table["dose"]["precision"] == 0.5
    assert table["order"]["f1"] == 1
    by_section = pooled([score_facts(RECORD, NOTE)], by="section")
    assert {name: row["n"] for name, row in by_section.items()} == {
        "assessment": 1,
        "plan": 2,
        "subjective": N - 3,
    }


def test_a_rate_without_anything_to_count_is_not_a_number() -> None:
    table = pooled([score_facts(RECORD, "")], by="kind")
    assert math.isnan(table["order"]["precision"])
    assert table["order"]["recall"] == 0
