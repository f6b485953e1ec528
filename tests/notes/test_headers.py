"""Splitting a note into SOAP sections: text goes to the right section, and none is lost."""

from __future__ import annotations

import random

import small_model

from medisum_utils.encounter import SECTIONS
from medisum_utils.notes import UNKNOWN, split_sections


def parts_of(note: str) -> dict[str, str]:
    """The sections that are not empty."""
    return {name: text for name, text in split_sections(note).items() if text}


def test_a_rendered_note_is_split_into_its_sections():
    for encounter in small_model.encounters(20):
        sections = {part.soap: part.text for part in encounter.note}
        assert list(sections) == list(SECTIONS)
        assert split_sections(encounter.note_text) == {**sections, UNKNOWN: ""}


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
        UNKNOWN: "Assessment and plan:\nRest.",
    }
    assert parts_of("") == {}


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
        assert set(gone) <= {"Plan:", "Subjective:", "Objective:"}
        assert all(word in kept for line in note for word in line.split() if word.isdigit())
