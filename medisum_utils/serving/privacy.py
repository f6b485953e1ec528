"""How errors are logged: where they happened, never their message.

A library's message may quote its input, which here is what a patient said.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def describe(error: BaseException) -> str:
    """The types of an error and of its causes, each with its last five stack frames."""
    descriptions = []
    current: BaseException | None = error
    while current is not None:
        frames = traceback.extract_tb(current.__traceback__)[-5:]
        places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        descriptions.append(f"{type(current).__name__} at {places or 'an unknown place'}")
        current = current.__cause__
    return ", caused by ".join(descriptions)
