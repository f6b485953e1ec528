"""One run of a profile at a time: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from medisum_utils.runs.steps import report_dir

LOCK = ".run.lock"


class ProfileBusy(RuntimeError):
    """Another process is running the profile; the message says which and since when."""


@contextmanager
def hold(profile: str) -> Iterator[None]:
    """Holds `reports/<profile>/.run.lock` for the block.

    The file stays when the block is done: deleting it would let two processes lock two files of
    one name. The lock itself is the system's, so that a killed run blocks nobody.

    Raises: ProfileBusy at once where another process holds it.
    """
    path = report_dir(profile) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process, which has just begun"
            raise ProfileBusy(
                f"profile {profile} is being run by {holder}; wait until it has ended, or end it"
            ) from None
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.truncate(0)
        file.write(f"process {os.getpid()} since {since}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
