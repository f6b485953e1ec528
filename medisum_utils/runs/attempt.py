"""One notebook being executed: how far it got, what it leaves, and how to go on from there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain, interrupts, live, machine, profiles
from medisum_utils.runs.failures import RunFailed, explain, explain_death
from medisum_utils.runs.kernels import Kernel, run_notebook
from medisum_utils.runs.paths import adapter_dir, report_dir, shown_path
from medisum_utils.runs.plan import Run
from medisum_utils.runs.progress import Progress, headings
from medisum_utils.runs.steps import read_manifest, recorded, write_manifest

Say = Callable[..., None]  # prints like `print`; takes `end`


class Attempt:
    """One notebook being executed: how far it is and what it takes."""

    def __init__(self, step: str, run: Run, say: Say) -> None:
        self.step, self.run, self.say = step, run, say
        self.kernel = Kernel()
        self.peak_gib = 0.0  # the kernel's with its children, as sampled
        self.has_completed = False
        self.notebook = profiles.read_notebook(step)
        n_cells = len(_code_cells(self.notebook)) + 1  # papermill adds one with the parameters
        self.progress = Progress(n_cells, headings(self.notebook), say, sys.stdout.isatty())
        self.entry_before = self._entry()
        self.began = time.time()  # seconds since 1970: tells its files from older ones

    def execute(self) -> None:
        """Executes the notebook into `reports/<profile>/<step>.ipynb` and `.html`.

        Until every cell has completed the copy is called `<step>.failed.ipynb`; a kill leaves it
        there. The copy, its report and the measures in `run.json` replace those of an earlier run
        together.

        Raises: RunFailed for a cell that raised, a kernel that died, a cell that never ran, or a
            step that wrote no entry into `run.json`.
        """
        self.began, started = time.time(), time.perf_counter()
        failed = self._path(".failed.ipynb")
        for left_over in (failed, failed.with_suffix(".html")):  # of an earlier attempt
            left_over.unlink(missing_ok=True)
        try:
            with self.watched():
                values = self.run.values[self.step]
                executed = run_notebook(self.notebook, failed, values, self.progress, self.kernel)
            assert_completed(executed)
            if not self._has_finished():
                raise RunFailed("every cell completed, but the step wrote no entry into run.json")
            with interrupts.postponed():
                self._publish(failed, started)
        except Exception as error:  # whatever it was, the copy that shows it is kept and named
            raise self._failure(error, failed) from error

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Samples memory for the block and shows how far a long cell says that it is (`live`).

        Between two samples a short peak can pass unseen: the kernel's own largest size, which a
        step writes into its manifest, does not miss it.
        """
        with tempfile.TemporaryDirectory(prefix="medisum-") as folder:
            path = Path(folder) / "live.json"

            def look() -> None:
                self.peak_gib = max(self.peak_gib, machine.children_gib(os.getpid()))
                if standing := live.read(path):
                    self.progress.show(standing)

            os.environ[live.FILE_VARIABLE] = str(path)  # the kernel inherits it
            try:
                with repeatedly(look):
                    yield
            finally:
                del os.environ[live.FILE_VARIABLE]

    def _publish(self, executed: Path, started: float) -> None:
        """Puts the report, the executed notebook and the measures in the place of the old ones."""
        from medisum_utils.runs.reports import write_report

        _hide_folders(executed, self.run.values[self.step])
        report = write_report(executed, self.run.profile, self.step)
        executed.replace(self._path(".ipynb"))
        wall_s = time.perf_counter() - started
        record_step(self.run.profile, self.step, wall_s, self.peak_gib, report)
        self.has_completed = True

    def _failure(self, error: Exception, failed: Path) -> RunFailed:
        """The failure for the terminal; the partly executed notebook is kept and rendered, too."""
        from medisum_utils.runs.reports import write_report

        self.say("")
        lines = [self.place()]
        if (exit_code := self.kernel.died_with) is not None:
            lines.append(f"  {explain_death(exit_code, self.peak_gib, machine.memory_gib())}")
        else:
            lines += [f"  {line}" for line in explain(error)]
        if failed.exists():
            _hide_folders(failed, self.run.values[self.step])
            lines.append(f"  the notebook up to there: {shown_path(failed)}")
            try:
                report = write_report(failed, self.run.profile, failed.stem, step=self.step)
                lines[-1] += f" and {shown_path(report)}"
            except (ValueError, OSError) as no_report:  # the first error is the one to tell
                lines.append(f"  without a report of it: {no_report}")
        lines += [f"  {self._what_stands()}", f"  to go on once that is mended: {self.command()}"]
        return RunFailed("\n".join(lines))

    def _entry(self) -> Mapping[str, Any] | None:
        return read_manifest(self.run.profile)["steps"].get(self.step)

    def _path(self, suffix: str) -> Path:
        return report_dir(self.run.profile) / f"{self.step}{suffix}"

    def _has_finished(self) -> bool:
        """Whether the notebook has written its entry, which it does when its files are in place."""
        entry = self._entry()
        return entry is not None and entry != self.entry_before

    def place(self) -> str:
        """The cell it is at, in words."""
        if not self.progress.n_done:
            return f"{self.step}, before its first cell"
        where = f"{self.step}, code cell {self.progress.n_done} of {self.progress.n_cells}"
        return where + (f" ({self.progress.heading})" if self.progress.heading else "")

    def _what_stands(self) -> str:
        if self._has_finished():
            return "its files are in place, but not its report"
        return "nothing was replaced"

    def stopped_where(self) -> str:
        """Where a signal ended it and how to go on, in two lines."""
        if not self.has_completed:
            return f"at {self.place()}; {self._what_stands()}.\nTo go on: {self.command()}"
        left = self.run.steps[self.run.steps.index(self.step) + 1 :]
        onward = f"To go on: {self.run.command(left)}" if left else "It was the last step."
        return f"after {self.step} had completed.\n{onward}"

    def command(self) -> str:
        """How to go on from this step, resuming where it can."""
        left = self.run.steps[self.run.steps.index(self.step) :]
        return self.run.command(left, resume=self._can_resume())

    def _can_resume(self) -> bool:
        """Whether the notebook knows how to resume and this attempt has left a checkpoint."""
        if "resume" not in profiles.read_parameters(self.step):
            return False
        ends = adapter_dir(self.run.profile).rglob("checkpoint-*/trainer_state.json")
        return any(path.stat().st_mtime >= self.began for path in ends)


@contextmanager
def repeatedly(action: Callable[[], None], every_s: float = 0.5) -> Iterator[Future]:
    """Calls `action` in a thread of its own for the block, and raises at its end what it raised."""
    left = threading.Event()

    def call() -> None:
        while not left.wait(every_s):
            action()

    with ThreadPoolExecutor(max_workers=1) as executor:
        calls = executor.submit(call)
        try:
            yield calls
        finally:
            left.set()
    calls.result()


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def assert_completed(notebook: Any) -> None:
    """Makes sure that every code cell ran to its end; `sys.exit(0)` leaves later ones unrun.

    Raises: RunFailed with the number of the first cell that did not.
    """
    code = _code_cells(notebook)
    for number, cell in enumerate(code, start=1):
        papermill = cell.metadata.get("papermill", {})
        errors = [out.ename for out in cell.outputs if out.output_type == "error"]
        if papermill.get("status") != "completed" or papermill.get("exception") or errors:
            why = f"ended by {errors[0]}" if errors else "did not complete"
            raise RunFailed(f"code cell {number} of {len(code)} {why}, before the notebook's end")


def _hide_folders(executed: Path, parameters: Mapping[str, Any]) -> None:
    """Takes this machine's folders out of the paths among the parameters, wherever they stand."""
    text = executed.read_text(encoding="utf-8")
    for value in parameters.values():
        shown = recorded(value)
        if shown != value:
            for _ in range(2):  # a string in a notebook, then a literal within that string
                text = text.replace(value, shown)
                value, shown = json.dumps(value)[1:-1], json.dumps(shown)[1:-1]
    executed.write_text(text, encoding="utf-8")


def record_step(profile: str, step: str, wall_s: float, peak_gib: float, report: Path) -> None:
    """Adds the runner's measures to a step's entry, and the totals over the newest of each step.

    `wall_s` includes kernel start and HTML; `report` is the HTML of this very run of the step.
    """
    from medisum_utils.runs.reports import report_digest

    steps = read_manifest(profile)["steps"]
    entry = steps[step]
    entry["wall_s"] = round(wall_s, 1)
    entry["report_sha256"] = report_digest(report)
    entry["peak_memory_gib"] = round(max(peak_gib, entry["peak_memory_gib"]), 3)
    standard = profiles.steps_of(profile)
    ran = [steps[name] for name in standard if name in steps] or [entry]
    manifest = {
        "profile": profile,
        # An entry without the runner's measures was made outside it: its report is an older one.
        "complete": all("wall_s" in steps.get(name, {}) for name in standard)
        and not chain.stale_steps(steps),
        "seconds": round(sum(each.get("wall_s", each["seconds"]) for each in ran), 1),
        "peak_memory_gib": max(each["peak_memory_gib"] for each in ran),
        "finished": entry["finished"],
        "machine": {**machine.describe(), "device": entry["device"]},
        "steps": steps,
    }
    write_manifest(profile, manifest)
