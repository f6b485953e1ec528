"""The score command: published figures, bad input, differences, speed."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medisum_utils.scoring import score, score_files
from medisum_utils.scoring.command import score_command
from medisum_utils.scoring.files import Reading, read_table

NOTES = [
    "CC:\nsore throat\nEXAM:\nred tonsils\nPLAN:\nrest and fluids",
    "CC:\nknee pain\nEXAM:\nswollen left knee\nPLAN:\nice and rest",
    "CC:\nheadache\nEXAM:\nnormal\nPLAN:\ntake 400 mg ibuprofen",
]
WORSE = ["CC:\nthroat\nPLAN:\nfluids", NOTES[1], "CC:\nback pain\nEXAM:\nnormal\nPLAN:\nstretch"]

PREDICTIONS = Path("wyim/aci-bench/baselines/predictions")
TEST1 = Path("wyim/aci-bench/data/challenge_data/clinicalnlp_taskB_test1.csv")
SAMSUM = "bart-large-xsum-samsum_clinicalnlp_taskB_test1_division_combined.csv"
BIOBART = "BioBART_clinicalnlp_taskB_test1_division_combined.csv"
GPT4 = "test1GPT-4_.csv"


def _write(path: Path, notes: list[str], ids: list[object] | None = None, **dialect) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, **dialect)
        writer.writerow(["note"] if ids is None else ["id", "note"])
        for number, note in enumerate(notes):
            writer.writerow([note] if ids is None else [ids[number], note])
    return path


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return _write(tmp_path / "references.csv", NOTES, [1, 2, 3])


def _means(report, division: str | None = None) -> dict[str, float]:
    data = report.data["divisions"][division] if division else report.data
    return {name: row["mean"] for name, row in data["rouge"].items()}


# Published figures


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("system", "rouge1", "rouge2", "rouge_lsum"),
    [
        (SAMSUM, 53.46, 25.08, 48.62),
        (GPT4, 51.76, 22.58, 45.97),
        ("test1ChatGPT_.csv", 47.44, 19.01, 42.47),
        (BIOBART, 49.53, 22.47, 44.92),
        ("transcript_clinicalnlp_taskB_test1.csv", 32.84, 12.53, 30.61),
    ],
)
def test_published_systems_score_as_published(corpora, system, rouge1, rouge2, rouge_lsum):
    report = score_files(corpora / TEST1, corpora / PREDICTIONS / system, protocol="aci-bench")
    means = _means(report)
    assert report.data["n"] == 40
    assert round(means["rouge1"], 2) == rouge1
    assert round(means["rouge2"], 2) == rouge2
    assert round(means["rougeLsum"], 2) == rouge_lsum


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("system", "expected"),
    [(SAMSUM, [52.44, 47.73, 29.45, 43.89]), (GPT4, [41.20, 50.11, 37.65, 38.16])],
)
def test_published_divisions_score_as_published(corpora, system, expected):
    report = score_files(corpora / TEST1, corpora / PREDICTIONS / system, protocol="aci-bench")
    assert [round(_means(report, name)["rouge1"], 2) for name in report.data["divisions"]] == (
        expected
    )


@pytest.mark.corpus
def test_forty_full_notes_within_five_seconds_of_one_core(corpora, tmp_path):
    command = (
        "from medisum_utils.scoring.command import score_command as s; import typer; typer.run(s)"
    )
    arguments = ["--references", corpora / TEST1, "--predictions", corpora / PREDICTIONS / SAMSUM]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    times_before = os.times()
    subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments), "--json", str(tmp_path / "o.json")],
        check=True,
        capture_output=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    times_after = os.times()
    core_s = sum(times_after[2:4]) - sum(
        times_before[2:4]
    )  # includes start-up, excludes waiting for other processes
    assert core_s <= 5


# What is reported


def test_a_perfect_system_has_a_hundred_everywhere():
    for protocol in ("aci-bench", "soap", "mts"):
        report = score(NOTES, NOTES, protocol=protocol, against=NOTES)
        rows = [report.data, *report.data["divisions"].values()]
        for name in ("rouge1", "rougeL", "rougeLsum"):  # one word has no bigram to score
            for estimate in (row["rouge"][name] for row in rows if row["n"]):
                assert estimate["mean"] == estimate["low"] == estimate["high"] == 100
        assert all(row["p"] == 1 for row in report.data["against"]["rouge"].values())


def test_an_empty_prediction_is_counted_and_scores_nothing():
    report = score(NOTES, [NOTES[0], "", " \n"], protocol="soap")
    assert report.data["n"] == 3
    assert report.data["n_empty_predictions"] == 2
    assert report.data["per_note"]["rouge1"] == [100, 0, 0]
    assert report.data["divisions"]["plan"]["n_missing"] == 2
    assert _means(report, "plan")["rouge1"] == pytest.approx(100 / 3)


def test_soap_divisions_count_where_the_reference_has_them():
    assessed = ["Subjective: tired\nAssessment: anemia\nPlan: iron", "Subjective: well"]
    combined = ["Subjective: tired\nAssessment and plan: anemia, iron", "Subjective: well\nPlan: x"]
    report = score(assessed, combined, protocol="soap", against=assessed)
    divisions = report.data["divisions"]
    assert divisions["subjective"]["n"] == 2
    assert divisions["plan"]["n"] == 0
    assert divisions["plan"]["n_added"] == 1
    assert divisions["assessment_and_plan"]["n"] == 1
    assert _means(report, "assessment_and_plan")["rouge1"] == 100
    assert report.data["against"]["divisions"]["plan"]["rouge1"]["n"] == 0
    assert "plan" in report.table()


def test_soap_reports_unknown_headers():
    report = score(NOTES[:1], ["CC:\ncough\nPROGNOSIS\ngood"], protocol="soap")
    assert report.data["headers"]["predictions"] == {"unknown": {"PROGNOSIS": 1}, "n_without": 0}
    assert "PROGNOSIS (1)" in report.table()


def test_mts_scores_by_section_header(tmp_path):
    path = tmp_path / "sections.csv"
    rows = "ID,section_header,section_text\n0,CC,cough\n1,ROS,no fever\n2,CC,knee pain\n"
    path.write_text(rows, encoding="utf-8")
    report = score_files(path, path, protocol="mts")
    assert {name: row["n"] for name, row in report.data["divisions"].items()} == {"CC": 2, "ROS": 1}
    assert report.data["divisions"]["ROS"]["rouge"]["rouge1"]["low"] is None  # one note


def test_against_is_the_paired_difference(references, tmp_path):
    worse = _write(tmp_path / "worse.csv", WORSE, [1, 2, 3])
    report = score_files(references, references, against=worse, seed=3)
    own, other = score_files(references, references), score_files(references, worse)
    difference = report.data["against"]["rouge"]["rouge1"]
    assert difference["mean"] == pytest.approx(_means(own)["rouge1"] - _means(other)["rouge1"])
    assert difference["mean"] > 0
    assert 0 < difference["p"] <= 1
    assert "difference" in report.table()


def test_dialogues_add_fact_scores_paired_like_the_others(references, tmp_path):
    dialogues = tmp_path / "dialogues.csv"
    dialogues.write_text(
        "id,dialogue\n3,my head hurts\n1,my throat is sore\n2,my left knee hurts and is swollen\n",
        encoding="utf-8",
    )
    worse = _write(tmp_path / "worse.csv", WORSE, [1, 2, 3])
    report = score_files(references, references, dialogues=dialogues, against=worse)
    facts = report.data["facts"]
    assert set(facts) == {"precision", "recall", "f1", "omission", "hallucination"}
    assert facts["recall"]["mean"] == 100
    assert facts["omission"]["mean"] == 0
    assert report.data["against"]["facts"]["f1"]["mean"] > 0
    assert report.data["matched_by"]["dialogues"] == "id"


# Bad input


def test_rows_are_matched_by_id_whatever_their_order(references, tmp_path):
    reversed_file = _write(tmp_path / "turned.csv", NOTES[::-1], [3, 2, 1])
    report = score_files(references, reversed_file)
    assert _means(report)["rouge1"] == 100
    assert report.data["matched_by"] == {"predictions": "id"}
    assert report.data["per_note"]["ids"] == ["1", "2", "3"]
    assert (
        _means(score_files(references, reversed_file, reading=Reading(match="row")))["rouge1"] < 100
    )


def test_rows_without_ids_are_matched_by_row(tmp_path):
    plain = _write(tmp_path / "plain.csv", NOTES)
    report = score_files(plain, plain)
    assert report.data["matched_by"] == {"predictions": "row"}
    assert _means(report)["rouge1"] == 100
    with pytest.raises(ValueError, match=r"plain\.csv: expected a column id"):
        score_files(plain, plain, reading=Reading(match="id"))


@pytest.mark.parametrize("role", ["references", "predictions", "against", "dialogues"])
def test_ids_in_only_one_file_are_an_error_unless_rows_are_asked_for(references, tmp_path, role):
    """The rows may be in any order: to pair them by row would score strangers' notes in silence."""
    plain = tmp_path / "plain.csv"
    rows = [["note", "dialogue"], *[[note, "I am ill."] for note in NOTES]]
    with plain.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    files = {"references": references, "predictions": references, role: plain}
    expected = r"plain\.csv: expected a column id or encounter_id in both files, got none in this"
    with pytest.raises(ValueError, match=f"{expected} one .*by row"):
        score_files(**files)
    report = score_files(**files, reading=Reading(match="row"))
    assert _means(report)["rouge1"] == 100
    assert set(report.data["matched_by"].values()) == {"row"}


@pytest.mark.parametrize(
    ("ids", "notes", "message"),
    [
        (None, NOTES, "bad.csv: expected a column id or encounter_id in both files, got none"),
        ([1, 2], NOTES[:2], "got 2 rows for 3: lacking 3"),
        ([1, 2, 4], NOTES, "lacking 3; not in references.csv: 4"),
        ([1, 2, 2], NOTES, "expected each id once, got more of 2"),
        ([1, "", 3], NOTES, "expected an id, got none in 2"),
        ([1, 2, 3], [NOTES[0], "nan", NOTES[2]], "got NaN in row 2"),
        ([1, 2, 3], ["NaN", NOTES[1], "<NA>"], "got NaN in row 1, 3"),
        ([], [], "at least one row"),
    ],
)
def test_bad_predictions_are_errors(references, tmp_path, ids, notes, message):
    bad = _write(tmp_path / "bad.csv", notes, ids)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        score_files(references, bad)
    assert not any(note in str(raised.value) for note in NOTES)


def test_an_empty_reference_is_an_error(references, tmp_path):
    empty = _write(tmp_path / "empty.csv", [*NOTES[:2], ""], [1, 2, 3])
    with pytest.raises(ValueError, match=r"empty\.csv, column 'note'.*an empty cell in row 3"):
        score_files(empty, references)
    assert score_files(references, empty).data["n_empty_predictions"] == 1


def test_a_wrong_column_is_an_error_that_names_the_right_ones(references):
    with pytest.raises(ValueError, match=r"expected a column 'summary', got id, note"):
        score_files(references, references, reading=Reading("summary"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header"),
        (b"id,note\n1,a\n2,b,c\n", "another number in row 2"),
        (b"note,note\na,b\n", "got note twice"),
        (b'id,note\n1,"never closed\n', "expected CSV"),
        ("id,note\n1,caf\u00e9\n".encode("latin-1"), "expected UTF-8"),
        ("id,note\n1,a\n".encode("utf-16"), "expected UTF-8"),
    ],
)
def test_files_that_are_no_table_are_errors(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_crlf_and_bom_change_nothing(references, tmp_path):
    notes = [note.replace("\n", "\r\n") for note in WORSE]
    crlf = _write(tmp_path / "crlf.csv", notes, [1, 2, 3], lineterminator="\r\n")
    crlf.write_bytes(b"\xef\xbb\xbf" + crlf.read_bytes())
    plain = _write(tmp_path / "plain.csv", WORSE, [1, 2, 3], lineterminator="\n")
    for protocol in ("aci-bench", "soap"):
        expected = score_files(references, plain, protocol=protocol).data
        assert score_files(references, crlf, protocol=protocol).data == expected


def test_lists_are_checked_as_files_are():
    with pytest.raises(ValueError, match="got 2 and 3"):
        score(NOTES, NOTES[:2])
    with pytest.raises(ValueError, match="predictions: expected text, got float in row 2"):
        score(NOTES, [NOTES[0], math.nan, NOTES[2]])
    with pytest.raises(ValueError, match="at least one reference"):
        score([], [])
    with pytest.raises(ValueError, match="expected a protocol of"):
        score(NOTES, NOTES, protocol="rouge")


# The command


def _run(*arguments: object):
    app = typer.Typer()
    app.command()(score_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_a_table_and_writes_json(references, tmp_path):
    out = tmp_path / "deep" / "out.json"
    worse = _write(tmp_path / "worse.csv", WORSE, [1, 2, 3])
    result = _run("--references", references, "--predictions", worse, "--json", out)
    assert result.exit_code == 0, result.output
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data == score_files(references, worse).data
    assert data["unit"] == "percent"
    assert data["n"] == 3
    assert f"{data['rouge']['rouge1']['mean']:.2f}" in result.output


def test_the_command_refuses_bad_input_in_one_line(references, tmp_path):
    bad = _write(tmp_path / "bad.csv", NOTES[:2])
    out = tmp_path / "out.json"
    files = ("--references", references, "--predictions", bad)
    result = _run(*files, "--match", "row", "--json", out)
    assert result.exit_code == 2
    assert "nothing was scored: expected as many rows" in result.output
    assert not out.exists()
    result = _run(*files)
    assert result.exit_code == 2
    assert "nothing was scored: bad.csv: expected a column id" in result.output
    assert _run("--references", references, "--predictions", tmp_path / "none.csv").exit_code == 2
