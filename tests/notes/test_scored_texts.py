"""Which text is scored: a SOAP note as it is, a single section without its header."""

from __future__ import annotations

import pytest

from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.notes import scored_texts


def visit(*sections: NoteSection) -> Encounter:
    return Encounter("a", "own", "test", (Turn("doctor", "Hello."),), sections)


PLAN = NoteSection("PLAN", "plan", "Rest.")
EXAM = NoteSection("EXAM", "objective", "Clear.")


def test_a_header_within_a_line_stays() -> None:
    assert scored_texts.without_headers("PLAN:\nPlan: rest\n\nExam: clear") == (
        "Plan: rest\n\nExam: clear"
    )


def test_single_sections_are_scored_without_headers_and_whole_notes_with_them() -> None:
    single, mixed = [visit(PLAN), visit(EXAM)], [visit(PLAN), visit(EXAM, PLAN)]
    note = ["Plan:\nGo home."]
    assert scored_texts.protocol_of(single) == "mts"
    assert scored_texts.scored_references(single) == ["Rest.", "Clear."]
    assert scored_texts.scored_notes(single, note) == ["Go home."]
    assert scored_texts.protocol_of(mixed) == "soap"
    assert scored_texts.scored_references(mixed) == [encounter.note_text for encounter in mixed]
    assert scored_texts.scored_notes(mixed, note) == note


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="expected encounters to score, got none"):
        scored_texts.protocol_of([])
