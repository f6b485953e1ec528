"""A failure of a notebook in a few lines for the terminal: what and where, no line of data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MAX_MESSAGE = 400  # characters of an error's message in the terminal; the notebook has all of it


class RunFailed(RuntimeError):
    """A notebook did not complete; the message says where and why."""


def explain(error: Exception) -> list[str]:
    """An error in a few lines: what it is, and the lines of code that led to it, without values."""
    if isinstance(error, RunFailed):
        return [str(error)]
    if not hasattr(error, "ename"):
        first = str(error).strip().splitlines() or [""]
        return [f"{type(error).__name__}: {first[0][:MAX_MESSAGE]}"]
    message = ANSI.sub("", str(error.evalue)).strip()
    cut = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + " ..."
    return [f"{error.ename}: {cut}", *_frames(error.traceback)]


def _frames(traceback: Iterable[str]) -> list[str]:
    """The places of a traceback, `file:line in function`, the innermost last, at most six."""
    text = ANSI.sub("", "\n".join(traceback))
    places = []
    for match in re.finditer(
        r"^(File (.+?):(\d+), in (\w+)|Cell In\[\d+\], line (\d+))", text, re.M
    ):
        _, file, line, function, cell_line = match.groups()
        place = f"line {cell_line} of the cell" if cell_line else f"{short_path(file)}:{line}"
        places.append(f"  at {place} {function or ''}".rstrip())
    return places[:1] + places[1:][-5:]


def short_path(file: str) -> str:
    """A source file without the folders of this machine."""
    path = Path(file).expanduser()
    parts = path.parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    package = Path(__file__).resolve().parent.parent
    return str(path.relative_to(package)) if path.is_relative_to(package) else path.name
