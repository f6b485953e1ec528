"""How far a long cell is reaches the terminal, sparsely where it is none, and holds no text."""

from __future__ import annotations

import json
import os
import queue
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_project import make_project

from medisum_utils.runs import live
from medisum_utils.runs.attempt import Attempt, repeatedly
from medisum_utils.runs.live import Standing
from medisum_utils.runs.plan import prepare_run
from medisum_utils.runs.progress import ERASE_LINE, INDENT, SPARSE_S, Pace, Progress

LONG_HEADING = "Where is it weak? By length and by kind of visit, and what that says of the rest"
CELL = SimpleNamespace(cell_type="code", id="a", metadata={})


class Screen:
    """What was printed, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.text = ""

    def say(self, text: str, end: str = "\n") -> None:
        self.text += text + end


def make_progress(in_terminal: bool, heading: str = "Training") -> tuple[Screen, Progress]:
    screen = Screen()
    progress = Progress(
        20, {"a": heading}, screen.say, in_terminal=in_terminal, clock=lambda: screen.now
    )
    progress.cell_start(CELL, 0)
    return screen, progress


def test_what_a_cell_tells_is_read_as_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "live.json"
    assert live.read(path) is None
    live.tell("step", n_done=1, n_total=9)
    assert not list(tmp_path.iterdir())  # nobody is listening
    monkeypatch.setenv(live.FILE_VARIABLE, str(path))
    live.tell("step", n_done=120, n_total=540, loss=0.25)
    assert live.read(path) == Standing("step", 120, 540, 0.25)
    assert [file.name for file in tmp_path.iterdir()] == ["live.json"]


@pytest.mark.parametrize(
    "content",
    [
        {"unit": "Doctor: how is your knee?", "n_done": 1, "n_total": 2, "loss": None},
        {"unit": "step", "n_done": "my knee", "n_total": 2, "loss": None},
        {"unit": "step", "n_done": 1, "n_total": 2, "loss": "it hurts"},
        {"unit": "step", "n_done": 3, "n_total": 2, "loss": None},
    ],
)
def test_no_text_gets_to_the_terminal(tmp_path: Path, content: dict) -> None:
    path = tmp_path / "live.json"
    path.write_text(json.dumps(content))
    screen, progress = make_progress(in_terminal=True)
    with pytest.raises(ValueError, match="expected|invalid literal|could not convert"):
        progress.show(live.read(path))
    assert "knee" not in screen.text


def test_a_terminal_has_loss_step_and_time_left_on_the_cell_s_own_line() -> None:
    screen, progress = make_progress(in_terminal=True)
    progress.show(Standing("step", 10, 540))
    screen.now += 20
    progress.show(Standing("step", 50, 540, 0.3123))
    assert screen.text.endswith("step 50 of 540, loss 0.312, 4 min 05 s left")
    assert "\n" not in screen.text
    screen.now += 250
    progress.cell_end(CELL, 0)
    assert screen.text.count("\n") == 1
    last = screen.text.rpartition(ERASE_LINE)[2]
    assert last.startswith("    1/20  Training")
    assert last.rstrip().endswith("4 min 30 s")
    assert "step" not in last


def test_without_a_terminal_a_cell_says_how_far_it_is_every_half_minute_and_never_goes_back() -> (
    None
):
    screen, progress = make_progress(in_terminal=False)
    for n_done in range(10, 310, 10):
        screen.now += 4
        progress.show(Standing("step", n_done, 540, 0.5))
    progress.cell_end(CELL, 0)
    lines = screen.text.splitlines()
    assert lines[0].rstrip() == "    1/20  Training"
    assert len(lines) == 2 + int(30 * 4 // SPARSE_S) - 1  # one line each time that it was due
    assert lines[1].startswith(f"{INDENT}step 80 of 540, loss 0.500, ")
    assert lines[-1].startswith(f"{INDENT}done")
    assert lines[-1].endswith("2 min 00 s")
    assert "\r" not in screen.text
    assert "\x1b" not in screen.text


def test_a_short_cell_takes_one_line() -> None:
    screen, progress = make_progress(in_terminal=False)
    progress.show(Standing("note", 1, 2))
    screen.now += 1.5
    progress.cell_end(CELL, 0)
    assert screen.text.split() == ["1/20", "Training", "1.5", "s"]


def test_what_an_earlier_cell_told_is_not_said_of_the_next() -> None:
    screen, progress = make_progress(in_terminal=True)
    progress.show(Standing("step", 540, 540))
    progress.cell_end(CELL, 0)
    progress.cell_start(CELL, 1)
    before = screen.text
    progress.show(Standing("step", 540, 540))
    assert screen.text == before


def test_headings_are_whole_and_a_rewritten_line_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    screen, progress = make_progress(in_terminal=True, heading=LONG_HEADING)
    assert LONG_HEADING in screen.text
    progress.show(Standing("note", 32, 200))
    rewritten = screen.text.rpartition(ERASE_LINE)[2]
    assert len(rewritten) < 70
    assert rewritten.endswith("note 32 of 200")
    progress.cell_end(CELL, 0)
    assert LONG_HEADING in screen.text.rpartition(ERASE_LINE)[2]


def test_the_time_left_is_of_the_work_at_hand() -> None:
    pace = Pace(Standing("note", 32, 200), began=0.0)
    assert pace.left_s() is None
    pace.add(Standing("note", 64, 200), 16.0)
    assert pace.left_s() == pytest.approx(68.0)
    assert not pace.goes_on_with(Standing("note", 0, 60))  # another split
    assert not pace.goes_on_with(Standing("note", 0, 200))
    assert not pace.goes_on_with(Standing("step", 64, 200))


def test_a_notebook_s_kernel_is_listened_to_while_it_runs(project: Path) -> None:
    make_project(project)
    attempt = Attempt("01_data", prepare_run("mine"), Screen().say)
    shown: queue.Queue[Standing] = queue.Queue()
    attempt.progress.show = shown.put
    with attempt.watched():
        folder = Path(os.environ[live.FILE_VARIABLE]).parent
        live.tell("note", n_done=32, n_total=200)
        assert shown.get(timeout=30) == Standing("note", 32, 200)
    assert live.FILE_VARIABLE not in os.environ
    assert not folder.exists()


def test_what_is_done_repeatedly_stops_at_an_error_and_raises_it_at_the_end() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise ValueError("expected a number, got a word")

    with (
        pytest.raises(ValueError, match="expected a number"),
        repeatedly(fail, every_s=0.001) as running,
    ):
        running.exception(timeout=30)
    assert len(calls) == 1
