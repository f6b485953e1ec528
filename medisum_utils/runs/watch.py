"""Watches a run from a thread beside it: how far it is, and how much memory it takes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from medisum_utils.runs.machine import GIB


class Repeatedly:
    """Calls `action` every `every_s` seconds, in a thread of its own, until it is left.

    Raises: what the action raised, when it is left; the action is not called again after that.
    """

    def __init__(self, action: Callable[[], None], every_s: float = 0.5) -> None:
        self.action = action
        self.every_s = every_s
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Repeatedly:
        self._calls = self._executor.submit(self._call_until_left)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._executor.shutdown()
        if error is None:
            self._calls.result()

    def _call_until_left(self) -> None:
        while not self._stop.wait(self.every_s):
            self.action()


class Watch(Repeatedly):
    """Samples the resident memory of all child processes until it is left; `peak_gib` is the most.

    Between two samples a short peak can pass unseen: the kernel's own largest size, which a step
    writes into its manifest, does not miss it.
    """

    def __init__(self, every_s: float = 0.5) -> None:
        super().__init__(self._sample, every_s)
        self.peak_gib = 0.0

    def _sample(self) -> None:
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
