"""The runner on small notebooks: what it leaves, and that no failure passes as success."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from medisum_utils import execute, failures, profiles, progress, runs

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = """\
# %% [markdown]
# # Report of {name}

# %% tags=["parameters"]
profile = "tiny"
n = 3
how = "complete"

# %% [markdown]
# ## The work

# %%
import os
import sys

from medisum_utils import runs

step = runs.start("{name}", profile, {{"n": n}})

# %%
def stop(said):
    if how == "raise":
        raise ValueError("expected 3 turns, got 4")
    if how == "exit":
        sys.exit(0)
    if how == "kill":
        os._exit(0)


stop("my name is Ada and my knee hurts")
print("n is", n)

# %% [markdown]
# ## The end

# %%
if how != "forget":
    step.finish(n_rows=n)
"""


def make_project(folder: Path) -> Path:
    (folder / "notebooks" / "profiles").mkdir(parents=True, exist_ok=True)
    for name in ("01_data", "02_format"):
        path = folder / "notebooks" / f"{name}.py"
        path.write_text(NOTEBOOK.format(name=name))
    (folder / "notebooks" / "profiles" / "mine.yaml").write_text("01_data: {n: 5}\n")
    return folder


def command(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command line as a user runs it, from another folder."""
    environment = {**os.environ, "MEDISUM_HOME": str(project), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "medisum_utils", *arguments],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )


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
    }  # fmt: skip
    assert (project / "reports" / "index.html").exists()
    assert "[1/2] 01_data" in said
    assert "5/5  The end" in said


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
    execute.assert_completed(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("raise", "ValueError: expected 3 turns, got 4"),
        ("exit", "ended by SystemExit"),
        ("kill", "DeadKernelError"),
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
    assert {path.name for path in report.glob("0*")} == {
        "01_data.failed.ipynb",
        "01_data.failed.html",
    }
    assert "stopped with an error in 01_data" in (project / "reports/index.html").read_text()
    if how == "raise":
        assert "expected 3 turns" in (report / "01_data.failed.html").read_text()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("yours", {}, "there are: mine"),
        ("mine", {"settings": ["02.n=four"]}, "expected int like 3, got str 'four'"),
        ("mine", {"first": "07_more"}, "no notebook '07_more'"),
        ("mine", {"only": ["data"]}, "no notebook 'data'"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    project: Path, name: str, options: dict, expected: str
) -> None:
    make_project(project)
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        execute.prepare_run(name, **options)
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
        execute.prepare_run("mine")


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
    assert execute.prepare_run("mine", only=["01"]).steps == ("01_data",)
    with pytest.raises(FileNotFoundError, match="base model models/lost is missing"):
        execute.prepare_run("mine")


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
    make_project(project / "inner")
    notebook = profiles.read_notebook(project / "inner" / "notebooks" / "01_data.py")
    headings = list(progress.headings(notebook).values())
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
    assert len(failures.explain(error)[0]) < 500
    assert failures.short_path(runs.__file__) == "medisum_utils/runs.py"
    assert failures.short_path("/home/someone/lib/site-packages/torch/nn/a.py") == "torch/nn/a.py"


def test_help_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "pandas", "scipy", "matplotlib", "papermill", "fastapi")
    code = f"import sys, medisum_utils.__main__; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_kernel_keeps_its_memory_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in execute.KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    with execute._importable():
        assert {name: os.environ[name] for name in execute.KEEP_MEMORY} == execute.KEEP_MEMORY
    assert not set(execute.KEEP_MEMORY) & set(os.environ)
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    with execute._importable():
        assert os.environ["MALLOC_MMAP_MAX_"] == "7"
