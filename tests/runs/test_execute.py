"""The runner on small notebooks: what it leaves, and that no failure passes as success."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from small_project import NOTEBOOK, command, contents, make_project

from medisum_utils import runs
from medisum_utils.runs import execute, failures, kernels, profiles, progress
from medisum_utils.runs.attempt import assert_completed
from medisum_utils.runs.plan import Run, prepare_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    project = make_project(tmp_path_factory.mktemp("project"))
    result = command(project, "run", "--profile", "mine")
    assert result.returncode == 0, result.stdout + result.stderr
    return project, result.stdout


@pytest.mark.slow
def test_a_run_leaves_reports_executed_notebooks_and_a_manifest(completed) -> None:
    project, said = completed
    left = {path.name for path in (project / "reports" / "mine").iterdir()}
    assert left == {
        "01_data.html", "01_data.ipynb", "02_format.html", "02_format.ipynb", "run.json",
        execute.LOCK,
    }  # fmt: skip
    assert (project / "reports" / "index.html").exists()
    assert "[1/2] 01_data" in said
    assert "5/5  The end" in said
    last = said.splitlines()[-1]
    assert last.startswith("2 notebooks in ")
    assert last.endswith(": reports/index.html")
    assert "\r" not in said  # it is no terminal


@pytest.mark.slow
def test_the_profile_s_value_reaches_its_notebook_alone(completed) -> None:
    project, _ = completed
    steps = json.loads((project / "reports" / "mine" / "run.json").read_text())["steps"]
    assert steps["01_data"]["n_rows"] == 5
    assert steps["02_format"]["n_rows"] == 3


@pytest.mark.slow
def test_the_manifest_has_totals_of_the_run(completed) -> None:
    project, _ = completed
    manifest = json.loads((project / "reports" / "mine" / "run.json").read_text())
    walls = [step["wall_s"] for step in manifest["steps"].values()]
    assert manifest["complete"] is True
    assert manifest["seconds"] == pytest.approx(sum(walls), abs=0.11)
    assert all(step["wall_s"] > step["seconds"] for step in manifest["steps"].values())
    assert 0.02 < manifest["peak_memory_gib"] < 2
    assert manifest["machine"]["n_cores"] == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_every_cell_of_the_kept_notebook_was_executed(completed) -> None:
    project, _ = completed
    notebook = nbformat.read(project / "reports" / "mine" / "01_data.ipynb", as_version=4)
    assert_completed(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("raise", "ValueError: expected 3 turns, got 4"),
        ("exit", "ended by SystemExit"),
        ("quote", "ValueError: its message may quote data"),
        ("leave", "the kernel ended by itself, with exit code 0"),
        ("kill", "the kernel was killed (SIGKILL), most likely for lack of memory: it had taken"),
        ("forget", "wrote no entry into run.json"),
    ],
)
def test_what_did_not_complete_fails_and_is_kept(tmp_path: Path, how: str, expected: str) -> None:
    project = make_project(tmp_path / "project")
    report = project / "reports" / "mine"
    report.mkdir(parents=True)
    (report / "01_data.html").write_text("of an earlier run")
    result = command(project, "run", "--profile", "mine", "--set", f"01_data.how={how}")
    assert result.returncode == 1
    assert "01_data, code cell" in result.stderr
    assert expected in result.stderr
    assert "Ada" not in result.stdout + result.stderr  # no line of code with text in it
    assert "python -m medisum_utils run --profile mine --from 01_data" in result.stderr
    assert {path.name for path in report.glob("0*")} == {
        "01_data.html",
        "01_data.failed.ipynb",
        "01_data.failed.html",
    }
    assert (report / "01_data.html").read_text() == "of an earlier run"
    assert not (project / "reports" / "index.html").exists()  # of completed steps only
    if how == "raise":
        assert "expected 3 turns" in (report / "01_data.failed.html").read_text()
    if how == "kill":
        assert "code cell 4 of 5 (The work)" in result.stderr
        assert "and this machine has" in result.stderr


@pytest.mark.slow
def test_a_failed_step_leaves_every_byte_and_the_next_success_removes_its_remains(
    completed, tmp_path: Path
) -> None:
    project = shutil.copytree(completed[0], tmp_path / "project")
    before = contents(project)
    failing = ("run", "--profile", "mine", "--from", "02", "--set", "02_format.how=raise")
    assert command(project, *failing).returncode == 1
    after = contents(project)
    remains = {f"reports/mine/02_format.failed.{ending}" for ending in ("ipynb", "html")}
    assert set(after) - set(before) == remains
    assert {name: after[name] for name in before} == before
    assert command(project, "run", "--profile", "mine", "--from", "02").returncode == 0
    assert not remains & set(contents(project))


@pytest.mark.slow
def test_an_index_that_cannot_be_written_hides_no_failure_and_stops_no_step(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "project")
    broken = project / "reports" / "theirs" / "run.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    failed = command(project, "run", "--profile", "mine", "--set", "02_format.how=raise")
    assert "theirs/run.json" in failed.stdout  # told after 01, which completed
    assert "expected 3 turns, got 4" in failed.stderr
    assert "theirs" not in failed.stderr
    without = command(project, "run", "--profile", "mine", "--from", "02")
    assert without.returncode == 1
    assert "every notebook completed, but not the index" in without.stderr
    assert (project / "reports" / "mine" / "02_format.html").exists()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("yours", {}, "there are: mine"),
        ("mine", {"settings": ["02.n=four"]}, "expected int like 3, got str 'four'"),
        ("mine", {"first": "07_more"}, "no notebook '07_more'"),
        ("mine", {"only": ["data"]}, "no notebook 'data'"),
        ("mine", {"first": "02", "settings": ["01.n=4"]}, r"to run \(02_format\), got 01_data"),
        ("mine", {"only": ["01"], "settings": ["02.n=4"]}, r"to run \(01_data\), got 02_format"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    project: Path, name: str, options: dict, expected: str
) -> None:
    make_project(project)
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        prepare_run(name, **options)
    assert not (project / "reports").exists()


def test_the_command_line_refuses_a_parameter_that_the_notebook_does_not_have(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "project")
    result = command(project, "run", "--profile", "mine", "--set", "01_data.m=4")
    assert result.returncode == 2
    assert "nothing was run: 01_data has no parameter 'm'; it has: how, n" in result.stderr
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("need", "error"), [("needs_memory_gib", MemoryError), ("needs_disk_gib", OSError)]
)
def test_a_machine_that_is_too_small_is_said_before_anything_runs(
    project: Path, need: str, error: type[Exception]
) -> None:
    make_project(project)
    path = project / "notebooks" / "02_format.py"
    path.write_text(path.read_text().replace("n = 3", f"n = 3\n{need} = 1.0e9"))
    with pytest.raises(error, match="expected 1000000000.0 GiB of free"):
        prepare_run("mine")


@pytest.mark.slow
def test_a_profile_of_00_alone_runs_it_alone_and_is_listed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    path = project / "notebooks" / "00_tiny_base.py"
    path.write_text(NOTEBOOK.format(name="00_tiny_base"))
    (project / "notebooks" / "profiles" / "base.yaml").write_text("00_tiny_base: {n: 7}\n")
    result = command(project, "run", "--profile", "base")
    assert result.returncode == 0, result.stderr
    assert "[1/1] 00_tiny_base" in result.stdout
    manifest = json.loads((project / "reports" / "base" / "run.json").read_text())
    assert manifest["complete"] is True
    assert {name: step["n_rows"] for name, step in manifest["steps"].items()} == {"00_tiny_base": 7}
    index = (project / "reports" / "index.html").read_text()
    assert 'href="base/00_tiny_base.html"' in index
    assert "Not run yet" not in index
    assert "no evaluation yet" not in index
    assert "01 data" not in (project / "reports" / "base" / "00_tiny_base.html").read_text()


def test_a_missing_base_model_is_said_before_anything_runs(project: Path) -> None:
    make_project(project)
    path = project / "notebooks" / "02_format.py"
    path.write_text(path.read_text().replace("n = 3", 'n = 3\nbase_model = "models/lost"'))
    assert prepare_run("mine", only=["01"]).steps == ("01_data",)
    with pytest.raises(FileNotFoundError, match="base model models/lost is missing"):
        prepare_run("mine")


def test_the_last_lines_of_a_run_name_the_scores(project: Path) -> None:
    score = {"mean": 0.939, "low": 0.923, "high": 0.949}
    systems = {"finetuned": {"n": 200, "rouge1": score, "facts": {"f1": score}}}
    splits = {"test": {"n": 200, "facts_by": "record", "systems": systems}}
    step = runs.start("04_eval", "mine", {})
    runs.write_json(step.stage(runs.report_dir("mine") / "metrics.json"), {"splits": splits})
    step.finish()
    said = []
    run = Run("mine", ("04_eval", "05_serve"), {}, "mine")
    execute._say_results(run, "2 min 05 s", said.append)
    interval = "0.939 (0.923 to 0.949)"
    assert said == [
        f"test, 200 notes: ROUGE-1 {interval}, fact F1 {interval}",
        "2 notebooks in 2 min 05 s: reports/index.html",
    ]
    said.clear()
    execute._say_results(Run("mine", ("05_serve",), {}, "mine"), "3.0 s", said.append)
    assert said == ["1 notebook in 3.0 s: reports/index.html"]  # the scores are of an earlier run


@pytest.mark.slow
def test_one_step_runs_alone_and_the_rest_of_the_manifest_stays(completed) -> None:
    project, _ = completed
    before = json.loads((project / "reports/mine/run.json").read_text())["steps"]["01_data"]
    result = command(project, "run", "--profile", "mine", "--only", "02")
    assert result.returncode == 0, result.stderr
    assert "[1/1] 02_format" in result.stdout
    after = json.loads((project / "reports/mine/run.json").read_text())
    assert after["steps"]["01_data"] == before
    assert after["complete"] is True


def test_the_stages_of_a_notebook_are_named_by_their_headings(project: Path) -> None:
    make_project(project)
    headings = list(progress.headings(profiles.read_notebook("01_data")).values())
    assert headings[-1] == "The end"
    assert headings[1] == "Report of 01_data"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def test_a_long_message_is_cut_and_paths_lose_their_folders() -> None:
    error = ValueError("x" * 5000)
    assert len(failures.explain(error)[0]) < failures.MAX_MESSAGE + 100
    assert failures.short_path(runs.__file__) == "medisum_utils/runs/__init__.py"
    assert failures.short_path("/home/someone/lib/site-packages/torch/nn/a.py") == "torch/nn/a.py"


def failure(ename: str, evalue: str, *frames: str) -> Exception:
    error = Exception()
    error.ename, error.evalue, error.traceback = ename, evalue, list(frames)
    return error


CELL = "Cell In[3], line 2\n      1 note = notes[0]\n----> 2 "
OURS = f"File {runs.__file__}:7, in start(note)\n      6 x = 1\n----> 7 "
LIBRARY = "File /lib/site-packages/pandas/a.py:9, in read(x)\n      8 y = 1\n----> 9 "


@pytest.mark.parametrize(
    ("error", "is_shown"),
    [
        (failure("ValueError", "said", CELL + "raise ValueError(said)"), True),
        (failure("AssertionError", "said", CELL + "    assert n == 1, said"), True),
        (failure("ValueError", "said", CELL + "start(note)", OURS + "    raise ValueError("), True),
        (failure("ValueError", "said", CELL + "float(note)"), False),
        (failure("KeyError", "said", CELL + "start(note)", OURS + "return table[note]"), False),
        (failure("ValueError", "said", CELL + "read(x)", LIBRARY + "raise ValueError(x)"), False),
        (failure("OSError", "said", CELL + "read(x)", LIBRARY + "return open(x)"), True),
        (failure("ValueError", "said"), False),
    ],
)
def test_only_a_message_of_this_project_s_own_reaches_the_terminal(
    error: Exception, is_shown: bool
) -> None:
    lines = "\n".join(failures.explain(error))
    assert ("said" in lines) is is_shown
    assert (failures.WITHHELD in lines) is not is_shown
    assert not {"notes[0]", "table[note]", "float(note)"} & set(lines.split())


def test_how_a_kernel_died_is_said_by_what_it_was() -> None:
    killed = failures.explain_death(-signal.SIGKILL, 3.21, 4.0)
    assert "lack of memory" in killed
    assert "3.21 GiB" in killed
    assert "4.0 GiB" in killed
    crashed = failures.explain_death(-signal.SIGSEGV, 3.21, 4.0)
    assert "SIGSEGV" in crashed
    assert "lack" not in crashed


def test_help_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "pandas", "scipy", "matplotlib", "papermill", "fastapi")
    code = f"import sys, medisum_utils.__main__; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_command_without_its_extra_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['x', 'serve'];"
        "from medisum_utils.__main__ import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("uvicorn is not installed")
    assert "[all]" in result.stderr


def test_a_kernel_keeps_its_memory_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in kernels.KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    with kernels._importable():
        assert {name: os.environ[name] for name in kernels.KEEP_MEMORY} == kernels.KEEP_MEMORY
    assert not set(kernels.KEEP_MEMORY) & set(os.environ)
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    with kernels._importable():
        assert os.environ["MALLOC_MMAP_MAX_"] == "7"
