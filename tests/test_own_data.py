"""Your own JSONL and CSV: good files load, bad ones are named by line and never quoted."""

import json
from pathlib import Path

import pytest

from medisum_utils.corpora import load_own

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
    one, two = load_own(write_lines(tmp_path, good(id=7, more=[1]), "", good(id="b")), split="test")
    assert (one.id, two.id, one.source, one.split) == ("7", "b", "own", "test")
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
