"""JSON Lines come back as the records they were; a line that is none is named and not shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_model

from medisum_utils.encounter import read_jsonl, write_jsonl
from medisum_utils.runs.files import write_whole

WHOLE = '{"id": "a", "source": "own", "split": "own", "turns": [], "note": []}'


def test_encounters_survive_their_file(tmp_path: Path) -> None:
    encounters = small_model.encounters(5)
    path = tmp_path / "new" / "train.jsonl"
    assert write_jsonl(path, encounters) == 5
    assert read_jsonl(path) == encounters
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n")  # as some editors save it
    assert read_jsonl(path) == encounters
    assert [each.name for each in path.parent.iterdir()] == ["train.jsonl"]


def test_a_file_is_written_whole_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_whole(path, b"first")

    def fill_the_disk(partial: Path, content: bytes) -> None:
        with partial.open("wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "secret', "Invalid JSON"),
        ('["secret"]', "expected the JSON of one Encounter; Input should be an object"),
        (WHOLE.replace(', "note": []', ""), "Encounter; note: Field required"),
        (WHOLE.replace('"a"', "null"), "Encounter; id: Input should be a valid string"),
        (WHOLE.replace('"turns": []', '"turns": [{"speaker": "secret"}]'), "turns.0.text"),
        (WHOLE.replace('"note": []', '"note": {"secret": 1}'), "note: Input should be"),
        (WHOLE.replace("{", '{"more": "secret", '), "Encounter; more: Unexpected keyword argument"),
        (
            WHOLE.replace('"turns": []', '"turns": [{"speaker": "a", "text": "b", "more": 1}]'),
            "turns.0.more",
        ),
    ],
)
def test_a_line_that_is_no_encounter_is_named_and_not_shown(
    tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f"{WHOLE}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^train\.jsonl, line 3: ") as refused:
        read_jsonl(path)
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)
