"""Waits for a command as long as it says something: a busy machine is slow, a hung one silent."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_until_silent(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, silent_s: float = 600
) -> subprocess.CompletedProcess:
    """Runs a command to its end, however long that takes, while it keeps printing.

    Raises: AssertionError with its last words once it has printed nothing for `silent_s`.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(arguments, env=env, cwd=cwd, stdout=out, stderr=err)
        heard, last = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(min(0.1, silent_s / 10))
            size = sum(os.fstat(file.fileno()).st_size for file in (out, err))
            if size != heard:
                heard, last = size, time.monotonic()
            elif time.monotonic() - last > silent_s:
                process.terminate()
                process.wait()
                raise AssertionError(f"silent for {silent_s} s after: {_read(out)}{_read(err)}")
        return subprocess.CompletedProcess(arguments, process.returncode, _read(out), _read(err))


def _read(file) -> str:
    file.seek(0)
    return file.read()
