"""How far a long cell is: numbers that the kernel leaves in a file and the terminal shows.

    live.tell("step", n_done=120, n_total=540, loss=0.31)

Only a runner reads the file, so in JupyterLab nothing is written. A cell prints nothing for it, so
the report stays as it is; and since it holds numbers alone, no text of a dialogue can get out.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from medisum_utils.runs.files import write_whole

FILE_VARIABLE = "MEDISUM_LIVE_FILE"  # set by the runner for its kernels
_UNIT = re.compile(r"[a-z]{1,12}")


@dataclass(frozen=True, slots=True)
class Standing:
    """`n_done` of `n_total` units are done; `loss` is the newest of a training."""

    unit: str
    n_done: int
    n_total: int
    loss: float | None = None

    def __post_init__(self) -> None:
        if not _UNIT.fullmatch(self.unit):
            raise ValueError(f"expected a unit of up to 12 letters, got {len(self.unit)} others")
        if not 0 <= int(self.n_done) <= int(self.n_total):
            raise ValueError(f"expected 0 to {self.n_total} done, got {self.n_done}")


def tell(unit: str, *, n_done: int, n_total: int, loss: float | None = None) -> None:
    """Leaves for the runner how far the cell is; without a runner it does nothing.

    Raises: ValueError for a unit that is no short word, or numbers out of range.
    """
    standing = Standing(unit, n_done, n_total, loss)
    if name := os.environ.get(FILE_VARIABLE):
        write_whole(name, json.dumps(asdict(standing)).encode())


def read(path: Path) -> Standing | None:
    """What was told last; None before anything was.

    Raises: ValueError for a file that `tell` did not write.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    loss = None if content["loss"] is None else float(content["loss"])
    return Standing(content["unit"], int(content["n_done"]), int(content["n_total"]), loss)
