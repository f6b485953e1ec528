"""Splitting a note into SOAP sections: text goes to the right section, and none is lost."""

from __future__ import annotations

import random

import pytest
import small_model

from medisum_utils.encounter import SECTIONS
from medisum_utils.notes import JOINT, UNKNOWN, split_sections
from medisum_utils.notes.parts import NOT_DISCUSSED, join_parts, parts_of as divided


def parts_of(note: str) -> dict[str, str]:
    """The sections that are not empty."""
    return {name: text for name, text in split_sections(note).items() if text}


def test_a_rendered_note_is_split_into_its_sections():
    for encounter in small_model.encounters(20):
        sections = {part.soap: part.text for part in encounter.note}
        assert list(sections) == list(SECTIONS)
        assert split_sections(encounter.note_text) == {**sections, JOINT: "", UNKNOWN: ""}


def test_text_may_follow_a_header_and_case_does_not_matter():
    note = "SUBJECTIVE: Cough.\nobjective :\nLungs clear.\r\nAssessment:Cold\nPlan:  Tea."
    assert parts_of(note) == {
        "subjective": "Cough.",
        "objective": "Lungs clear.",
        "assessment": "Cold",
        "plan": "Tea.",
    }


def test_text_without_a_section_is_kept_as_unknown():
    assert parts_of("Hello.\nPlan:\nTea.") == {UNKNOWN: "Hello.", "plan": "Tea."}
    assert parts_of("No header at all") == {UNKNOWN: "No header at all"}
    assert parts_of("Plan:\nTea.\nAssessment and plan:\nRest.") == {
        "plan": "Tea.",
        JOINT: "Rest.",
    }
    assert parts_of("") == {}


def test_a_note_with_headers_as_aci_bench_has_them_is_split_at_them():
    note = (
        "CHIEF COMPLAINT\n\nCough.\n\nMEDICATIONS\n\nTea\n\nVITALS\n\nPulse 70.\n\n"
        "PHYSICAL EXAM\n\nClear.\n\nRESULTS\n\nSwab negative.\n\n"
        "ASSESSMENT AND PLAN\n\nCold.\nMEDICATIONS\nTea.\n\n"
        "INSTRUCTIONS\n\nCome back."
    )
    assert parts_of(note) == {
        "subjective": "CHIEF COMPLAINT\n\nCough.\n\nMEDICATIONS\n\nTea",
        "objective": "VITALS\n\nPulse 70.\n\nPHYSICAL EXAM\n\nClear.\n\nRESULTS\n\nSwab negative.",
        JOINT: "Cold.\nMEDICATIONS\nTea.",
        "plan": "INSTRUCTIONS\n\nCome back.",
    }
    apart = "SUBJECTIVE\n\nCough.\n\nPROCEDURE\n\nSwab.\n\nASSESSMENT\n\nCold.\n\nPLAN\n\nTea."
    assert parts_of(apart) == {
        "subjective": "Cough.",
        "assessment": "Cold.",
        "plan": "PROCEDURE\n\nSwab.\n\n\nTea.",
    }
    assert parts_of("Plan:\nResults\nof the swab, PLAN") == {"plan": "Results\nof the swab, PLAN"}


@pytest.mark.parametrize(
    "answers",
    [
        ["Sore knee.", "Swollen.", "X-ray clear.", "Sprain."],
        ["CC\n\nSore knee.", NOT_DISCUSSED, "RESULTS\n\nX-ray clear.", "Sprain."],
        ["Subjective:\nSore knee.", "Swollen.", "Results: x-ray clear.", "Sprain."],
        ["Subjective:\nSore knee.", NOT_DISCUSSED, "Results: x-ray clear.", "Sprain."],
    ],
)
def test_a_note_written_by_division_has_all_of_soap_whatever_headers_it_wrote(answers):
    sections = parts_of(join_parts(answers))
    assert set(sections) == {"subjective", "objective", JOINT}
    assert "Sore knee." in sections["subjective"]
    assert "clear." in sections["objective"]
    assert sections[JOINT] == "Sprain."


@pytest.mark.corpus
def test_every_real_note_written_by_division_has_soap_sections_and_nothing_outside(corpora):
    from medisum_utils.data.corpora import load_aci_bench

    for visit in (visit for part in load_aci_bench().values() for visit in part):
        answers = [part.answer for part in divided(visit, "divisions")]
        sections = parts_of(join_parts(answers))
        assert UNKNOWN not in sections, visit.id
        assert sections.keys() == {each.soap for each in visit.note}, visit.id


def test_a_header_within_a_line_is_text():
    note = "Subjective:\nThe plan: to rest.\nReplan: no.\nMedications: none"
    assert parts_of(note) == {"subjective": note.partition("\n")[2]}


def test_a_repeated_section_keeps_both_texts():
    assert parts_of("Plan:\nTea.\nSubjective:\nCough.\nPlan:\nRest.") == {
        "plan": "Tea.\nRest.",
        "subjective": "Cough.",
    }


def test_corpus_headers_never_start_an_earlier_section():
    note = (
        "History of present illness:\nCough.\n"
        "Physical examination:\nClear.\nPlan:\nMedications:\nTea"
    )
    assert parts_of(note) == {
        "subjective": "History of present illness:\nCough.",
        "objective": "Physical examination:\nClear.",
        "plan": "Medications:\nTea",
    }


def test_no_word_of_any_note_is_lost():
    rng = random.Random(3)
    lines = ["Plan:", "Subjective: a", "Objective:", "Results:", "Note", "", "Assessment and plan:"]
    for _ in range(200):
        note = [rng.choice(lines) + (f" {i}" if rng.random() < 0.5 else "") for i in range(9)]
        kept = " ".join(split_sections("\n".join(note)).values()).split()
        gone = [word for line in note for word in line.split() if word not in kept]
        names = "Subjective: Objective: Plan: Assessment and plan:"
        assert set(gone) <= set(names.split())
        assert all(word in kept for line in note for word in line.split() if word.isdigit())
