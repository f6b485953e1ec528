"""A user's own CSV through all five notebooks, by one command, with no word of it in any report."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from patience import run_until_silent

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("01_data", "02_format", "03_qlora_train", "04_eval", "05_serve")
# Words that no report, log, manifest or metric may hold: each row of the file has one.
_ENDS = ("dibal", "tonk", "wexel", "mirrig", "plovar", "gruntz", "hazzick", "ferble")
CANARIES = [f"{first}{last}" for first in ("quon", "zel", "brif", "vask") for last in _ENDS]
COMPLAINTS = (
    "my left knee swells up whenever I climb the stairs to the flat",
    "there is a dry tickle in my throat that keeps the whole house awake",
    "I get a burning behind the breastbone after every supper",
    "my right ear has been popping since the flight home",
    "the rash on my forearm comes back each time I weed the garden",
    "I wake at four in the morning and my mind will not stop",
    "both my ankles are puffy by the evening and the socks leave marks",
)
COURSES = (
    "It began {days} days ago and it is slowly getting worse.",
    "I would say about {days} days now, on and off, mostly at weekends.",
    "{days} days or so; a hot shower helps for an hour and then it is back.",
    "My sister noticed it first, that must be {days} days ago.",
    "Since the move, so {days} days, and nothing that I tried has helped.",
)
PLANS = (
    "rest it, ice after walking, and come back in {weeks} weeks",
    "a spacer and honey at night, and we talk again in {weeks} weeks",
    "smaller meals before six, and a blood test within {weeks} weeks",
    "an ointment twice a day, then we look at it in {weeks} weeks",
    "no screens after nine, a diary of your nights, and a call in {weeks} weeks",
)


def visits(n: int, seed: int = 3) -> list[dict[str, str]]:
    """Different short visits, each with a canary in its dialogue and in its note."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        complaint, course, plan = (rng.choice(texts) for texts in (COMPLAINTS, COURSES, PLANS))
        days, weeks, canary = rng.randint(2, 90), rng.randint(2, 9), CANARIES[number]
        rows.append(
            {
                "dialogue": f"Doctor: What can I do for you, {canary}?\n"
                f"Patient: Well, {complaint}.\nDoctor: How long has that been going on?\n"
                f"Patient: {course.format(days=days)}\n"
                f"Doctor: Then let us try this: {plan.format(weeks=weeks)}.",
                # under fifteen words, so that like complaints do not make like notes
                "note": f"Subjective:\n{canary.capitalize()}: {' '.join(complaint.split()[:5])}, "
                f"{days} days.\n\nPlan:\nReview in {weeks} weeks.",
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def new_project(folder: Path) -> Path:
    """A project of its own that borrows notebooks and base."""
    (folder / "models").mkdir(parents=True)
    for borrowed in ("notebooks", "models/medisum-tiny-base"):
        (folder / borrowed).symlink_to(ROOT / borrowed)
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run_until_silent(
        [sys.executable, "-m", "medisum_utils", "run", *arguments],
        env={**os.environ, "MEDISUM_HOME": str(project), "PYTHONPATH": str(ROOT)},
        cwd=project,
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """All five notebooks with 30 rows; only what takes long is made small."""
    project = new_project(tmp_path_factory.mktemp("own"))
    path = write_csv(tmp_path_factory.mktemp("elsewhere") / "My Visits.csv", visits(30))
    small = ("03.n_valid=2", "04.n_base=1", "04.max_new_tokens=24", "05.n_alone=1")
    settings = [word for setting in small for word in ("--set", setting)]
    return project, run(project, "--data", str(path), *settings)


@pytest.mark.slow
def test_one_command_walks_all_five_notebooks(own) -> None:
    project, result = own
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    folder = project / "reports" / "my-visits"
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["complete"] is True
    assert tuple(manifest["steps"]) == STEPS
    assert manifest["steps"]["01_data"]["n"] == {"train": 24, "valid": 3, "test": 3}
    assert manifest["steps"]["05_serve"]["n_answers"] == 1 + 8  # about 3 encounters, in turn
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {split: entry["n"] for split, entry in metrics["splits"].items()} == {"test": 3}


@pytest.mark.slow
def test_no_word_of_it_is_in_any_report_log_or_metric(own) -> None:
    project, result = own
    reports = [path for path in (project / "reports").rglob("*") if path.suffix != ".png"]
    texts = {str(path): path.read_text(encoding="utf-8") for path in reports if path.is_file()}
    assert sum(name.endswith(".html") for name in texts) == len(STEPS) + 2  # and both indexes
    texts |= {"stdout": result.stdout, "stderr": result.stderr}
    assert not [name for name, text in texts.items() if "elsewhere" in text]  # the file's folder
    phrases = [*CANARIES, *COMPLAINTS, *(plan.partition(",")[0] for plan in PLANS)]
    for name, text in texts.items():
        assert not [phrase for phrase in phrases if phrase.lower() in text.lower()], name


@pytest.mark.slow
def test_git_and_the_common_index_know_nothing_of_it(own) -> None:
    project, _ = own
    assert (project / "reports" / "my-visits" / ".gitignore").read_text() == "*\n"
    assert "my-visits" not in (project / "reports" / "index.html").read_text()
    assert "my-visits" in (project / "reports" / "my-visits" / "index.html").read_text()


@pytest.mark.slow
def test_a_switch_turned_by_hand_shows_no_text(own) -> None:
    project, _ = own
    privacy = project / "data" / "processed" / "my-visits" / "privacy.json"
    before = privacy.read_text()
    privacy.write_text(before.replace("false", "true"))
    result = run(project, "--profile", "my-visits", "--only", "02_format")
    privacy.write_text(before)
    assert result.returncode == 1
    assert "privacy.json is not the one that 01_data wrote" in result.stderr


@pytest.mark.slow
def test_data_made_anew_stop_the_evaluation_of_the_old_adapter(own) -> None:
    """Another seed parts the file otherwise: the adapter has seen what would now be the test."""
    project, _ = own
    before = (project / "reports" / "my-visits" / "metrics.json").read_bytes()
    again = ("--profile", "my-visits", "--only", "01_data", "--set", "01_data.seed=18")
    assert run(project, *again).returncode == 0
    result = run(project, "--profile", "my-visits", "--only", "04_eval")
    assert result.returncode == 1
    assert "02_format read another data/processed/my-visits/train.jsonl" in result.stderr
    assert "--from 02_format" in result.stderr
    assert (project / "reports" / "my-visits" / "metrics.json").read_bytes() == before
    manifest = json.loads((project / "reports" / "my-visits" / "run.json").read_text())
    assert manifest["complete"] is False


def only_01(
    tmp_path: Path, rows: list[dict[str, str]], *settings: str
) -> tuple[Path, subprocess.CompletedProcess]:
    """01 alone on a file of these rows."""
    project = new_project(tmp_path / "project")
    path = write_csv(project / "own.csv", rows)
    more = [word for setting in settings for word in ("--set", setting)]
    return project, run(project, "--data", str(path), "--only", "01_data", *more)


@pytest.mark.slow
def test_eight_rows_are_enough(tmp_path: Path) -> None:
    project, result = only_01(tmp_path, visits(8))
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    manifest = json.loads((project / "data/processed/own/splits.json").read_text())
    assert {name: part["n"] for name, part in manifest["splits"].items()} == {
        "train": 6, "valid": 1, "test": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_templated_visits_get_advice_and_a_way_on(tmp_path: Path) -> None:
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    rows = [
        {
            "dialogue": "Doctor: Good morning, have a seat, what brings you to the clinic today?\n"
            f"Patient: I have had this cough for {word} days and it will not go away at all.",
            "note": f"S: Cough for {word} days.",
        }
        for word in words
    ]
    _, result = only_01(tmp_path, rows)
    assert result.returncode == 1
    assert "near_duplicate" in result.stderr
    assert "cough" not in result.stderr + result.stdout
    _, result = only_01(tmp_path / "again", rows, "01_data.near_duplicate=1.0")
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
def test_a_patient_stays_in_one_split(tmp_path: Path) -> None:
    rows = visits(30)
    for number, row in enumerate(rows):
        row["patient"] = f"P{number % 10}"
    project, result = only_01(tmp_path, rows)
    assert result.returncode == 0, result.stderr[-2000:]
    seen: dict[str, set[str]] = {}
    for path in (project / "data/processed/own").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            seen.setdefault(json.loads(line)["meta"]["patient"], set()).add(path.stem)
    assert len(seen) == 10
    assert all(len(splits) == 1 for splits in seen.values())


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("visits.txt", (), "expected a file named .csv or .jsonl"),
        ("missing.csv", (), "expected a CSV or JSONL file, found none"),
        ("tiny.csv", (), "'tiny' is one of the project's own profiles"),
        ("visits.csv", ("--profile", "smoke"), "'smoke' is one of the project's own profiles"),
        ("visits.csv", ("--profile", "../../out"), "expected lower-case letters"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(tmp_path, name, arguments, says) -> None:
    project = new_project(tmp_path / "project")
    if name != "missing.csv":
        write_csv(tmp_path / name, visits(8))
    result = run(project, "--data", str(tmp_path / name), *arguments)
    assert result.returncode == 2
    assert says in result.stderr
    assert not (project / "reports").exists()
    assert not list(tmp_path.rglob("profile.yaml"))
