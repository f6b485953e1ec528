"""Tells a user how far a run is: one line for each code cell, with its heading and its seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TAG_INJECTED = "injected-parameters"


@dataclass
class Progress:
    """Prints one line for each code cell: its number, the heading above it and its seconds."""

    n_cells: int
    headings: Mapping[str, str]
    say: Callable[..., None]
    n_done: int = 0
    heading: str = ""
    started: float = field(default_factory=time.perf_counter)

    def cell_start(self, cell: Any, cell_index: int) -> None:
        """Announces a cell before it runs, so that a long one is seen to run."""
        if cell.cell_type != "code":
            return
        self.n_done += 1
        self.started = time.perf_counter()
        injected = TAG_INJECTED in cell.metadata.get("tags", [])
        self.heading = "profile" if injected else self.headings.get(cell.id, "")
        self.say(f"  {self.n_done:>3}/{self.n_cells}  {self.heading:<58.58}", end=" ")

    def cell_end(self, cell: Any, cell_index: int, **_: Any) -> None:
        """Adds the cell's time to its line."""
        if cell.cell_type == "code":
            self.say(f"{duration(time.perf_counter() - self.started):>10}")


def duration(seconds: float) -> str:
    """Seconds in words: 0.4 s, 12.3 s, 2 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def n_code_cells(notebook: Any) -> int:
    """How many code cells of a notebook are not empty."""
    return sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)


def headings(notebook: Any) -> dict[str, str]:
    """For each cell's id the nearest heading above it."""
    found_above, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+ (.+)$", cell.source, re.M)
            heading = found[-1].replace("`", "") if found else heading
        found_above[cell.id] = heading
    return found_above
