"""Turns out of odd transcripts, sections out of notes, on short texts made up here."""

import pytest

from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import SECTIONS
from medisum_utils.notes.headers import header_rows, soap_of_headers, split_aci_note, split_own_note


def spoken(text: str, **options) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in parse_turns(text, **options)]


# Transcripts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Doctor: Hi.\r\nPatient: Hello.\r\n", [("doctor", "Hi."), ("patient", "Hello.")]),
        ("  Doctor: Hi.\n\tPatient:  a   b ", [("doctor", "Hi."), ("patient", "a b")]),
        ("[doctor] hi\n[patient]yes .", [("doctor", "hi"), ("patient", "yes .")]),
        ("[patient_guest] i 'm her son", [("patient_guest", "i 'm her son")]),
        ("Guest_clinican: Yes.", [("guest_clinician", "Yes.")]),
        ("Gest_family: Yes.", [("guest_family", "Yes.")]),
        ("Guest_family. Yes.", [("guest_family", "Yes.")]),
        ("Guest_family2: Yes.", [("guest_family_2", "Yes.")]),
        ("Docotr_2: Yes.", [("doctor_2", "Yes.")]),
        ("Patient: No. Doctor: Any pain?", [("patient", "No."), ("doctor", "Any pain?")]),
        (
            "Patient: Yes, Doctor:\nDoctor: Good.",
            [("patient", "Yes, Doctor:"), ("doctor", "Good.")],
        ),
        ("Doctor: It is\nyour knee.", [("doctor", "It is your knee.")]),
        ("[doctor] a\n[ inaudible 00:01 ] b", [("doctor", "a [ inaudible 00:01 ] b")]),
        ("Doctor: Bye.\n\nSp 3\n.\n", [("doctor", "Bye.")]),
        ('"Doctor: Hi.\nPatient: No."', [("doctor", "Hi."), ("patient", "No.")]),
        ('Patient: I said "no"', [("patient", 'I said "no"')]),
        ("Doctor:\nPatient: Hello?", [("patient", "Hello?")]),
        ("Doctor: Vitals: normal. 120:80.", [("doctor", "Vitals: normal. 120:80.")]),
    ],
)
def test_turns_of_odd_transcripts(text, expected):
    assert spoken(text) == expected


def test_words_before_the_first_speaker_need_one():
    assert spoken("hi\n[patient] yo", first_speaker="doctor") == [
        ("doctor", "hi"),
        ("patient", "yo"),
    ]
    with pytest.raises(ValueError, match="line 2 before any known speaker") as caught:
        parse_turns("\nmy secret\nDoctor: hi")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="got none"):
        parse_turns("Doctor:\n...\n")


# Notes and headers


def test_aci_note_is_parted_at_its_headers_and_keeps_every_line():
    note = (
        "CC:\n\nSore knee.\n\nPAST HISTORY\nMedications\nNone so far.\n\nVITALS\n\nBP: 120/80\n"
        "VITALS REVIEWED\nyes\nASSESSMENT AND PLAN\n\n1. Sprain\n• Rest.\n\nPLAN\n"
    )
    parts = split_aci_note(note.replace("\n", "\r\n"))
    assert [(part.header, part.soap) for part in parts] == [
        ("CC", "subjective"),
        ("PAST HISTORY", "subjective"),
        ("VITALS", "objective"),
        ("VITALS REVIEWED", "objective"),
        ("ASSESSMENT AND PLAN", "assessment_and_plan"),
        ("PLAN", "plan"),
    ]
    assert parts[1].text == "Medications\nNone so far."
    assert parts[5].text == ""
    kept = [line for part in parts for line in (part.header, *part.text.split("\n")) if line]
    assert kept == [line.removesuffix(":") for line in note.split("\n") if line]


def test_text_above_the_first_header_is_kept():
    parts = split_aci_note("Sore knee.\nPLAN\nRest.")
    assert [(p.header, p.soap, p.text) for p in parts] == [
        ("Note", "", "Sore knee."),
        ("PLAN", "plan", "Rest."),
    ]


@pytest.mark.parametrize(
    "note",
    [
        "Subjective:\nknee\nObjective:\nswollen\nAssessment:\nsprain\nPlan:\nrest",
        "S: knee\nO: swollen\nA: sprain\nP: rest",
        "## Subjective\nknee\n## Objective\nswollen\n**Assessment:** sprain\n**Plan**\nrest",
        "SUBJECTIVE\nknee\n\nOBJECTIVE\nswollen\n\nASSESSMENT\nsprain\n\nPLAN\nrest\n",
    ],
)
def test_own_soap_notes_are_parted(note):
    parts = split_own_note(note)
    assert [part.soap for part in parts] == list(SECTIONS)
    assert [part.text for part in parts] == ["knee", "swollen", "sprain", "rest"]


def test_own_note_without_headers_is_one_section():
    (part,) = split_own_note("A knee.\nPlan to rest, P wave normal.\nS1 and S2 heard.")
    assert (part.header, part.soap) == ("Note", "")
    assert split_own_note("A/P: sprain, rest")[0].soap == "assessment_and_plan"


def test_every_header_has_one_place_in_soap():
    rows = [row for row in header_rows() if row["corpus"]]
    assert len({(row["corpus"], row["header"]) for row in rows}) == len(rows)
    assert {row["soap"] for row in rows} == {*SECTIONS, "assessment_and_plan"}
    assert all(row["title"] and row["text_may_follow"] == "1" for row in rows)
    assert len(soap_of_headers("mts-dialog")) == 20
    assert set(soap_of_headers("mts-dialog").values()) == set(SECTIONS)


def test_a_doctor_may_bear_a_name():
    turns = parse_turns(
        "Dr. Singh: Hello.\nDr O'Neill-Rye: Hi.\nDOCTOR Who: Yes.\nPt: Dr. Singh, no."
    )
    assert [turn.speaker for turn in turns] == ["doctor", "doctor", "doctor", "patient"]
    assert turns[3].text == "Dr. Singh, no."
