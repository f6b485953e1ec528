"""What is to run, how far one notebook of it got, and how to go on from there."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medisum_utils.runs import live, profiles
from medisum_utils.runs.kernels import Kernel
from medisum_utils.runs.notebook_parameters import read_notebook
from medisum_utils.runs.progress import Progress, headings, n_code_cells
from medisum_utils.runs.steps import adapter_dir, read_manifest, report_dir
from medisum_utils.runs.watch import Repeatedly, Watch

Say = Callable[..., None]  # prints like `print`; takes `end`


@dataclass(frozen=True)
class Run:
    """What is about to run: a profile's name, its steps in order, and their parameters.

    `named`, `only` and `settings` are how it was asked for, to say how to go on with it; `notes`
    are sentences for whoever started it.
    """

    profile: str
    steps: tuple[str, ...]
    values: dict[str, dict[str, Any]]
    named: str
    only: bool = False
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def step_of(setting: str) -> str:
    """The notebook that a `STEP.parameter=value` is for."""
    return profiles.find_step(setting.partition("=")[0].strip().partition(".")[0])


def command(run: Run, left: Sequence[str], *, resume: bool = False) -> str:
    """The shell command for the steps `left` of a run, the first of them resumed where asked."""
    words = ["python", "-m", "medisum_utils", "run", "--profile", run.named]
    if run.only:
        words += [word for step in left for word in ("--only", step)]
    else:
        words += ["--from", left[0]]
    settings = [each for each in run.settings if step_of(each) in left]
    if resume:
        settings.append(f"{left[0]}.resume=true")  # the last of two settings counts
    return shlex.join([*words, *(word for each in settings for word in ("--set", each))])


@dataclass
class Attempt:
    """One notebook being executed: how far it is and what it takes."""

    step: str
    run: Run
    say: Say
    watch: Watch = field(default_factory=Watch)
    kernel: Kernel = field(default_factory=Kernel)
    has_completed: bool = False

    def __post_init__(self) -> None:
        self.notebook = read_notebook(profiles.notebooks_dir() / f"{self.step}.py")
        n_cells = n_code_cells(self.notebook) + 1  # papermill adds one with the parameters
        self.progress = Progress(n_cells, headings(self.notebook), self.say, sys.stdout.isatty())
        self.entry_before = self._entry()
        self.begin()

    def begin(self) -> None:
        """Starts its clock; `began`, in seconds since 1970, tells its files from older ones."""
        self.started, self.began = time.perf_counter(), time.time()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Shows, for the block, how far a long cell says that it is; see `live`."""
        with tempfile.TemporaryDirectory(prefix="medisum-") as folder:
            path = Path(folder) / "live.json"
            os.environ[live.FILE_VARIABLE] = str(path)  # the kernel inherits it
            try:
                with Repeatedly(lambda: self.progress.follow(path)):
                    yield
            finally:
                del os.environ[live.FILE_VARIABLE]

    def _entry(self) -> Mapping[str, Any] | None:
        return read_manifest(self.run.profile)["steps"].get(self.step)

    def path(self, suffix: str) -> Path:
        """`reports/<profile>/<step><suffix>`."""
        return report_dir(self.run.profile) / f"{self.step}{suffix}"

    def has_finished(self) -> bool:
        """Whether the notebook has written its entry, which it does when its files are in place."""
        entry = self._entry()
        return entry is not None and entry != self.entry_before

    def place(self) -> str:
        """The cell it is at, in words."""
        if not self.progress.n_done:
            return f"{self.step}, before its first cell"
        where = f"{self.step}, code cell {self.progress.n_done} of {self.progress.n_cells}"
        return where + (f" ({self.progress.heading})" if self.progress.heading else "")

    def what_stands(self) -> str:
        """What became of the files of this step, in words."""
        if self.has_finished():
            return "its files are in place, but not its report"
        return "nothing was replaced"

    def stopped_where(self) -> str:
        """Where a signal ended it and how to go on, in two lines."""
        if not self.has_completed:
            return f"at {self.place()}; {self.what_stands()}.\nTo go on: {self.command()}"
        left = self.run.steps[self.run.steps.index(self.step) + 1 :]
        onward = f"To go on: {command(self.run, left)}" if left else "It was the last step."
        return f"after {self.step} had completed.\n{onward}"

    def command(self) -> str:
        """How to go on from this step, resuming where it can."""
        left = self.run.steps[self.run.steps.index(self.step) :]
        return command(self.run, left, resume=self._can_resume())

    def _can_resume(self) -> bool:
        """Whether the notebook knows how to resume and this attempt has left a checkpoint."""
        if "resume" not in profiles.read_parameters(profiles.notebooks_dir() / f"{self.step}.py"):
            return False
        ends = adapter_dir(self.run.profile).rglob("checkpoint-*/trainer_state.json")
        return any(path.stat().st_mtime >= self.began for path in ends)
