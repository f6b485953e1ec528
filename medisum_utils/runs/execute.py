"""Runs the notebooks of a profile headlessly, one after the other, each into a report.

    python -m medisum_utils run --profile tiny

The notebook's `.py` is read, its parameters are injected and papermill executes it in a kernel of
its own; the executed notebook is kept and becomes HTML. The first failure ends the run, and leaves
every file that stood there before as it was.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from medisum_utils.runs import interrupts, results
from medisum_utils.runs.attempt import Attempt, Say
from medisum_utils.runs.failures import RunFailed, RunStopped
from medisum_utils.runs.paths import report_dir, shown_path
from medisum_utils.runs.plan import Run
from medisum_utils.runs.progress import duration

LOCK = ".run.lock"


class ProfileBusy(RuntimeError):
    """Another process is running the profile; the message says which and since when."""


@contextmanager
def lock_profile(profile: str) -> Iterator[None]:
    """Holds `reports/<profile>/.run.lock` for the block.

    The file stays when the block is done: deleting it would let two processes lock two files of
    one name. The lock itself is the system's, so that a killed run blocks nobody.

    Raises: ProfileBusy at once where another process holds it.
    """
    path = report_dir(profile) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process, which has just begun"
            raise ProfileBusy(
                f"profile {profile} is being run by {holder}; wait until it has ended, or end it"
            ) from None
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.truncate(0)
        file.write(f"process {os.getpid()} since {since}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def execute_run(run: Run, *, say: Say = print) -> Path:
    """Executes the notebooks into `reports/<profile>/` and returns that folder.

    Raises: RunFailed for a notebook that did not complete, RunStopped where a signal came within
        `interrupts.as_exceptions`; ProfileBusy where another process is running the profile.
    """
    started = time.perf_counter()
    for note in run.notes:
        say(f"note: {note}")
    with lock_profile(run.profile):
        index_error = _execute_steps([Attempt(step, run, say) for step in run.steps], say)
    if index_error:
        raise RunFailed(f"every notebook completed, but not the index of reports: {index_error}")
    _say_results(run, duration(time.perf_counter() - started), say)
    return report_dir(run.profile)


def _say_results(run: Run, took: str, say: Say) -> None:
    """The last lines of a run: the scores, if it has evaluated, and where to read on."""
    from medisum_utils.runs.overview import index_path

    if "04_eval" in run.steps:
        for line in results.score_lines(results.read_metrics(run.profile).get("splits", {})):
            say(line)
    n = len(run.steps)
    say(f"{n} notebook{'s' * (n > 1)} in {took}: {shown_path(index_path(run.profile))}")


def _execute_steps(attempts: Sequence[Attempt], say: Say) -> Exception | None:
    """Executes all steps; returns what prevented the index from being written after the last."""
    attempt, index_error = attempts[0], None
    try:
        for number, attempt in enumerate(attempts, start=1):
            say(f"[{number}/{len(attempts)}] {attempt.step}, profile {attempt.run.profile}")
            attempt.execute()
            index_error = _write_index(say)
    except interrupts.Interrupted as stop:
        say("")
        message = f"stopped by {stop.name}, {attempt.stopped_where()}"
        raise RunStopped(message, stop.exit_code) from None
    return index_error


def _write_index(say: Say) -> Exception | None:
    """Writes the index after a completed step; what prevents it is said, and later steps run.

    Another profile's broken file can be the reason, which is no reason to stop this one.
    """
    from medisum_utils.runs.overview import write_index

    try:
        with interrupts.postponed():
            write_index()
    except (ValueError, KeyError, TypeError, OSError) as error:
        say(f"  the index of reports was not written: {type(error).__name__}: {error}")
        return error
    return None
