"""How the notes of a run are decoded: one record, made by 04, read by everything that writes notes.

04_eval scores notes and writes `decoding.json` beside the adapter; 05_serve and `serve` read it, so
that what is served is what was scored.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from medisum_utils.modelling.adapter import ADAPTER_FILES
from medisum_utils.runs import sha256_file, shown_path, write_json

DECODING_FILE = "decoding.json"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How each part of a note is decoded, in at most `max_new_tokens` tokens.

    With one candidate decoding is greedy. With more, as many are drawn at `temperature`, without
    tokens that have less than `min_p` of the likeliest one's probability, and the one that agrees
    best with the others is taken; see `consensus`.

    Raises: ValueError for values out of range.
    """

    max_new_tokens: int
    n_candidates: int = 1
    temperature: float = 0.7
    min_p: float = 0.05

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.n_candidates < 1:
            raise ValueError(
                "expected max_new_tokens and n_candidates of 1 or more, got "
                f"{self.max_new_tokens} and {self.n_candidates}"
            )
        if self.temperature <= 0 or not 0 <= self.min_p < 1:
            raise ValueError(
                "expected a temperature above 0 and min_p from 0 to below 1, got "
                f"{self.temperature} and {self.min_p}"
            )

    @property
    def described(self) -> str:
        """The decoding in words, as a report says it."""
        at_most = f"at most {self.max_new_tokens} tokens"
        if self.n_candidates == 1:
            return f"greedy, {at_most}"
        return f"the consensus of {self.n_candidates} drawn at {self.temperature}, {at_most}"


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
