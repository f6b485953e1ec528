"""Where divisions begin and end, by the published and by the clinical conventions."""

from __future__ import annotations

import pytest

from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.notes.divisions import (
    ACI_DIVISIONS,
    ACI_LINE_BREAK,
    ACI_MISSING,
    SOAP_DIVISIONS,
    aci_divisions,
    soap_divisions,
)

VISIT = """CHIEF COMPLAINT

Cough.

PAST HISTORY

Medical
Asthma.

VITALS

Pulse 72.

PHYSICAL EXAM

Wheezes.

RESULTS

X-ray clear.

ASSESSMENT

1. Bronchitis.

PLAN

Rest.

INSTRUCTIONS

Call if worse."""


def test_aci_divisions_begin_at_their_first_header_and_lose_nothing():
    divisions = aci_divisions(VISIT)
    assert tuple(divisions) == ACI_DIVISIONS
    assert "".join(divisions.values()).replace(ACI_LINE_BREAK, "\n") == VISIT
    assert divisions["objective_exam"].startswith("PHYSICAL EXAM")
    assert divisions["assessment_and_plan"].endswith("Call if worse.")
    assert "Pulse" in divisions["subjective"]  # the published tagger does not know VITALS


def test_missing_aci_divisions_are_a_placeholder():
    divisions = aci_divisions("A cough for a week.\nPLAN: rest")
    assert divisions["subjective"] == "A cough for a week." + ACI_LINE_BREAK
    assert divisions["objective_exam"] == divisions["objective_results"] == ACI_MISSING
    assert divisions["assessment_and_plan"] == "PLAN: rest"


def test_aci_divisions_out_of_order_end_where_the_next_begins():
    divisions = aci_divisions("PLAN\nrest\nEXAM\nwell\nPLAN\nagain\nRESULTS\nnone")
    assert divisions["subjective"] == ACI_MISSING
    assert divisions["assessment_and_plan"] == ACI_LINE_BREAK.join(["PLAN", "rest", ""])
    assert "again" in divisions["objective_exam"]  # PLAN has started already
    assert divisions["objective_results"] == ACI_LINE_BREAK.join(["RESULTS", "none"])


@pytest.mark.parametrize(
    ("line", "division"),
    [
        ("Physical exam today is normal", "objective_exam"),
        ("exam", "objective_exam"),
        ("Exam shows nothing", None),  # needs a colon or its own line
        ("  Assessment  and Plan :", "assessment_and_plan"),
        ("A/P: rest", "assessment_and_plan"),
        ("IMPRESSION", "assessment_and_plan"),
        ("Impression: clear lungs", None),
        ("VITALS REVIEWED", "objective_exam"),
        ("Findings: clear", "objective_results"),
        ("the RESULTS", None),
    ],
)
def test_aci_headers_start_lines(line, division):
    divisions = aci_divisions(f"first line\n{line}\nlast line")
    begun = {name for name, text in divisions.items() if text != ACI_MISSING}
    assert begun == {"subjective", division} - {None}


def test_soap_puts_vitals_in_objective_and_instructions_in_plan():
    note = soap_divisions(VISIT)
    divisions = note.divisions
    assert tuple(divisions) == SOAP_DIVISIONS
    assert divisions["subjective"] == "Cough.\nMedical\nAsthma."
    assert divisions["objective"] == "Pulse 72.\nWheezes.\nX-ray clear."
    assert divisions["assessment"] == "1. Bronchitis."
    assert divisions["plan"] == "Rest.\nCall if worse."
    assert divisions["assessment_and_plan"] == "1. Bronchitis.\nRest.\nCall if worse."
    assert note.unknown_headers == ()
    assert note.has_headers
    assert not note.combines


def test_soap_reads_this_projects_own_notes():
    sections = tuple(
        NoteSection(name.capitalize(), name, f"{name} text: here.\nSecond line.")
        for name in ("subjective", "objective", "assessment", "plan")
    )
    encounter = Encounter("1", "own", "test", (), sections)
    note = soap_divisions(encounter.note_text)
    for part in sections:
        assert note.divisions[part.soap] == part.text
    assert note.unknown_headers == ()


@pytest.mark.parametrize("header", ["Plan: ", "plan:", "## Plan\n", "**Plan:** ", "PLAN\n"])
def test_soap_headers_in_any_format(header):
    note = soap_divisions(f"Subjective: tired\n{header}sleep more")
    assert note.divisions["subjective"] == "tired"
    assert note.divisions["plan"] == "sleep more"


def test_soap_reports_unknown_headers_and_keeps_their_text():
    note = soap_divisions("SUBJECTIVE\ntired\nPROGNOSIS\ngood\nMiscellany:\nother\nPLAN\nsleep")
    assert note.unknown_headers == ("PROGNOSIS", "Miscellany")
    assert note.divisions["subjective"] == "tired\nPROGNOSIS\ngood\nMiscellany:\nother"


def test_soap_does_not_read_items_as_headers():
    note = soap_divisions("Plan:\nLabs: repeat in a week\nSkin: moisturize\nMedications: none new")
    assert note.divisions["objective"] == note.divisions["subjective"] == ""
    assert note.divisions["plan"].count("\n") == 2
    assert note.unknown_headers == ()


def test_soap_reads_a_radiologists_impression_as_a_result():
    note = soap_divisions("RESULTS\nX-ray done.\nImpression: clear\nIMPRESSION\nBronchitis")
    assert note.divisions["objective"] == "X-ray done.\nImpression: clear"
    assert note.divisions["assessment"] == "Bronchitis"


def test_soap_separates_only_sections_that_the_note_separates():
    note = soap_divisions("Subjective: tired\nAssessment and Plan:\nAnemia. Iron daily.")
    assert note.combines
    assert note.divisions["assessment"] == note.divisions["plan"] == ""
    assert note.divisions["assessment_and_plan"] == "Anemia. Iron daily."


def test_a_text_without_headers_is_subjective_and_is_reported():
    note = soap_divisions("so how are you\ni have been tired")
    assert note.divisions["subjective"] == "so how are you\ni have been tired"
    assert not note.has_headers
