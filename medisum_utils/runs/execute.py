"""Runs the notebooks of a profile headlessly, one after the other, each into a report.

    python -m medisum_utils run --profile tiny

The notebook's `.py` is read, its parameters are injected and papermill executes it in a kernel of
its own; the executed notebook is kept and becomes HTML. The first failure ends the run, and leaves
every file that stood there before as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain, headline, interrupts, locks, machine, profiles
from medisum_utils.runs.attempt import Attempt, Run, Say, step_of
from medisum_utils.runs.failures import RunFailed, RunStopped, explain, explain_death
from medisum_utils.runs.hub import find_base
from medisum_utils.runs.kernels import run_notebook
from medisum_utils.runs.progress import duration
from medisum_utils.runs.steps import (
    project_root,
    read_manifest,
    recorded,
    report_dir,
    shown_path,
    write_manifest,
)


def prepare_run(
    name: str, *, first: str | None = None, only: Iterable[str] = (), settings: Iterable[str] = ()
) -> Run:
    """Checks everything that can be checked before work starts.

    `first` starts at a notebook, `only` runs some, `settings` are `STEP.parameter=value`.

    Raises: ValueError or FileNotFoundError for a profile, parameter or type that the notebooks do
        not have, or a setting of a notebook that is not to run; see `check_needs` for a machine
        that is too small or a base model that is missing.
    """
    profile, path = profiles.find_profile(name)
    only, settings = tuple(only), tuple(settings)
    chosen = profiles.load_profile(path, settings)
    steps = tuple(profiles.select_steps(first, only, named=chosen))
    for setting in settings:
        if (step := step_of(setting)) not in steps:
            raise ValueError(
                f"--set {setting}: expected a step that is to run ({', '.join(steps)}), "
                f"got {step}, where it would have no effect"
            )
    for step in steps:
        check_needs(profiles.all_parameters(step, profile, chosen.get(step, {})))
    values = {step: {profiles.SET_BY_RUNNER: profile, **chosen.get(step, {})} for step in steps}
    notes = tuple(profiles.changed_since(profile, chosen, steps))
    return Run(profile, steps, values, name, bool(only), settings, notes)


def execute_run(run: Run, *, say: Say = print) -> Path:
    """Executes the notebooks into `reports/<profile>/` and returns that folder.

    Raises: RunFailed for a notebook that did not complete, RunStopped where a signal came within
        `interrupts.raised`; locks.ProfileBusy where another process is running the profile.
    """
    started = time.perf_counter()
    for note in run.notes:
        say(f"note: {note}")
    with locks.hold(run.profile):
        index_error = _execute_steps([Attempt(step, run, say) for step in run.steps], say)
    if index_error:
        raise RunFailed(f"every notebook completed, but not the index of reports: {index_error}")
    _say_results(run, duration(time.perf_counter() - started), say)
    return report_dir(run.profile)


def _say_results(run: Run, took: str, say: Say) -> None:
    """The last lines of a run: the scores, if it has evaluated, and where to read on."""
    from medisum_utils.runs.overview import index_path, read_metrics

    if "04_eval" in run.steps:
        for line in headline.score_lines(read_metrics(run.profile).get("splits", {})):
            say(line)
    n = len(run.steps)
    say(f"{n} notebook{'s' * (n > 1)} in {took}: {shown_path(index_path(run.profile))}")


def _execute_steps(attempts: Sequence[Attempt], say: Say) -> Exception | None:
    """Executes all steps; returns what prevented the index from being written after the last."""
    attempt, index_error = attempts[0], None
    try:
        for number, attempt in enumerate(attempts, start=1):
            say(f"[{number}/{len(attempts)}] {attempt.step}, profile {attempt.run.profile}")
            execute_step(attempt)
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
        with interrupts.held():
            write_index()
    except (ValueError, KeyError, TypeError, OSError) as error:
        say(f"  the index of reports was not written: {type(error).__name__}: {error}")
        return error
    return None


def check_needs(parameters: Mapping[str, Any]) -> None:
    """Checks what a notebook's parameters say that it needs, so that no work is begun in vain.

    `needs_disk_gib`, `needs_memory_gib` and `needs_gpu_gib` are amounts (0: nothing), `device` may
    be "cuda", and `base_model` a folder or a hub name that must be there to be had.

    Raises: OSError for the disk, MemoryError for the memory, RuntimeError for the GPU; what
        `find_base` raises for the base model.
    """
    checks = {
        "needs_disk_gib": lambda gib: machine.check_free_disk(project_root(), gib),
        "needs_memory_gib": machine.check_memory,
        "needs_gpu_gib": machine.check_gpu,
        "base_model": find_base,
    }
    for name, check in checks.items():
        if parameters.get(name):
            check(parameters[name])
    if parameters.get("device") == "cuda":
        machine.check_gpu(parameters.get("needs_gpu_gib", 0.0))


def execute_step(attempt: Attempt) -> None:
    """Executes one notebook into `reports/<profile>/<step>.ipynb` and `.html`.

    Until every cell has completed the copy is called `<step>.failed.ipynb`; a kill leaves it there.
    The copy, its report and the measures in `run.json` replace those of an earlier run together.

    Raises: RunFailed for a cell that raised, a kernel that died, a cell that never ran, or a step
        that wrote no entry into `run.json`.
    """
    attempt.begin()
    values = attempt.run.values[attempt.step]
    for suffix in (".failed.ipynb", ".failed.html"):  # of an earlier attempt
        attempt.path(suffix).unlink(missing_ok=True)
    try:
        with attempt.watch, attempt.followed():
            executed = run_notebook(
                attempt.notebook,
                attempt.path(".failed.ipynb"),
                values,
                attempt.progress,
                attempt.kernel,
            )
        assert_completed(executed)
        if not attempt.has_finished():
            raise RunFailed("every cell completed, but the step wrote no entry into run.json")
        with interrupts.held():
            _publish(attempt)
    except Exception as error:  # whatever it was, the copy that shows it is kept and named
        raise _as_run_failed(error, attempt) from error


def _publish(attempt: Attempt) -> None:
    """Puts the report, the executed notebook and the measures in the place of the old ones."""
    from medisum_utils.runs.reports import write_report

    failed = attempt.path(".failed.ipynb")
    hide_folders(failed, attempt.run.values[attempt.step])
    report = write_report(failed, attempt.run.profile, attempt.step)
    failed.replace(attempt.path(".ipynb"))
    wall_s = time.perf_counter() - attempt.started
    record_step(attempt.run.profile, attempt.step, wall_s, attempt.watch.peak_gib, report)
    attempt.has_completed = True


def hide_folders(executed: Path, parameters: Mapping[str, Any]) -> None:
    """Takes this machine's folders out of the paths among the parameters, wherever they stand."""
    text = executed.read_text(encoding="utf-8")
    for value in parameters.values():
        shown = recorded(value)
        if shown != value:
            for _ in range(2):  # a string in a notebook, then a literal within that string
                text = text.replace(value, shown)
                value, shown = json.dumps(value)[1:-1], json.dumps(shown)[1:-1]
    executed.write_text(text, encoding="utf-8")


def assert_completed(notebook: Any) -> None:
    """Makes sure that every code cell ran to its end; `sys.exit(0)` leaves later ones unrun.

    Raises: RunFailed with the number of the first cell that did not.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for number, cell in enumerate(code, start=1):
        papermill = cell.metadata.get("papermill", {})
        errors = [out.ename for out in cell.outputs if out.output_type == "error"]
        if papermill.get("status") != "completed" or papermill.get("exception") or errors:
            why = f"ended by {errors[0]}" if errors else "did not complete"
            raise RunFailed(f"code cell {number} of {len(code)} {why}, before the notebook's end")


def _as_run_failed(error: Exception, attempt: Attempt) -> RunFailed:
    """The failure for the terminal; the partly executed notebook is kept and rendered, too."""
    from medisum_utils.runs.reports import write_report

    attempt.say("")
    lines = [attempt.place()]
    if (exit_code := attempt.kernel.died_with) is not None:
        died = explain_death(exit_code, attempt.watch.peak_gib, machine.memory_gib())
        lines.append(f"  {died}")
    else:
        lines += [f"  {line}" for line in explain(error)]
    failed = attempt.path(".failed.ipynb")
    if failed.exists():
        hide_folders(failed, attempt.run.values[attempt.step])
        lines.append(f"  the notebook up to there: {shown_path(failed)}")
        name = failed.stem
        try:
            report = write_report(failed, attempt.run.profile, name, step=attempt.step)
            lines[-1] += f" and {shown_path(report)}"
        except (ValueError, OSError) as no_report:  # the first error is the one to tell
            lines.append(f"  without a report of it: {no_report}")
    lines += [f"  {attempt.what_stands()}", f"  to go on once that is mended: {attempt.command()}"]
    return RunFailed("\n".join(lines))


def record_step(profile: str, step: str, wall_s: float, peak_gib: float, report: Path) -> None:
    """Adds the runner's measures to a step's entry, and the totals over the newest of each step.

    `wall_s` includes kernel start and HTML; `peak_gib` is the kernel's with its children; `report`
    is the HTML that shows this very entry's run.
    """
    from medisum_utils.runs.reports import report_digest

    manifest = read_manifest(profile)
    steps = manifest["steps"]
    entry = steps[step]
    entry["wall_s"] = round(wall_s, 1)
    entry["report_sha256"] = report_digest(report)
    entry["peak_memory_gib"] = round(max(peak_gib, entry.get("peak_memory_gib", 0.0)), 3)
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
        "machine": {**machine.describe(), "device": entry.get("device", "cpu")},
        "steps": steps,
    }
    write_manifest(profile, manifest)
