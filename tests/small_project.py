"""A project of two small notebooks, and the command line on it as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import run_until_silent

from medisum_utils.runs.execute import LOCK

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = """\
# %% [markdown]
# # Report of {name}

# %% tags=["parameters"]
profile = "tiny"
n = 3
how = "complete"

# %% [markdown]
# ## The work

# %%
import os
import signal
import sys
import time
from pathlib import Path

from medisum_utils import runs

step = runs.start("{name}", profile, {{"n": n}})

# %%
def stop(said):
    if how == "raise":
        raise ValueError("expected 3 turns, got 4")
    if how == "exit":
        sys.exit(0)
    if how == "quote":
        int(said)
    if how == "leave":
        os._exit(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "stay":
        Path("{name}.pid").write_text(str(os.getpid()))
        while True:
            print("busy", flush=True)
            time.sleep(0.01)


stop("my name is Ada and my knee hurts")
print("n is", n)

# %% [markdown]
# ## The end

# %%
if how != "forget":
    step.finish(n_rows=n)
"""


def make_project(folder: Path) -> Path:
    (folder / "notebooks" / "profiles").mkdir(parents=True, exist_ok=True)
    for name in ("01_data", "02_format"):
        path = folder / "notebooks" / f"{name}.py"
        path.write_text(NOTEBOOK.format(name=name))
    (folder / "notebooks" / "profiles" / "mine.yaml").write_text("01_data: {n: 5}\n")
    return folder


@contextmanager
def begun(project: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """The command line as a user starts it, from another folder; killed if the test fails."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words(*arguments), **where(project), stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def command(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command line until it ends."""
    return run_until_silent(words(*arguments), **where(project))


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "medisum_utils", *arguments]


def where(project: Path) -> dict[str, Any]:
    environment = {**os.environ, "MEDISUM_HOME": str(project), "PYTHONPATH": str(ROOT)}
    return {"env": environment, "cwd": project}


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the lock, which is empty when nobody holds it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }
