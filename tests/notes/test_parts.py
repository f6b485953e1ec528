"""A note's parts: nothing lost, in order, once each; what is missing is said to be missing."""

from __future__ import annotations

import pytest

from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.notes.divisions import ACI_DIVISIONS
from medisum_utils.notes.headers import CORPUS_HEADER
from medisum_utils.notes.parts import (
    DIVISION_TITLES,
    NOT_DISCUSSED,
    join_parts,
    parts_of,
    parts_to_write,
)
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import score_facts

VISIT = (
    NoteSection("CHIEF COMPLAINT", "subjective", "Sore knee."),
    NoteSection("HISTORY OF PRESENT ILLNESS", "subjective", "Fell on Monday.\nNo fever."),
    NoteSection("PHYSICAL EXAM", "objective", "Knee: swollen."),
    NoteSection("ASSESSMENT AND PLAN", "assessment_and_plan", "Sprain.\n\nRest for a week."),
)


def encounter(*sections: NoteSection, **meta: str) -> Encounter:
    return Encounter("e1", "own", "train", (Turn("doctor", "Hello."),), sections, meta=meta)


def test_divisions_hold_every_line_of_the_note_in_order():
    parts = parts_of(encounter(*VISIT), "divisions")
    for part, title in zip(parts, DIVISION_TITLES.values(), strict=True):
        assert title in part.request
    words = " ".join(f"{s.header} {s.text}" for s in VISIT).split()
    assert join_parts([part.answer for part in parts]).split() == words


def test_a_division_that_the_note_lacks_is_not_discussed_and_left_out_of_the_joined_note():
    parts = parts_of(encounter(*VISIT), "divisions")
    answers = dict(zip(DIVISION_TITLES.values(), (part.answer for part in parts), strict=True))
    assert answers["Results"] == NOT_DISCUSSED
    assert NOT_DISCUSSED not in join_parts(list(answers.values()))


@pytest.mark.parametrize("scheme", ["section", "divisions"])
def test_a_note_of_one_section_names_it_first(scheme):
    # As 01 makes them: under a SOAP header, the corpus's own one beside it.
    note = NoteSection("Subjective", "subjective", "Smokes.")
    name, text = parts_of(encounter(note, **{CORPUS_HEADER: "FAM/SOCHX"}), scheme)
    assert (name.answer, name.in_note) == ("Family and social history", False)
    assert (text.answer, text.in_note) == ("Smokes.", True)
    assert parts_of(encounter(note), scheme)[0].answer == "Subjective"
    own = NoteSection("Note", "", "Shorthand.")
    assert parts_of(encounter(own), scheme)[0].answer == "Note"


def test_a_note_of_several_sections_cannot_be_one():
    with pytest.raises(ValueError, match=r"e1: expected a note of one section .* got 4; take one"):
        parts_of(encounter(*VISIT), "section")


def test_the_whole_note_is_one_part_and_nothing_is_asked_beyond_the_dialogue():
    visit = encounter(*VISIT)
    (part,) = parts_of(visit, "whole")
    assert (part.request, part.answer) == ("", visit.note_text)
    assert join_parts([" as it is\n"]) == " as it is\n"


ONE = (NoteSection("PLAN", "plan", "Rest."),)


@pytest.mark.parametrize(
    ("scheme", "note", "section"),
    [
        ("whole", VISIT, ""),
        ("whole", ONE, "Plan"),
        ("section", ONE, ""),
        ("section", ONE, "Plan"),
        ("divisions", VISIT, ""),
        ("divisions", ONE, "Plan"),
    ],
)
def test_what_is_asked_when_writing_is_what_was_asked_in_training(scheme, note, section):
    trained = parts_of(encounter(*note), scheme)
    asked = parts_to_write(scheme, section)
    assert [(p.request, p.in_note) for p in asked] == [(p.request, p.in_note) for p in trained]
    told = [section] if section and scheme != "whole" else []
    assert [part.answer for part in asked if part.answer is not None] == told


def test_an_unknown_scheme_is_refused_by_name():
    for refused in (lambda: parts_to_write("aci"), lambda: parts_of(encounter(*VISIT), "aci")):
        with pytest.raises(ValueError, match=r"expected parts to be one of .*'divisions'.* 'aci'"):
            refused()


GENERATED = (
    NoteSection("Subjective", "subjective", "Woman with cough.\nDenies fever."),
    NoteSection(
        "Objective", "objective", "Vitals: pulse 70.\nExam: clear.\nResults: swab negative."
    ),
    NoteSection("Assessment", "assessment", "Diagnosis: cold."),
    NoteSection("Plan", "plan", "Advised to rest."),
)


def test_a_soap_note_is_asked_for_in_the_same_divisions_and_keeps_its_headers():
    parts = parts_of(encounter(*GENERATED), "divisions")
    assert [part.request for part in parts] == [p.request for p in parts_to_write("divisions")]
    assert [part.answer for part in parts] == [
        "Subjective:\nWoman with cough.\nDenies fever.",
        "Objective:\nVitals: pulse 70.\nExam: clear.",
        "Results: swab negative.",
        "Assessment:\nDiagnosis: cold.\n\nPlan:\nAdvised to rest.",
    ]


def test_an_objective_section_of_results_alone_keeps_its_header():
    sections = (NoteSection("O", "objective", "Labs: normal\nMRI pending"), *GENERATED[2:])
    subjective, exam, results, _ = (p.answer for p in parts_of(encounter(*sections), "divisions"))
    assert (subjective, exam) == (NOT_DISCUSSED, NOT_DISCUSSED)
    assert results == "O:\nLabs: normal\nMRI pending"


def test_generated_notes_written_by_division_state_every_fact_of_their_record():
    visits = [
        *generate(40, seed=5, split="train"),
        *with_exchanged_names(list(generate(40, seed=6, split="train")), 0.9, seed=1),
    ]
    n_without_results = 0
    for visit in visits:
        answers = [part.answer for part in parts_of(visit, "divisions")]
        note = join_parts(answers)
        n_without_results += NOT_DISCUSSED in answers
        # Results stand in their own part: an empty line above them is all that is new.
        assert note.replace("\n\nResults: ", "\nResults: ") == visit.note_text
        assert score_facts(visit.facts, note).f1 == 1.0
    assert 0 < n_without_results < len(visits)


@pytest.mark.parametrize(
    ("answers", "note"),
    [
        (
            ["Sore knee.", "Knee swollen.", "X-ray clear.", "Sprain."],
            "SUBJECTIVE\n\nSore knee.\n\nPHYSICAL EXAM\n\nKnee swollen.\n\n"
            "RESULTS\n\nX-ray clear.\n\nASSESSMENT AND PLAN\n\nSprain.",
        ),
        (
            ["Subjective:\nCough.", "Clear.", "Results: negative.", "Cold."],
            "Subjective:\nCough.\n\nObjective:\nClear.\n\nResults: negative.\n\n"
            "Assessment and plan:\nCold.",
        ),
        (
            ["Subjective:\nCough.", NOT_DISCUSSED, "Results: negative.", "Plan:\nRest."],
            "Subjective:\nCough.\n\nObjective:\nResults: negative.\n\nPlan:\nRest.",
        ),
        (
            ["CC: cough.", "", "RESULTS\n\nNegative.", "IMPRESSION\n\nCold."],
            "CC: cough.\n\nRESULTS\n\nNegative.\n\nIMPRESSION\n\nCold.",
        ),
    ],
)
def test_a_written_division_without_a_header_gets_one_in_the_style_of_its_note(answers, note):
    assert join_parts(answers) == note


@pytest.mark.corpus
def test_joined_parts_of_real_notes_fall_into_the_same_divisions_again(corpora):
    from medisum_utils.data.corpora import load_aci_bench
    from medisum_utils.notes.divisions import ACI_LINE_BREAK, ACI_MISSING, aci_divisions

    visits = [visit for part in load_aci_bench().values() for visit in part]
    for visit in visits:
        answers = [part.answer for part in parts_of(visit, "divisions")]
        again = [
            NOT_DISCUSSED
            if text == ACI_MISSING
            else text.removesuffix(ACI_LINE_BREAK).replace(ACI_LINE_BREAK, "\n").strip()
            for text in aci_divisions(join_parts(answers)).values()
        ]
        assert again == answers, visit.id
    assert len(visits) == 207


@pytest.mark.corpus
def test_the_parts_of_real_notes_are_their_divisions_as_the_published_evaluator_cuts_them(corpora):
    from medisum_utils.data.corpora import load_aci_bench
    from medisum_utils.notes.divisions import ACI_LINE_BREAK, ACI_MISSING, aci_divisions

    n_missing = 0
    for visit in load_aci_bench()["train"]:
        official = aci_divisions(visit.note_text)
        for division, part in zip(ACI_DIVISIONS, parts_of(visit, "divisions"), strict=True):
            missing = official[division] == ACI_MISSING
            n_missing += missing
            words = official[division].replace(ACI_LINE_BREAK, " ").replace(":", "").split()
            expected = NOT_DISCUSSED.split() if missing else words
            assert part.answer.replace(":", "").split() == expected, visit.id
    assert n_missing == 17  # notes without results (14) or without an examination (3)


@pytest.mark.corpus
def test_every_section_of_mts_dialog_has_a_name_in_words(corpora):
    from medisum_utils.data.sources import mts_as_soap

    names = {parts_of(visit, "section")[0].answer for visit in mts_as_soap()["train"]}
    assert len(names) == 20
    assert not [name for name in names if name.isupper()]
