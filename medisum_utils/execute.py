"""Runs the notebooks of a profile headlessly, one after the other, each into a report.

    python -m medisum_utils run --profile tiny

The notebook's `.py` is read, its parameters are injected and papermill executes it in a kernel of
its own; the executed notebook is kept and becomes HTML. The first failure ends the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medisum_utils import machine, profiles, runs
from medisum_utils.failures import RunFailed, explain
from medisum_utils.hub import find_base
from medisum_utils.progress import Progress, duration, headings, n_code_cells
from medisum_utils.watch import Watch

# The C library would hand each large block back to the system and fetch it again, page by page, in
# every layer; kept in the process, small steps ran 14 to 19% faster on two cores, tried once. Read
# by glibc alone.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30)}


@dataclass(frozen=True)
class Run:
    """What is about to run: a profile's name, its steps in order, and their parameters."""

    profile: str
    steps: tuple[str, ...]
    values: dict[str, dict[str, Any]]


def prepare_run(
    name: str, *, first: str | None = None, only: Iterable[str] = (), settings: Iterable[str] = ()
) -> Run:
    """Checks everything that can be checked before work starts.

    `first` starts at a notebook, `only` runs some, `settings` are `STEP.parameter=value`.

    Raises: ValueError or FileNotFoundError for a profile, parameter or type that the notebooks do
        not have; see `check_needs` for a machine that is too small or a base model that is missing.
    """
    profile, path = profiles.find_profile(name)
    chosen = profiles.load_profile(path, settings)
    steps = tuple(profiles.select_steps(first, only, named=chosen))
    for step in steps:
        check_needs(profiles.all_parameters(step, profile, chosen.get(step, {})))
    values = {step: {profiles.SET_BY_RUNNER: profile, **chosen.get(step, {})} for step in steps}
    return Run(profile, steps, values)


def execute_run(run: Run, *, say: Callable[..., None] = print) -> Path:
    """Executes the notebooks into `reports/<profile>/` and returns that folder.

    Raises: RunFailed for a notebook that did not complete.
    """
    from medisum_utils.overview import write_index
    from medisum_utils.reports import write_report

    started = time.perf_counter()
    for number, step in enumerate(run.steps, start=1):
        say(f"[{number}/{len(run.steps)}] {step}, profile {run.profile}")
        began = time.perf_counter()
        try:
            with Watch() as watch:
                executed = execute_step(step, run.profile, run.values[step], say=say)
            write_report(executed, run.profile, step)
            record_step(run.profile, step, time.perf_counter() - began, watch.peak_gib)
        finally:
            write_index()
    first_report = runs.report_dir(run.profile) / f"{run.steps[0]}.html"
    took = duration(time.perf_counter() - started)
    say(f"{len(run.steps)} notebooks in {took}: {runs.shown_path(first_report)}")
    return runs.report_dir(run.profile)


def check_needs(parameters: Mapping[str, Any]) -> None:
    """Checks what a notebook's parameters say that it needs, so that no work is begun in vain.

    `needs_disk_gib`, `needs_memory_gib` and `needs_gpu_gib` are amounts (0: nothing), `device` may
    be "cuda", and `base_model` a folder or a hub name that must be there to be had.

    Raises: OSError for the disk, MemoryError for the memory, RuntimeError for the GPU; what
        `find_base` raises for the base model.
    """
    checks = {
        "needs_disk_gib": lambda gib: machine.check_free_disk(runs.project_root(), gib),
        "needs_memory_gib": machine.check_memory,
        "needs_gpu_gib": machine.check_gpu,
        "base_model": find_base,
    }
    for name, check in checks.items():
        if parameters.get(name):
            check(parameters[name])
    if parameters.get("device") == "cuda":
        machine.check_gpu(parameters.get("needs_gpu_gib", 0.0))


def execute_step(
    step: str, profile: str, parameters: Mapping[str, Any], *, say: Callable[..., None] = print
) -> Path:
    """Executes one notebook and returns its executed copy, `reports/<profile>/<step>.ipynb`.

    Until every cell has completed the copy is called `<step>.failed.ipynb`; a kill leaves it there.

    Raises: RunFailed for a cell that raised, a kernel that died, a cell that never ran, or a step
        that wrote no entry into `run.json`.
    """
    source = profiles.notebooks_dir() / f"{step}.py"
    notebook = profiles.read_notebook(source)
    folder = runs.report_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / f"{step}.failed.ipynb"
    for stale in (f"{step}.ipynb", f"{step}.html", f"{step}.failed.ipynb", f"{step}.failed.html"):
        (folder / stale).unlink(missing_ok=True)
    progress = Progress(n_code_cells(notebook) + 1, headings(notebook), say)
    try:
        executed = _papermill(notebook, failed, parameters, progress)
        assert_completed(executed)
        if step not in runs.read_manifest(profile)["steps"]:
            raise RunFailed("every cell completed, but the step wrote no entry into run.json")
    except Exception as error:  # whatever it was, the copy that shows it is kept and named
        raise _kept(error, step, profile, progress) from error
    return failed.replace(folder / f"{step}.ipynb")


def _papermill(notebook: Any, output: Path, parameters: Mapping[str, Any], progress: Progress):
    """Executes in papermill's own way, in the notebook's folder as JupyterLab would."""
    import nbformat
    import papermill

    notebook.metadata.setdefault("kernelspec", {"name": "python3", "language": "python"})
    notebook.metadata["kernelspec"].setdefault("display_name", "Python 3")
    source = output.with_suffix(".source.ipynb")  # papermill reads files
    nbformat.write(notebook, source)
    try:
        with _importable():
            return papermill.execute_notebook(
                source,
                output,
                parameters=dict(parameters),
                cwd=profiles.notebooks_dir(),
                kernel_name="python3",
                kernel_manager_class=_encrypted_manager(),
                progress_bar=False,
                on_cell_start=progress.cell_start,
                on_cell_executed=progress.cell_end,
            )
    finally:
        source.unlink(missing_ok=True)


def _encrypted_manager() -> type:
    """A kernel manager whose connection to the kernel others on the machine cannot read."""
    from jupyter_client.manager import AsyncKernelManager

    class EncryptedKernelManager(AsyncKernelManager):
        transport_encryption = AsyncKernelManager.transport_encryption.__class__(
            ["disabled", "auto", "required"], default_value="auto"
        )

    return EncryptedKernelManager


@contextmanager
def _importable() -> Iterator[None]:
    """Lets the kernel import this package where it is not installed, and takes its own Python."""
    before = dict(os.environ)
    package_parent = str(Path(__file__).resolve().parent.parent)
    paths = [package_parent, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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


def _kept(error: Exception, step: str, profile: str, progress: Progress) -> RunFailed:
    """The failure in words, after the partly executed notebook was rendered too."""
    from medisum_utils.reports import write_report

    failed = runs.report_dir(profile) / f"{step}.failed.ipynb"
    progress.say("")
    where = f"{step}, code cell {progress.n_done} of {progress.n_cells}"
    lines = [where + (f" ({progress.heading})" if progress.heading else "")]
    lines += [f"  {line}" for line in explain(error)]
    if failed.exists():
        lines.append(f"  the notebook up to there: {runs.shown_path(failed)}")
        try:
            report = write_report(failed, profile, f"{step}.failed", step=step)
            lines[-1] += f" and {runs.shown_path(report)}"
        except ValueError as no_report:  # the first error is the one to tell
            lines.append(f"  without a report of it: {no_report}")
    return RunFailed("\n".join(lines))


def record_step(profile: str, step: str, wall_s: float, peak_gib: float) -> None:
    """Adds the runner's measures to a step's entry, and the totals over the newest of each step.

    `wall_s` includes kernel start and HTML; `peak_gib` is the kernel's with its children.
    """
    manifest = runs.read_manifest(profile)
    steps = manifest["steps"]
    entry = steps[step]
    entry["wall_s"] = round(wall_s, 1)
    entry["peak_memory_gib"] = round(max(peak_gib, entry.get("peak_memory_gib", 0.0)), 3)
    standard = profiles.steps_of(profile)
    ran = [steps[name] for name in standard if name in steps] or [entry]
    manifest = {
        "profile": profile,
        "complete": all(name in steps for name in standard),
        "seconds": round(sum(each.get("wall_s", each["seconds"]) for each in ran), 1),
        "peak_memory_gib": max(each["peak_memory_gib"] for each in ran),
        "finished": entry["finished"],
        "machine": {**machine.describe(), "device": entry.get("device", "cpu")},
        "steps": steps,
    }
    runs.write_manifest(profile, manifest)
