"""SIGINT and SIGTERM as an exception, so that a run can say what stopped and end its kernel."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop.

    It is a KeyboardInterrupt because asyncio, in which a cell is awaited, swallows anything else
    that a signal handler raises.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.name = signal.Signals(signum).name

    @property
    def exit_code(self) -> int:
        """What a shell calls a process that this signal ended: 130 or 143."""
        return 128 + self.signum


class _State:
    signum: int | None = None  # of the signal that came
    n_holders = 0  # it waits while there are any


def _handle(signum: int, frame: FrameType | None) -> None:
    _State.signum = signum
    for each in SIGNALS:  # a second request means: do not wait for a tidy end
        if signal.getsignal(each) == _handle:
            signal.signal(each, signal.SIG_DFL)
    if not _State.n_holders:
        raise Interrupted(signum)


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Raises `Interrupted` in the main thread at the first SIGINT or SIGTERM; a second one kills.

    A signal that the parent process chose to ignore, as `nohup` and `&` do, stays ignored.
    """
    earlier_handlers = {each: signal.getsignal(each) for each in SIGNALS}
    _State.signum = None
    for each, handler in earlier_handlers.items():
        if handler != signal.SIG_IGN:
            signal.signal(each, _handle)
    try:
        yield
    finally:
        for each, handler in earlier_handlers.items():
            signal.signal(each, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Lets a signal wait until the block is done, so that files are replaced together.

    Raises: Interrupted at the end of the block for a signal that came within it.
    """
    _State.n_holders += 1
    try:
        yield
    finally:
        _State.n_holders -= 1
    if _State.signum is not None and not _State.n_holders:
        raise Interrupted(_State.signum)


def has_come() -> bool:
    """Whether a signal has asked the run to stop."""
    return _State.signum is not None
