"""What was counted by hand holds for the very note that was read, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from medisum_utils.data.typed_visits import TypedVisit, VisitFact
from medisum_utils.serving import hand_counts

NOTES = ["Subjective:\nCough & fever.\nNo allergies.", "Plan:\nRest."]


def visit(number: str, *facts: str) -> TypedVisit:
    known = tuple(VisitFact(fact, "symptom", (), ("cough",)) for fact in facts)
    return TypedVisit(number, "Doctor: Hello.\nPatient: A cough <b>.", known)


VISITS = [visit("01", "Cough", "Fever", "Penicillin allergy"), visit("02", "Rest")]


def write(folder: Path, *rows: str) -> Path:
    lines = ["visit,note,told,dangerous", *rows]
    (folder / hand_counts.COUNTS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def row(number: int, told: str, dangerous: str = "") -> str:
    digest = hand_counts.note_digest(NOTES[number - 1])
    return f"{number:02},{digest},{told},{dangerous}"


def test_a_count_is_found_by_its_note_and_summed(tmp_path):
    folder = write(tmp_path, row(1, "1 2", "No allergies."), row(2, ""))
    counts = hand_counts.counted(VISITS, NOTES, folder)
    assert [count.told for count in counts] == [{1, 2}, set()]
    said = hand_counts.sentence(VISITS, counts)
    assert "tell 2 of 4 facts (50%) and make 1 dangerous statements" in said
    assert "were counted." not in said
    shown = hand_counts.as_html(VISITS, NOTES, counts)
    assert "Visit 01: 2 of 3 facts, 1 dangerous" in shown
    assert "<li>told: Fever</li><li>missing: Penicillin allergy</li>" in shown
    assert "Cough &amp; fever." in shown
    assert "A cough &lt;b&gt;." in shown


def test_a_note_that_changed_is_not_counted(tmp_path):
    folder = write(tmp_path, row(1, "1 2"), row(2, "1"))
    counts = hand_counts.counted(VISITS, [NOTES[0] + " ", NOTES[1]], folder)
    assert counts[0] is None
    said = hand_counts.sentence(VISITS, counts)
    assert "tell 1 of 1 facts" in said
    assert "Of 2 notes, 1 were counted." in said
    assert "Visit 01: not counted" in hand_counts.as_html(VISITS, NOTES, counts)
    nothing = hand_counts.counted(VISITS, NOTES, tmp_path / "nowhere")
    assert nothing == [None, None]
    assert "Nobody has counted" in hand_counts.sentence(VISITS, nothing)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["01,abc,1"], "line 2: expected 4 fields"),
        (["01,abc,1,,x"], "line 2: expected 4 fields"),
        (["03,abc,1,"], "a known visit"),
        (["01,abc,4,"], "line 2: expected numbers of facts from 1 to 3"),
        (["01,abc,0,"], "expected numbers of facts"),
        (["01,abc,one,"], "expected numbers of facts"),
        (["01,abc,1,", "01,abc,2,"], "line 3: expected one count of each note"),
    ],
)
def test_a_broken_count_is_named(tmp_path, rows, says):
    with pytest.raises(ValueError, match=says):
        hand_counts.read_counts(VISITS, write(tmp_path, *rows))
    (tmp_path / hand_counts.COUNTS_FILE).write_text("visit,told\n")
    with pytest.raises(ValueError, match="expected the columns"):
        hand_counts.read_counts(VISITS, tmp_path)


def test_a_dangerous_statement_is_in_the_notes_own_words(tmp_path):
    folder = write(tmp_path, row(1, "1", "No known allergies."))
    with pytest.raises(ValueError, match="visit 01: expected dangerous statements in the note's"):
        hand_counts.counted(VISITS, NOTES, folder)
