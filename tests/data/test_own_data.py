"""Your own JSONL and CSV: good files load, bad ones are named by line and never quoted."""

import csv
import json
from pathlib import Path

import pytest

from medisum_utils.data.own_data import MAX_CHARACTERS, load_own
from medisum_utils.facts import score_note

DIALOGUE = "Doctor: What brings you in?\nPatient: My secret knee."
NOTE = "S: Knee pain, secret.\nO: Swollen.\nA: Sprain.\nP: Rest."


def write_lines(folder: Path, *records) -> Path:
    path = folder / "own.jsonl"
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def good(**more) -> dict:
    return {"dialogue": DIALOGUE, "note": NOTE, **more}


def test_jsonl_loads(tmp_path):
    one, two = load_own(write_lines(tmp_path, good(id=7, more=[1]), "", good(id="b")))
    assert (one.id, two.id, one.source, one.split) == ("7", "b", "own", "own")
    assert one.dialogue_text == DIALOGUE
    assert [part.soap for part in one.note] == ["subjective", "objective", "assessment", "plan"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_loads_with_byte_order_mark_and_line_breaks_in_fields(tmp_path, encoding, end):
    path = tmp_path / "own.CSV"
    quoted = DIALOGUE.replace("\n", end)
    text = f'Note,dialogue,ward{end}"Knee, ""bad"".","{quoted}",3{end}{end}Sprain,Doctor: é,4{end}'
    path.write_bytes(text.encode(encoding))
    one, two = load_own(path)
    assert (one.id, two.id) == ("own-000001", "own-000002")
    assert one.dialogue_text == DIALOGUE
    assert one.note_text == 'Note:\nKnee, "bad".'
    assert two.turns[0].text == "é"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"dialogue": "secret', "got invalid JSON"),
        ('["secret"]', "expected a JSON object, got list"),
        ("[" * 100_000, "line 2"),
        ({"dialogue": DIALOGUE}, "got no note"),
        ({"note": NOTE}, "got no dialogue"),
        ({"dialogue": "  ", "note": NOTE}, "dialogue, got an empty or missing value"),
        ({"dialogue": DIALOGUE, "note": None}, "note, got an empty or missing value"),
        ({"dialogue": DIALOGUE, "note": float("nan")}, "note, got an empty or missing value"),
        ({"dialogue": DIALOGUE, "note": "NaN"}, "note, got an empty or missing value"),
        ({"dialogue": DIALOGUE, "note": 3}, "text as note, got int"),
        ({"dialogue": [DIALOGUE], "note": NOTE}, "text as dialogue, got list"),
        ({"dialogue": "My secret knee.", "note": NOTE}, "before any known speaker"),
        ({"dialogue": "Doctor:", "note": NOTE}, "got none"),
        ({"dialogue": "Doctor: \ud800", "note": NOTE}, "lone surrogate"),
        (good(id=None), "expected an id"),
        (good(id=1.5), "expected an id"),
        (good(id="first"), "got that of line 1"),
        (good(id="\ud800"), "expected an id"),
        (good(patient=None), "expected a patient"),
        (good(patient=" NaN "), "expected a patient"),
        (good(patient=1.5), "expected a patient"),
        (good(patient=True), "expected a patient"),
        (good(patient="\ud800"), "expected a patient"),
        (good(patient="secret", patient_id="secret"), "patient or patient_id, got both"),
        (good(Note="secret"), "expected each key once, got ['note'] twice"),
        (good(**{" ID ": 1, "id": 2}), "expected each key once, got ['id'] twice"),
        ('{"note": "secret", "note": "b", "dialogue": "Doctor: a"}', "each key once, got ['note']"),
        ({"dialogue": {"secret": 1}, "note": NOTE}, "text as dialogue, got object"),
        ('{"id": ' + "1" * 5000 + "}", "fewer digits"),
        (good(note="x" * (MAX_CHARACTERS + 1)), "1,000,000 characters as note, got 1,000,001"),
    ],
)
def test_a_bad_jsonl_line_is_named_and_not_shown(tmp_path, line, message):
    path = write_lines(tmp_path, good(id="first"), line)
    with pytest.raises(ValueError, match="own.jsonl, line 2: ") as caught:
        load_own(path)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("secret,note\na,b\n", "line 1: expected comma-separated columns dialogue and note"),
        ("dialogue;note\nsecret;b\n", "line 1: expected comma-separated columns"),
        ("dialogue,note,note\na,b,c\n", "line 1: expected each column once, got ['note']"),
        (
            "dialogue,note\nDoctor: a,b\nsecret\n",
            "line 3: expected 2 fields as in the header, got 1",
        ),
        ('dialogue,note\n"Doctor: a\nb",c\nDoctor: secret,b,c\n', "line 4: expected 2 fields"),
        ('dialogue,note\nDoctor: a,b\nDoctor: secret,"b\n', "line 3: expected CSV, got a row with"),
        ("dialogue,note\nDoctor: a,\n", "line 2: expected text as note, got an empty"),
        ("dialogue,note\nDoctor: a,nan\n", "line 2: expected text as note, got an empty"),
        ("id,dialogue,note\n1,Doctor: a,b\n1,Doctor: c,d\n", "line 3: expected an id of its own"),
        ("dialogue,note,Patient\nDoctor: a,b,7\nDoctor: c,d,\n", "line 3: expected a patient"),
        ("dialogue,note,patient, PATIENT \n", "line 1: expected each column once, got ['patient']"),
        ("dialogue,note,patient,patient_id\nDoctor: a,b,1,2\n", "line 2: expected patient or"),
        (
            f"dialogue,note\nDoctor: a,{'b' * (MAX_CHARACTERS + 1)}\n",
            "line 2: expected fields of at",
        ),
        (f'dialogue,note\n"Doctor: a",b\n"{"secret," * 150_000}', "line 3: expected fields of at"),
        ("dialogue,note\n", "expected encounters, got an empty file"),
        ("", "expected encounters, got an empty file"),
    ],
)
def test_a_bad_csv_is_named_and_not_shown(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="own.csv") as caught:
        load_own(path)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_other_encodings_and_other_files_are_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes("dialogue,note\nDoctor: a,b\nDoctor: caf\xe9,secret\n".encode("latin-1"))
    with pytest.raises(ValueError, match="line 3: expected UTF-8") as caught:
        load_own(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(ValueError, match=r"named .jsonl or .csv, got '.txt'"):
        load_own(tmp_path / "own.txt")
    with pytest.raises(FileNotFoundError):
        load_own(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    "note",
    [
        *("Plan:", "-", "\u2014", "\u200b\ufeff", "...", "1.", "Plan:\n-", "P: \u200b", "## Plan"),
        *("Subjective:\nObjective:\n\nAssessment:\nPlan:", "S:\nO:\nA/P:", "\u0434\u0430"),
        *("S: Secret.\nP:", "S: Secret.\nO: -\nP: Rest.", "Secret.\nPlan:\n\u200b"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_note_or_section_without_a_word_is_named_and_not_shown(tmp_path, note, suffix):
    path = tmp_path / f"own{suffix}"
    if suffix == ".csv":
        quoted = f'"{note}"'
        path.write_text(f"dialogue,note\nDoctor: a,b\nDoctor: a,{quoted}\n", encoding="utf-8")
    else:
        write_lines(tmp_path, good(), good(note=note))
    line = 3 if suffix == ".csv" else 2
    message = rf"own{suffix}, line {line}: expected a note with a word under each header"
    with pytest.raises(ValueError, match=message) as caught:
        load_own(path)
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize(
    "note", ["None.", "N/A", "As above.", "5", "120/80", "a", "S: Well.", "x-"]
)
def test_a_note_that_loads_can_be_scored(tmp_path, note):
    (one,) = load_own(write_lines(tmp_path, good(note=note)))
    score_note(one.note_text, "Rest.", one.dialogue_text)
    for section in one.note:
        score_note(section.text, "Rest.", one.dialogue_text)


@pytest.mark.parametrize(
    "dialogue", ["Doctor: -\nPatient: ...", "Doctor: \u200b", "D:", "Doctor: _"]
)
def test_a_dialogue_without_a_word_is_refused_and_a_turn_without_one_left_out(tmp_path, dialogue):
    with pytest.raises(ValueError, match="line 1: dialogue: expected a dialogue with turns"):
        load_own(write_lines(tmp_path, good(dialogue=dialogue)))
    (one,) = load_own(write_lines(tmp_path, good(dialogue=f"{dialogue}\nPatient: Knee.")))
    assert one.dialogue_text == "Patient: Knee."


def test_long_texts_are_read_and_csv_keeps_its_own_limit(tmp_path):
    csv.field_size_limit(before := 131_072)  # its own; another test's library may have raised it
    dialogue = f"Doctor: {'well ' * 40_000}".strip()
    assert len(dialogue) > before
    path = tmp_path / "own.csv"
    path.write_text(f"dialogue,note\n{dialogue},Rest\n", encoding="utf-8")
    (one,) = load_own(path)
    assert one.dialogue_text == dialogue
    path.write_text(f'dialogue,note\n"{"well " * MAX_CHARACTERS}', encoding="utf-8")
    with pytest.raises(ValueError, match="is a quote never closed"):
        load_own(path)
    assert csv.field_size_limit() == before


def test_keys_are_read_in_any_case_and_others_are_left_alone(tmp_path):
    lines = [
        {"Dialogue": DIALOGUE, " NOTE ": NOTE, "Id": "a", "Patient_ID": 7, "x": 1, "X": {"y": 2}},
        {"dialogue ": DIALOGUE, "note": NOTE, "ID": "b", "patient": " Anna "},
    ]
    one, two = load_own(write_lines(tmp_path, *lines))
    assert (one.id, two.id, one.note, one.turns) == ("a", "b", two.note, two.turns)
    assert (one.meta, two.meta) == ({"patient": "7"}, {"patient": "Anna"})


def test_a_patient_is_read_from_csv_as_text(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("dialogue,Patient_Id ,note\nDoctor: a,007,b\n", encoding="utf-8")
    assert load_own(path)[0].meta == {"patient": "007"}


@pytest.mark.parametrize(("first", "line"), [(True, 2), (False, 1)])
def test_a_line_that_names_no_patient_beside_others_is_refused(tmp_path, first, line):
    records = [good(patient="secret"), good()] if first else [good(), good(patient="secret")]
    with pytest.raises(ValueError, match=f"line {line}: expected a patient") as caught:
        load_own(write_lines(tmp_path, *records))
    assert "secret" not in str(caught.value)
