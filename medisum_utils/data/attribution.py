"""Whom to name for the encounters that a model was trained on, and under which licence they are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("attribution.csv")


@dataclass(frozen=True, slots=True)
class Attribution:
    """One source of training encounters; `repository` is empty for this project's own."""

    source: str
    name: str
    licence: str
    repository: str
    citation: str


@cache
def attributions() -> dict[str, Attribution]:
    """What `attribution.csv` says, by the `source` of an encounter; own files are not in it."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [Attribution(**row) for row in csv.DictReader(file)]
    return {row.source: row for row in rows}
