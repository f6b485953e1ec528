"""How an error is written to a log: where it happened, never its message.

A message of a library may carry what it worked on, and that is a patient's words here.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def describe(error: BaseException) -> str:
    """The types of an error and its causes with the last five places of each."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        frames = traceback.extract_tb(current.__traceback__)[-5:]
        places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        parts.append(f"{type(current).__name__} at {places or 'an unknown place'}")
        current = current.__cause__
    return ", caused by ".join(parts)
