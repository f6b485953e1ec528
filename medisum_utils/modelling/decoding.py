"""How the notes of a run are decoded: one record, made by 04, read by everything that writes notes.

04_eval scores notes and writes `decoding.json` beside the adapter; 05_serve and `serve` read it, so
that what is served is what was scored.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medisum_utils.modelling.adapter import ADAPTER_FILES
from medisum_utils.runs import sha256_file, shown_path, write_json

DECODING_FILE = "decoding.json"


@dataclass(frozen=True, slots=True)
class Decoding:
    """Greedy decoding of at most `max_new_tokens` tokens; see `generation.generate_notes`.

    Raises: ValueError for values out of range.
    """

    max_new_tokens: int

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"expected max_new_tokens of 1 or more, got {self.max_new_tokens}")

    def as_arguments(self) -> dict[str, Any]:
        """The fields as keyword arguments of `generate_notes`."""
        return asdict(self)


def write_decoding(path: str | os.PathLike, decoding: Decoding, adapter: str | os.PathLike) -> Path:
    """Writes the decoding with which the adapter in the folder `adapter` was scored."""
    digest = sha256_file(Path(adapter) / ADAPTER_FILES[1])
    return write_json(path, {**asdict(decoding), "adapter_sha256": digest})


def read_decoding(adapter: str | os.PathLike) -> Decoding:
    """The decoding with which the adapter in the folder `adapter` was scored.

    Raises: FileNotFoundError for an adapter that was never scored; ValueError for a record of
    another adapter or of another form. Each says that 04_eval writes it.
    """
    path = Path(adapter) / DECODING_FILE
    remedy = "run 04_eval, which scores the adapter and writes it"
    if not path.is_file():
        raise FileNotFoundError(f"{shown_path(path)} is missing: {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scored = content.pop("adapter_sha256")
        decoding = Decoding(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{shown_path(path)}: expected how the adapter was scored, got "
            f"{type(error).__name__} ({error}): {remedy}"
        ) from None
    if scored != sha256_file(Path(adapter) / ADAPTER_FILES[1]):
        raise ValueError(
            f"{shown_path(path)} is of another adapter than the one beside it: {remedy}"
        )
    return decoding
