"""A notebook's two files: the edited one is written to the other, and no edit is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import v4

from medisum_utils.runs.notebook_pairs import Side, settle_pairs

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title

# %% tags=["parameters"]
n = 3

# %%
print(n)
"""


def git(project: Path, *arguments: str) -> None:
    command = ["git", "-C", str(project), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def pair(project: Path) -> tuple[Path, Path]:
    """A committed pair that agrees, in a repository of its own, without a memory of it."""
    py, ipynb = (project / "notebooks" / f"01_data.{side}" for side in Side)
    py.write_text(NOTEBOOK)
    (project / "jupytext.toml").write_text((ROOT / "jupytext.toml").read_text())
    (outcome,) = settle_pairs()
    assert outcome.line == "01_data.ipynb written from .py, the other was missing"
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "a pair")
    (project / "notebooks" / ".pairs.json").unlink()
    return py, ipynb


def edit(path: Path, old: str = "print(n)", new: str = "print(n + 1)") -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def lines() -> list[str]:
    return [outcome.line for outcome in settle_pairs()]


def sources(path: Path) -> list[str]:
    return [cell.source for cell in jupytext.read(path).cells]


def test_a_pair_that_agrees_is_not_touched(pair: tuple[Path, Path]) -> None:
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in pair]
    assert lines() == []
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in pair] == before


def test_an_edited_py_is_written_to_its_ipynb(pair: tuple[Path, Path]) -> None:
    py, ipynb = pair
    ids = [cell.id for cell in nbformat.read(ipynb, as_version=4).cells]
    edit(py)
    os.utime(py, (0, 0))  # the clock says that the .ipynb is newer
    assert lines() == ["01_data.ipynb written from .py, which alone was edited"]
    assert sources(ipynb)[-1] == "print(n + 1)"
    assert [cell.id for cell in nbformat.read(ipynb, as_version=4).cells][:2] == ids[:2]


def test_an_edited_ipynb_is_not_overwritten_but_written_to_its_py(
    pair: tuple[Path, Path],
) -> None:
    py, ipynb = pair
    edit(ipynb)
    os.utime(ipynb, (0, 0))
    assert lines() == ["01_data.py written from .ipynb, which alone was edited"]
    assert py.read_text() == NOTEBOOK.replace("print(n)", "print(n + 1)")  # header and all


def test_an_editor_s_kernel_and_outputs_do_not_reach_the_repository(
    pair: tuple[Path, Path],
) -> None:
    py, ipynb = pair
    notebook = nbformat.read(ipynb, as_version=4)
    notebook.metadata["kernelspec"] = {"name": "mine", "display_name": "My kernel"}
    notebook.cells[2].source = "print(n * 2)"
    notebook.cells[2].outputs = [v4.new_output("stream", name="stdout", text="6")]
    notebook.cells[2].execution_count = 4
    nbformat.write(notebook, ipynb)
    assert lines() == ["01_data.py written from .ipynb, which alone was edited"]
    assert py.read_text() == NOTEBOOK.replace("print(n)", "print(n * 2)")
    cell = nbformat.read(ipynb, as_version=4).cells[2]
    assert (cell.outputs, cell.execution_count) == ([], None)


def test_outputs_alone_are_no_edit_and_are_removed(pair: tuple[Path, Path]) -> None:
    py, ipynb = pair
    committed = ipynb.read_bytes()
    notebook = nbformat.read(ipynb, as_version=4)
    notebook.cells[2].outputs = [v4.new_output("stream", name="stdout", text="of a patient")]
    nbformat.write(notebook, ipynb)
    assert lines() == ["01_data.ipynb: outputs removed"]
    assert ipynb.read_bytes() == committed


def test_where_both_were_edited_nothing_is_written_until_told(pair: tuple[Path, Path]) -> None:
    py, ipynb = pair
    edit(py)
    edit(ipynb, new="print(n + 2)")
    os.utime(py, (9, 9))
    before = py.read_bytes(), ipynb.read_bytes()
    (outcome,) = settle_pairs()
    assert not outcome.settled
    assert ".ipynb is the newer file" in outcome.line
    assert "--take" in outcome.line
    assert (py.read_bytes(), ipynb.read_bytes()) == before
    assert settle_pairs(Side.IPYNB)[0].settled
    assert sources(py)[-1] == sources(ipynb)[-1] == "print(n + 2)"


def test_without_git_the_user_decides(pair: tuple[Path, Path], project: Path) -> None:
    (project / ".git").rename(project / "no-git")
    edit(pair[0])
    (outcome,) = settle_pairs()
    assert not outcome.settled
    assert settle_pairs(Side.PY)[0].settled
    assert sources(pair[1])[-1] == "print(n + 1)"


def test_a_second_edit_before_a_commit_is_known_for_what_it_is(pair: tuple[Path, Path]) -> None:
    py, ipynb = pair
    edit(ipynb)
    settle_pairs()
    edit(ipynb, "print(n + 1)", "print(n + 2)")  # now both differ from the commit
    assert lines() == ["01_data.py written from .ipynb, which alone was edited"]
    edit(py, "print(n + 2)", "print(n + 3)")
    assert lines() == ["01_data.ipynb written from .py, which alone was edited"]
    assert sources(ipynb)[-1] == "print(n + 3)"


def test_a_formatter_after_staging_edits_one_side(pair: tuple[Path, Path], project: Path) -> None:
    for path in pair:
        edit(path)
    git(project, "add", "--all")
    edit(pair[0], "print(n + 1)", "print(1 + n)")
    assert lines() == ["01_data.ipynb written from .py, which alone was edited"]


def test_a_side_put_back_by_hand_is_no_reason_to_lose_the_other(
    pair: tuple[Path, Path], project: Path
) -> None:
    edit(pair[0])
    settle_pairs()
    git(project, "checkout", "--", "notebooks/01_data.ipynb")
    (outcome,) = settle_pairs()
    assert not outcome.settled
    assert sources(pair[0])[-1] == "print(n + 1)"


@pytest.mark.parametrize("missing", Side)
def test_a_missing_side_is_written(pair: tuple[Path, Path], missing: Side) -> None:
    py, ipynb = pair
    path = py if missing is Side.PY else ipynb
    path.unlink()
    assert lines() == [f"01_data.{missing} written from .{missing.other}, the other was missing"]
    assert sources(py) == sources(ipynb)


def test_a_file_that_is_no_notebook_is_named(pair: tuple[Path, Path]) -> None:
    pair[1].write_text("<<<<<<< a merge")
    with pytest.raises(ValueError, match=r"01_data\.ipynb: expected a notebook"):
        settle_pairs()


def test_the_command_says_a_line_for_each_pair_and_fails_where_it_must_ask(
    pair: tuple[Path, Path], project: Path
) -> None:
    environment = {**os.environ, "MEDISUM_HOME": str(project), "PYTHONPATH": str(ROOT)}

    def command(*arguments: str) -> tuple[int, str]:
        words = [sys.executable, "-m", "medisum_utils", "notebooks", *arguments]
        result = subprocess.run(words, env=environment, capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr

    assert command() == (0, "")
    edit(pair[0])
    edit(pair[1], new="print(n + 2)")
    code, said = command()
    assert code == 1
    assert said.startswith("01_data: expected one of .py and .ipynb to be edited")
    assert command("--take", "py") == (0, "01_data.ipynb written from .py, as asked for\n")
