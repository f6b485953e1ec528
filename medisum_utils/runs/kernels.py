"""Executes a notebook with papermill and knows whether the runner ended the kernel or it died."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medisum_utils.runs import interrupts, profiles
from medisum_utils.runs.progress import Progress

# The C library would hand each large block back to the system and fetch it again, page by page, in
# every layer; kept in the process, small steps ran 14 to 19% faster on two cores, tried once. Read
# by glibc alone.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30)}


@dataclass
class Kernel:
    """The process that executes one notebook's cells."""

    process: subprocess.Popen | None = None
    shut_down: bool = False  # by the runner, after the last cell or a failed one

    @property
    def died_with(self) -> int | None:
        """Its exit code if it ended before it was told to, negative for a signal; else None."""
        return None if self.process is None or self.shut_down else self.process.poll()

    def end(self) -> None:
        """Kills what is still left of it, with the processes that it started."""
        if self.process is not None and self.process.poll() is None:
            self.shut_down = True
            os.killpg(self.process.pid, signal.SIGKILL)  # jupyter makes it the leader of a group
            self.process.wait()


def run_notebook(
    notebook: Any,
    output: Path,
    parameters: Mapping[str, Any],
    progress: Progress,
    kernel: Kernel,
) -> Any:
    """Executes a notebook in its own folder, as JupyterLab would, and returns it executed.

    `output` is written anew after each cell. No kernel is left behind, however this ends; if the
    runner itself is killed, the kernel sees that its parent is gone and ends within seconds.

    Raises: what papermill raises for a cell that failed, and for a kernel that died.
    """
    import nbformat
    import papermill

    for name in ("asyncio", "papermill", "tornado.application", "traitlets"):
        # what they log about a kernel that ends because the user wants it to is noise
        logging.getLogger(name).addFilter(lambda record: not interrupts.has_come())
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
                kernel_manager_class=_manager_of(kernel),
                progress_bar=False,
                on_cell_start=progress.cell_start,
                on_cell_executed=progress.cell_end,
            )
    finally:
        kernel.end()
        source.unlink(missing_ok=True)


def _manager_of(kernel: Kernel) -> type:
    """A kernel manager that reports its process and keeps its messages private."""
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        transport_encryption = AsyncKernelManager.transport_encryption.__class__(
            ["disabled", "auto", "required"], default_value="auto"
        )

        async def start_kernel(self, **choices: Any) -> None:
            await super().start_kernel(**choices)
            kernel.process = self.provisioner.process

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
            kernel.shut_down = kernel.died_with is None
            await super().shutdown_kernel(now=now or interrupts.has_come(), restart=restart)

    return Manager


@contextmanager
def _importable() -> Iterator[None]:
    """Lets the kernel import this package where it is not installed, and takes its own Python."""
    earlier_environment = dict(os.environ)
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JUPYTER_PREFER_ENV_PATH": "1"}
    os.environ.update(KEEP_MEMORY | earlier_environment | own)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(earlier_environment)
