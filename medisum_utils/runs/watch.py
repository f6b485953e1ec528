"""Watches how much memory the processes below this one take together."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from medisum_utils.runs.machine import GIB


class Watch:
    """Samples the resident memory of all child processes until it is left; `peak_gib` is the most.

    Between two samples a short peak can pass unseen: the kernel's own largest size, which a step
    writes into its manifest, does not miss it.
    """

    def __init__(self, every_s: float = 0.5) -> None:
        self.every_s = every_s
        self.peak_gib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self.every_s):
            self.peak_gib = max(self.peak_gib, children_gib(os.getpid()))


def children_gib(pid: int) -> float:
    """The resident memory of a process's children and theirs; pages they share count for each."""
    import psutil

    total = 0
    for child in psutil.Process(pid).children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return total / GIB
