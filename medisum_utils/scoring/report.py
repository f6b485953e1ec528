"""Turns scores of notes into a report of means, intervals and differences, as JSON and table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medisum_utils.scoring.rouge import CONFIDENCE, ROUGE_NAMES, interval, paired_difference

TITLES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
FULL_NOTE = "full note"

Values = Mapping[str, Sequence[float]]
Estimate = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class DivisionScores:
    """Scores of one division: `places` are indices of notes, `values` their F1 by ROUGE name."""

    places: list[int]
    values: dict[str, list[float]]
    n_missing: int  # in the reference, not in the prediction
    n_added: int  # in the prediction, not in the reference

    def at(self, places: Sequence[int]) -> dict[str, list[float]]:
        """The values of the notes at some of the places."""
        rows = [self.places.index(place) for place in places]
        return {name: [values[row] for row in rows] for name, values in self.values.items()}


@dataclass(frozen=True, slots=True)
class Scores:
    """One system's scores for every note, in 0 to 1."""

    n_empty_predictions: int
    rouge: dict[str, list[float]]
    divisions: dict[str, DivisionScores]
    facts: dict[str, list[float]] | None
    headers: dict[str, Any] | None  # header counts of protocol soap


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `score`: `data` as JSON, scores in percent, and `table()` for reading."""

    data: dict[str, Any]

    def write(self, path: str | os.PathLike) -> Path:
        """Writes `data` as JSON atomically."""
        from medisum_utils.runs import write_json

        return write_json(path, self.data)

    def table(self) -> str:
        """The report as lines of plain text."""
        return "\n".join(_table_lines(self.data))


def make_report(own: Scores, other: Scores | None, protocol: str, seed: int) -> Report:
    """Means with intervals in percent and, with `other`, the differences own - other."""
    per_note = own.rouge | (own.facts or {})
    data: dict[str, Any] = {
        "protocol": protocol,
        "unit": "percent",
        "confidence": CONFIDENCE,
        "seed": seed,
        "n": len(own.rouge["rouge1"]),
        "n_empty_predictions": own.n_empty_predictions,
        "rouge": _estimates(own.rouge, seed=seed),
        "divisions": {
            name: {
                "n": len(division.places),
                "n_missing": division.n_missing,
                "n_added": division.n_added,
                "rouge": _estimates(division.values, seed=seed),
            }
            for name, division in own.divisions.items()
        },
        "facts": own.facts and _estimates(own.facts, seed=seed),
        "headers": own.headers,
        "against": other and _differences(own, other, seed),
        "per_note": {name: [100 * value for value in per_note[name]] for name in per_note},
    }
    return Report(data)


def _differences(own: Scores, other: Scores, seed: int) -> dict[str, Any]:
    divisions = {}
    for name, division in own.divisions.items():
        pair = division, other.divisions[name]
        places = sorted(set(pair[0].places) & set(pair[1].places))  # where both are scored
        divisions[name] = _estimates(*(part.at(places) for part in pair), seed=seed)
    return {
        "rouge": _estimates(own.rouge, other.rouge, seed=seed),
        "divisions": divisions,
        "facts": own.facts and _estimates(own.facts, other.facts, seed=seed),
    }


def _estimates(own: Values, other: Values | None = None, *, seed: int) -> dict[str, Estimate]:
    """Each score's n, mean, low and high in percent; with `other`, of the paired difference, and p.

    Without notes, n is 0 and the rest is None.
    """
    estimates: dict[str, Estimate] = {}
    for name, values in own.items():
        if not values:
            estimate = dict.fromkeys(("mean", "low", "high") + (() if other is None else ("p",)))
        elif other is None:
            estimate = interval(values, seed)
        else:
            estimate = paired_difference(values, other[name], seed)
        percents = {
            key: value if value is None or key == "p" else 100 * value
            for key, value in estimate.items()
        }
        estimates[name] = {"n": len(values), **percents}
    return estimates


def _table_lines(data: Mapping[str, Any]) -> list[str]:
    lines = [
        f"protocol {data['protocol']}: {data['n']} notes, {data['n_empty_predictions']} empty "
        f"predictions; F1 in percent [{data['confidence']:.0%} interval]",
        "",
        f"{'':24}{'n':>5}  " + "".join(f"{TITLES[name]:<22}" for name in ROUGE_NAMES).rstrip(),
    ]
    rows = {FULL_NOTE: data, **data["divisions"]}
    for name, row in rows.items():
        cells = "".join(f"{_cell(row['rouge'][rouge]):<22}" for rouge in ROUGE_NAMES)
        lines.append(f"{name:24}{row['n']:>5}  {cells.rstrip()}")
    for name, row in data["divisions"].items():
        if row["n_missing"] or row["n_added"]:
            lines.append(f"  {name}: missing from {row['n_missing']}, added in {row['n_added']}")
    if data["facts"]:
        lines += ["", "facts"]
        lines += [f"  {name:22}{row['n']:>5}  {_cell(row)}" for name, row in data["facts"].items()]
    if data["headers"]:
        lines += ["", *_header_lines(data["headers"])]
    if data["against"]:
        lines += ["", *_difference_lines(data["against"])]
    if data["protocol"] == "aci-bench":
        lines += ["", "The published tables' ROUGE-L of full notes is ROUGE-Lsum."]
    return lines


def _header_lines(headers: Mapping[str, Any]) -> list[str]:
    lines = []
    for side, counts in headers.items():
        unknown = ", ".join(f"{name} ({n})" for name, n in counts["unknown"].items()) or "none"
        lines.append(f"unknown headers of the {side}: {unknown}")
        if counts["n_without"]:
            lines.append(f"  {counts['n_without']} {side} have no known header: all subjective")
    return lines


def _difference_lines(against: Mapping[str, Any]) -> list[str]:
    lines = ["difference, predictions - against, paired by encounter; p of the permutation test"]
    rows = {FULL_NOTE: against["rouge"], **against["divisions"], "facts": against["facts"] or {}}
    for name, scores in rows.items():
        for score, row in scores.items():
            p = "-" if row["p"] is None else f"{row['p']:.4f}"
            lines.append(
                f"  {name:22}{row['n']:>5}  {TITLES.get(score, score):14}"
                f"{_cell(row, sign='+'):<26}p {p}"
            )
    return lines


def _cell(row: Mapping[str, float | int | None], sign: str = "") -> str:
    if row["mean"] is None:
        return "-"
    mean = f"{row['mean']:{sign}.2f}"
    if row["low"] is None or row["high"] is None:
        return f"{mean} [no interval]"
    return f"{mean} [{row['low']:{sign}.1f}, {row['high']:{sign}.1f}]"
