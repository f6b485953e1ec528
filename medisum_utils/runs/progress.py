"""Tells a user how far a run is: a line for each code cell, with its heading and its time.

A cell that says how far it is (`live`) has its step, loss and time left shown: in a terminal on the
cell's own line, elsewhere, such as in a log file, on a line of its own every half minute.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from medisum_utils.runs.live import Standing

TAG_INJECTED = "injected-parameters"
SPARSE_S = 30.0  # between two lines of one cell where the output is no terminal
ERASE_LINE = "\r\x1b[2K"
INDENT = " " * 11  # as wide as "    3/20  "


@dataclass
class Progress:
    """Prints one line for each code cell: its number, the heading above it and its time.

    `in_terminal` says that a line may be rewritten while its cell runs.
    """

    n_cells: int
    headings: Mapping[str, str]
    say: Callable[..., None]
    in_terminal: bool = False
    clock: Callable[[], float] = time.perf_counter
    n_done: int = 0
    heading: str = ""
    started: float = 0.0
    _pace: Pace | None = None
    _last_standing: Standing | None = None  # by this cell or an earlier one
    _last_printed: float = 0.0  # when a line of this cell was last printed, in seconds of the clock
    _is_line_open: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cell_start(self, cell: Any, cell_index: int) -> None:
        """Announces a cell before it runs, so that a long one is seen to run."""
        if cell.cell_type != "code":
            return
        with self._lock:
            self.n_done += 1
            self.started = self._last_printed = self.clock()
            self._pace = None
            injected = TAG_INJECTED in cell.metadata.get("tags", [])
            self.heading = "profile" if injected else self.headings.get(cell.id, "")
            self.say(self._line(), end=" ")
            self._is_line_open = True

    def cell_end(self, cell: Any, cell_index: int, **_: Any) -> None:
        """Adds the cell's time to its line."""
        if cell.cell_type != "code":
            return
        with self._lock:
            took = f"{duration(self.clock() - self.started):>10}"
            if self.in_terminal and self._pace is not None:
                self.say(f"{ERASE_LINE}{self._line()} {took}")
            elif self._is_line_open:
                self.say(took)
            else:
                self.say(f"{INDENT}{'done':<58} {took}")
            self._is_line_open = False

    def show(self, standing: Standing) -> None:
        """Shows how far a running cell is; not more often than `SPARSE_S` outside a terminal."""
        with self._lock:
            now = self.clock()
            if not self.n_done or standing == self._last_standing:
                return
            self._last_standing = standing
            if self._pace is None or not self._pace.goes_on_with(standing):
                self._pace = Pace(standing, now)
            self._pace.add(standing, now)
            if self.in_terminal:
                self.say(f"{ERASE_LINE}{self._fitted(self._pace.words())}", end="")
            elif now - self._last_printed >= SPARSE_S:
                if self._is_line_open:
                    self.say("")
                self.say(f"{INDENT}{self._pace.words()}")
                self._is_line_open = False
                self._last_printed = now

    def _line(self) -> str:
        return f"  {self.n_done:>3}/{self.n_cells}  {self.heading:<58}"

    def _fitted(self, words: str) -> str:
        """The cell's line with how far it is, no wider than the terminal, or it could not go."""
        width = shutil.get_terminal_size().columns - 1
        head = self._line().rstrip()
        room = width - len(words) - 2
        return f"{head[: max(room, 11)]}  {words}"[:width]


class Pace:
    """How fast a cell gets on, from when it first told how far it is (`began`, in seconds)."""

    def __init__(self, first: Standing, began: float) -> None:
        self.first = self.newest = first
        self.began = self.newest_at = began

    def goes_on_with(self, standing: Standing) -> bool:
        """Whether this is a later point of the same work."""
        same = (standing.unit, standing.n_total) == (self.newest.unit, self.newest.n_total)
        return same and standing.n_done >= self.newest.n_done

    def add(self, standing: Standing, now: float) -> None:
        """Counts a later point; where it has no loss, the last one stays."""
        loss = self.newest.loss if standing.loss is None else standing.loss
        self.newest, self.newest_at = replace(standing, loss=loss), now

    def left_s(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None before there is one."""
        n_since = self.newest.n_done - self.first.n_done
        if not n_since:
            return None
        return (self.newest_at - self.began) / n_since * (self.newest.n_total - self.newest.n_done)

    def words(self) -> str:
        """Where it is: "step 120 of 540, loss 0.312, 2 min 05 s left"."""
        parts = [f"{self.newest.unit} {self.newest.n_done} of {self.newest.n_total}"]
        if self.newest.loss is not None:
            parts.append(f"loss {self.newest.loss:.3f}")
        if left_s := self.left_s():
            parts.append(f"{duration(left_s)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words: 0.4 s, 12.3 s, 2 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def headings(notebook: Any) -> dict[str, str]:
    """For each cell's id the nearest heading above it."""
    heading_above, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            in_cell = re.findall(r"^#+ (.+)$", cell.source, re.M)
            heading = in_cell[-1].replace("`", "") if in_cell else heading
        heading_above[cell.id] = heading
    return heading_above
