"""Exact fact scores: a perfect note, and notes with one thing wrong in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.synthesis.encounters import generate, generate_tests
from medisum_utils.synthesis.fact_scores import MEASURES, score_encounters, score_facts
from medisum_utils.synthesis.soap import HEADERS, LISTS, read_facts

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


@pytest.fixture(scope="module")
def visits() -> list[Encounter]:
    return [*generate(60, seed=2, split="train"), *generate_tests(60, seed=2, split="test_unseen")]


def numbers(score) -> tuple[float, ...]:
    return tuple(getattr(score, name) for name in MEASURES)


def test_the_record_holds_the_facts_of_the_note() -> None:
    assert len(RECORD) == N
    assert Fact("dose", "subjective", "ibuprofen 400 mg", "present", "400 mg") in RECORD
    assert Fact("denial", "subjective", "fever", "absent") in RECORD
    assert Fact("laterality", "subjective", "left knee pain", "present", "left") in RECORD


def test_a_perfect_note_omits_and_hallucinates_nothing() -> None:
    assert numbers(score_facts(RECORD, NOTE)) == (1, 1, 1, 0, 0)


def test_every_reference_note_is_perfect(visits: list[Encounter]) -> None:
    scores = score_encounters(visits, [visit.note_text for visit in visits])
    assert all(numbers(score) == (1, 1, 1, 0, 0) for score in scores)


def test_a_changed_dose_is_one_omission_and_one_hallucination() -> None:
    score = score_facts(RECORD, NOTE.replace("400 mg", "800 mg"))
    share = 1 / N
    assert numbers(score) == pytest.approx((1 - share, 1 - share, 1 - share, share, share))
    assert [fact.text for fact in score.omitted] == ["ibuprofen 400 mg"]
    assert [fact.text for fact in score.hallucinated] == ["ibuprofen 800 mg"]
    assert score.misplaced == ()


def test_a_flipped_denial_is_hallucinated_not_misplaced() -> None:
    score = score_facts(
        RECORD, NOTE.replace("Denies fever.\n", "").replace("swelling.", "swelling, fever.")
    )
    assert [(fact.kind, fact.text) for fact in score.hallucinated] == [("symptom", "fever")]
    assert [(fact.kind, fact.text) for fact in score.omitted] == [("denial", "fever")]
    assert score.misplaced == ()


def test_a_wrong_side_is_hallucinated() -> None:
    score = score_facts(RECORD, NOTE.replace("left knee", "right knee"))
    assert [fact.text for fact in score.hallucinated] == ["right knee pain"]
    assert score.recall == pytest.approx(1 - 1 / N)


def test_a_line_in_another_section_lowers_precision_but_is_not_hallucinated() -> None:
    moved = NOTE.replace("\nRefer to orthopedics.", "").replace(
        "fever.", "fever.\nRefer to orthopedics."
    )
    score = score_facts(RECORD, moved)
    assert score.hallucination == 0
    assert score.misplaced == (Fact("referral", "subjective", "orthopedics"),)
    assert score.omitted == (Fact("referral", "plan", "orthopedics"),)
    assert score.precision == pytest.approx(1 - 1 / N)
    assert score.recall == pytest.approx(1 - 1 / N)


def test_words_of_the_record_without_a_claim_are_hallucinated() -> None:
    score = score_facts(RECORD, NOTE.replace("fever.", "fever.\northopedics."))
    assert [(fact.kind, fact.text) for fact in score.hallucinated] == [("other", "orthopedics")]
    assert score.misplaced == ()


def test_another_verb_is_hallucinated_not_misplaced() -> None:
    continued = NOTE + "\nContinue ibuprofen."
    record = read_facts(continued)
    score = score_facts(record, continued.replace("Continue", "Stop"))
    assert score.hallucinated == (Fact("stop", "plan", "ibuprofen"),)
    assert score.omitted == (Fact("continue", "plan", "ibuprofen"),)
    assert score.misplaced == ()
    assert score.hallucination == pytest.approx(1 / (N + 1))


def test_an_allergy_to_a_medicine_that_is_taken_is_hallucinated() -> None:
    score = score_facts(RECORD, NOTE.replace("twice daily.", "twice daily.\nAllergies: ibuprofen."))
    assert score.hallucinated == (Fact("allergy", "subjective", "ibuprofen"),)
    assert score.hallucination == pytest.approx(1 / (N + 1))


def test_a_new_dose_stated_as_the_current_dose_is_hallucinated() -> None:
    changed = NOTE + "\nChange ibuprofen 600 mg twice daily."
    wrong = changed.replace("Medications: ibuprofen 400 mg", "Medications: ibuprofen 600 mg")
    score = score_facts(read_facts(changed), wrong)
    assert score.hallucinated == (Fact("dose", "subjective", "ibuprofen 600 mg", value="600 mg"),)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("Onset sudden.", "Reports onset sudden."),
        ("Reports swelling.", "Reports swelling, knee pain."),
        ("Exam: knee effusion.", "Results: knee effusion."),
        ("Vitals: heart rate 80 bpm.", "Exam: heart rate 80 bpm."),
    ],
)
def test_a_claim_that_fits_two_lists_is_not_hallucinated(line: str, instead: str) -> None:
    note = NOTE.replace("Reports swelling.", "Onset sudden.\nReports swelling.").replace(
        "Assessment:", "Objective:\nVitals: heart rate 80 bpm.\nExam: knee effusion.\n\nAssessment:"
    )
    score = score_facts(read_facts(note), note.replace(line, instead))
    assert score.hallucination == 0
    assert len(score.misplaced) == 1
    assert score.precision < 1


def test_a_symptom_given_as_the_reason_for_the_visit_is_hallucinated() -> None:
    score = score_facts(RECORD, NOTE.replace("left knee pain", "swelling"))
    assert [(fact.kind, fact.text) for fact in score.hallucinated] == [("complaint", "swelling")]


# --- properties over generated encounters --------------------------------------------------------


def placed_lines(visit: Encounter) -> list[tuple[str, str]]:
    """Each line of the reference note with its section."""
    return [(part.soap, line) for part in visit.note for line in part.text.splitlines()]


def reworded(visit: Encounter, line: str, instead: str) -> str:
    """The note with a whole line changed, and nothing else."""
    return visit.note_text.replace(f"\n{line}", f"\n{instead}", 1)


def turned(visit: Encounter) -> Iterator[tuple[str, str]]:
    """A line, and the same words under another verb, polarity or kind; all of these are untrue."""
    prefixes = {kind: prefix for lists in LISTS.values() for prefix, kind in lists.items()}
    untrue = {
        "symptom": ("denial", "condition", "surgery", "allergy"),
        "denial": ("symptom", "condition", "allergy"),
        "condition": ("denial", "surgery", "medicine", "allergy", "family"),
        "surgery": ("denial", "condition"),
        "medicine": ("allergy", "denial", "condition"),
        "allergy": ("medicine", "denial", "condition"),
        "family": ("condition", "symptom"),
    }
    untrue |= {kind: tuple(LISTS["plan"].values()) for kind in LISTS["plan"].values()}
    for section, line in placed_lines(visit):
        for prefix, kind in LISTS[section].items():
            if line.startswith(f"{prefix} "):
                for other in untrue.get(kind, ()):
                    if other != kind:
                        yield line, prefixes[other] + line.removeprefix(prefix)
        if section == "assessment":
            words = line.removeprefix("Diagnosis: ").removesuffix(".").partition(", ")[0]
            yield line, f"Diagnosis: no {words}."


def test_another_verb_polarity_or_kind_raises_hallucination(visits: list[Encounter]) -> None:
    n_changes = 0
    for visit in visits:
        for line, instead in turned(visit):
            score = score_facts(visit.facts, reworded(visit, line, instead))
            assert score.hallucination > 0, (line, instead)
            assert score.misplaced == (), (line, instead)
            assert score.precision < 1
            n_changes += 1
    assert n_changes > 20 * len(visits)


def test_an_untrue_line_raises_hallucination_in_any_section(visits: list[Encounter]) -> None:
    for visit in visits:
        for _, instead in turned(visit):
            for header in HEADERS.values():
                note = visit.note_text.replace(f"{header}:\n", f"{header}:\n{instead}\n", 1)
                assert score_facts(visit.facts, note).hallucination > 0, (header, instead)


def test_moving_a_line_to_another_section_is_no_hallucination(visits: list[Encounter]) -> None:
    n_moves = 0
    for visit in visits:
        for section, line in placed_lines(visit):
            rest = reworded(visit, line, "")
            for soap, header in HEADERS.items():
                if soap == section:
                    continue
                score = score_facts(visit.facts, f"{rest}\n\n{header}:\n{line}")
                assert score.hallucination == 0, (line, header)
                assert score.hallucinated == (), (line, header)
                assert {fact.section for fact in score.misplaced} == {soap}
                assert len(score.misplaced) == len(score.omitted) > 0
                assert score.precision < 1
                n_moves += 1
    assert n_moves > 20 * len(visits)


def test_a_true_line_before_any_header_is_misplaced(visits: list[Encounter]) -> None:
    for visit in visits:
        for _, line in placed_lines(visit):
            score = score_facts(visit.facts, f"{line}\n\n{visit.note_text}")
            assert score.hallucination == 0, line
            assert score.precision < score.recall == 1


def test_a_hallucinated_item_does_not_lower_recall() -> None:
    score = score_facts(RECORD, NOTE.replace("knee x-ray.", "knee x-ray, lipid panel."))
    assert numbers(score)[1] == 1
    assert score.precision == pytest.approx(N / (N + 1))
    assert score.hallucination == pytest.approx(1 / (N + 1))
    assert [(fact.kind, fact.text) for fact in score.hallucinated] == [("order", "lipid panel")]


def test_a_repeated_statement_counts_once() -> None:
    twice = NOTE.replace("knee x-ray.", "knee x-ray, knee x-ray.")
    assert numbers(score_facts(RECORD, twice)) == (1, 1, 1, 0, 0)


def test_prose_outside_the_grammar_is_hallucinated() -> None:
    score = score_facts(RECORD, f"The patient is well.\n{NOTE}")
    assert [fact.kind for fact in score.hallucinated] == ["other"]


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
