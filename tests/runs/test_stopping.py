"""How a run ends before its end: signals, kills, two runs at once, and what is said of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from patience import run_until_silent
from small_project import begun, command, contents, make_project

from medisum_utils import runs
from medisum_utils.runs import execute, interrupts
from medisum_utils.runs.attempt import Attempt
from medisum_utils.runs.plan import Run


def wait_for(happened, process: subprocess.Popen | None = None, at_most_s: float = 300) -> None:
    """Waits, on a busy machine too; fails where it never happens or the process ends before."""
    deadline = time.monotonic() + at_most_s
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # some containers keep these
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_ends_runner_and_kernel_and_says_how_to_go_on(
    tmp_path: Path, signum: signal.Signals
) -> None:
    project = make_project(tmp_path / "project")
    for name in ("mine/01_data.html", "mine/02_format.html", "mine/run.json", "index.html"):
        path = project / "reports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"steps": {}}')
    before = contents(project)
    pid = project / "notebooks" / "01_data.pid"
    asked = ("--set", "01.how=stay", "--set", "02.n=9")
    with begun(project, "run", "--profile", "mine", *asked) as process:
        wait_for(lambda: pid.exists() and pid.read_text(), process)
        process.send_signal(signum)
        _, complained = process.communicate(timeout=300)
    assert process.returncode == 128 + signum
    assert complained.splitlines() == [
        f"stopped by {signum.name}, at 01_data, code cell 4 of 5 (The work); nothing was replaced.",
        "To go on: python -m medisum_utils run --profile mine --from 01_data "
        "--set 01.how=stay --set 02.n=9",
    ]
    assert not is_running(int(pid.read_text()))
    after = contents(project)
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_a_killed_runner_leaves_no_kernel_and_blocks_nobody(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    pid = project / "notebooks" / "01_data.pid"
    with begun(project, "run", "--profile", "mine", "--set", "01_data.how=stay") as process:
        wait_for(lambda: pid.exists() and pid.read_text(), process)
        second = command(project, "run", "--profile", "mine")
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert f"profile mine is being run by process {process.pid} since 20" in second.stderr
    assert "Traceback" not in second.stderr
    wait_for(lambda: not is_running(int(pid.read_text())))
    third = command(project, "run", "--profile", "mine", "--only", "01")
    assert third.returncode == 0, third.stderr


def test_a_lock_is_of_one_profile_and_ends_with_its_block(project: Path) -> None:
    busy = pytest.raises(execute.ProfileBusy, match=rf"mine .* process {os.getpid()} since ")
    with (
        execute.lock_profile("mine"),
        execute.lock_profile("yours"),
        busy,
        execute.lock_profile("mine"),
    ):
        pass
    with execute.lock_profile("mine"):
        pass


def test_a_signal_is_raised_and_waits_while_files_are_replaced() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def replace() -> None:
        with interrupts.as_exceptions(), interrupts.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("both files")

    def work() -> None:
        with interrupts.as_exceptions():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
            done.append("never")

    with pytest.raises(interrupts.Interrupted) as stop:
        replace()
    assert stop.value.exit_code == 143
    with pytest.raises(interrupts.Interrupted) as stop:
        work()
    assert stop.value.exit_code == 130
    assert done == ["both files"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_to_be_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        with interrupts.as_exceptions():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not interrupts.has_come()


def attempt_at(step: str, steps: tuple[str, ...], **asked) -> Attempt:
    run = Run("mine", steps, {each: {} for each in steps}, "mine", **asked)
    return Attempt(step, run, print)


def test_the_command_to_go_on_repeats_what_was_asked_for_and_is_still_to_do(
    project: Path,
) -> None:
    make_project(project)
    both = ("01_data", "02_format")
    asked = {"settings": ("01.n=4", "02_format.how=two words")}
    command = "python -m medisum_utils run --profile mine "
    second = "--set '02_format.how=two words'"
    assert attempt_at("01_data", both, **asked).command() == (
        f"{command}--from 01_data --set 01.n=4 {second}"
    )
    assert attempt_at("02_format", both, **asked).command() == f"{command}--from 02_format {second}"
    only = attempt_at("02_format", both, only=True, **asked)
    assert only.command() == f"{command}--only 02_format {second}"
    first = attempt_at("01_data", both)
    first.has_completed = True
    assert first.stopped_where().endswith(f"completed.\nTo go on: {command}--from 02_format")


def test_a_step_that_can_resume_is_resumed_from_its_own_checkpoint_alone(project: Path) -> None:
    make_project(project)
    path = project / "notebooks" / "02_format.py"
    path.write_text(path.read_text().replace("n = 3", "n = 3\nresume = False"))
    end = runs.adapter_dir("mine") / "checkpoints" / "checkpoint-4" / "trainer_state.json"
    end.parent.mkdir(parents=True)
    end.touch()
    os.utime(end, (0, 0))  # of an earlier run
    stopped = attempt_at("02_format", ("02_format",))
    assert "resume" not in stopped.command()
    os.utime(end, (stopped.began + 1, stopped.began + 1))
    assert stopped.command().endswith("--from 02_format --set 02_format.resume=true")
    assert "resume" not in attempt_at("01_data", ("01_data", "02_format")).command()


def test_the_tests_wait_for_who_speaks_and_give_up_on_the_silent(tmp_path: Path) -> None:
    def run(code: str, silent_s: float) -> subprocess.CompletedProcess:
        arguments = [sys.executable, "-c", code]
        return run_until_silent(arguments, env=os.environ, cwd=tmp_path, silent_s=silent_s)

    ended = run("import sys; print('said'); print('complained', file=sys.stderr); sys.exit(3)", 600)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said\n", "complained\n")
    silent = "import time; print('last words', flush=True); time.sleep(600)"
    with pytest.raises(AssertionError, match="silent for 2 s"):
        run(silent, 2)
