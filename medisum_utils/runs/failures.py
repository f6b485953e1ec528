"""A failure of a notebook in a few lines for the terminal: what and where, no line of data."""

from __future__ import annotations

import re
import signal
from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;]*m")
FRAME = re.compile(r"^(?:File (.+?):(\d+), in (\w+)|Cell In\[\d+\], line (\d+))", re.M)
CURRENT_LINE = re.compile(r"^-+> *\d+ (.*)$", re.M)
MAX_MESSAGE = 1500  # characters of a message of ours in the terminal; the notebook has all of it
WITHHELD = "its message may quote data and stands only in the notebook"

# Errors whose messages name files, modules, types or amounts, never what a file holds.
FREE_OF_DATA = (
    r"(OS|File(NotFound|Exists)|Permission|(Not|Is)ADirectory|Connection(Refused|Reset)?|Timeout"
    r"|BrokenPipe|Import|ModuleNotFound|Name|UnboundLocal|Attribute|Type|Syntax|Indentation"
    r"|Memory|OutOfMemory|Recursion|ZeroDivision|NotImplemented)Error|SystemExit|KeyboardInterrupt"
)


class RunFailed(RuntimeError):
    """A notebook did not complete; the message says where and why."""


class RunStopped(RunFailed):
    """A signal ended the run; the message says where, and how to go on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def explain(error: Exception) -> list[str]:
    """An error in a few lines: what it is, and the lines of code that led to it, without values.

    The message of an error that this project raises is shown, as it never quotes a dialogue or a
    note. A library's may ("could not convert string to float: ..."), and is left in the notebook.
    """
    if isinstance(error, RunFailed):
        return [str(error)]
    if not hasattr(error, "ename"):
        first = str(error).strip().splitlines() or [""]
        return [f"{type(error).__name__}: {first[0][:MAX_MESSAGE]}"]
    traceback = ANSI.sub("", "\n".join(error.traceback))
    message = ANSI.sub("", str(error.evalue)).strip() or "without a message"
    if not (re.fullmatch(FREE_OF_DATA, error.ename) or _raised_here(traceback)):
        message = WITHHELD
    cut = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + " ..."
    return [f"{error.ename}: {cut}", *_frames(traceback)]


def explain_death(exit_code: int, peak_gib: float, memory_gib: float) -> str:
    """How a kernel died, in words; `exit_code` is negative for a signal, as in `subprocess`."""
    used = f"it had taken up to {peak_gib:.2f} GiB, and this machine has {memory_gib:.1f} GiB"
    if exit_code == -signal.SIGKILL:
        return f"the kernel was killed (SIGKILL), most likely for lack of memory: {used}"
    if exit_code < 0:
        return f"the kernel died of {signal.Signals(-exit_code).name}; {used}"
    return f"the kernel ended by itself, with exit code {exit_code}, before the cell did"


def _raised_here(traceback: str) -> bool:
    """Whether a `raise` or `assert` of this package or of a notebook's cell made the error."""
    frames = list(FRAME.finditer(traceback))
    if not frames:
        return False
    file, _, _, cell_line = frames[-1].groups()
    is_ours = bool(cell_line) or short_path(file).startswith("medisum_utils/")
    current = CURRENT_LINE.findall(traceback[frames[-1].end() :])
    return is_ours and bool(current) and current[-1].lstrip().startswith(("raise ", "assert "))


def _frames(traceback: str) -> list[str]:
    """The places of a traceback, `file:line in function`, the innermost last, at most six."""
    places = []
    for match in FRAME.finditer(traceback):
        file, line, function, cell_line = match.groups()
        place = f"line {cell_line} of the cell" if cell_line else f"{short_path(file)}:{line}"
        places.append(f"  at {place} {function or ''}".rstrip())
    return places[:1] + places[1:][-5:]


def short_path(file: str) -> str:
    """A source file without the folders of this machine."""
    path = Path(file).expanduser()
    _, is_installed, rest = path.as_posix().rpartition("/site-packages/")
    if is_installed:
        return rest
    package = Path(__file__).resolve().parents[2]
    return str(path.relative_to(package)) if path.is_relative_to(package) else path.name
