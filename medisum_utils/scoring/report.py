"""Turns scores of notes into a report of means, intervals and differences, as JSON and table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medisum_utils.scoring.rouge import CONFIDENCE, ROUGE_NAMES, interval, paired_difference

TITLES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
FULL_NOTE = "full note"

Values = Mapping[str, Sequence[float | None]]
Estimate = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class DivisionScores:
    """Scores of one division: `places` are indices of notes, `values` their F1 by ROUGE name."""

    places: list[int]
    values: dict[str, list[float]]
    n_missing: int  # in the reference, not in the prediction
    n_added: int  # in the prediction, not in the reference


@dataclass(frozen=True, slots=True)
class Scores:
    """One system's scores for every note, in 0 to 1; an undefined fact score is None."""

    n_empty_predictions: int
    rouge: dict[str, list[float]]
    divisions: dict[str, DivisionScores]
    facts: dict[str, list[float | None]] | None = None
    headers: dict[str, Any] | None = None  # header counts of protocol soap

    @property
    def n(self) -> int:
        """How many notes were scored."""
        return len(self.rouge[ROUGE_NAMES[0]])


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `score`: `data` as JSON, scores in percent, and `table()` for reading."""

    data: dict[str, Any]

    def with_source(self, matched: Mapping[str, str], ids: Sequence[str] | None) -> Report:
        """Returns the report with the way rows were matched and the ids of the notes."""
        per_note = {"ids": None if ids is None else list(ids), **self.data["per_note"]}
        return replace(self, data={**self.data, "matched_by": dict(matched), "per_note": per_note})

    def write(self, path: str | os.PathLike) -> Path:
        """Writes `data` as JSON atomically."""
        from medisum_utils.runs import write_json

        return write_json(path, self.data)

    def table(self) -> str:
        """Returns the report as lines of plain text."""
        return "\n".join(_table_lines(self.data))


def make_report(own: Scores, other: Scores | None, protocol: str, seed: int) -> Report:
    """Returns means with intervals in percent and, with `other`, the differences own - other."""
    data: dict[str, Any] = {
        "protocol": protocol,
        "unit": "percent",
        "confidence": CONFIDENCE,
        "seed": seed,
        "n": own.n,
        "n_empty_predictions": own.n_empty_predictions,
        "rouge": _estimates(own.rouge, seed),
        "divisions": {
            name: {
                "n": len(division.places),
                "n_missing": division.n_missing,
                "n_added": division.n_added,
                "rouge": _estimates(division.values, seed),
            }
            for name, division in own.divisions.items()
        },
        "facts": None if own.facts is None else _estimates(own.facts, seed),
        "headers": own.headers,
        "against": None if other is None else _differences(own, other, seed),
        "per_note": {
            name: _percents(values) for name, values in (own.rouge | (own.facts or {})).items()
        },
    }
    return Report(data)


def _differences(own: Scores, other: Scores, seed: int) -> dict[str, Any]:
    both_facts = own.facts is not None and other.facts is not None
    return {
        "rouge": _paired(own.rouge, other.rouge, seed),
        "divisions": {
            name: _paired(*_common(division, other.divisions[name]), seed)
            for name, division in own.divisions.items()
        },
        "facts": _paired(own.facts, other.facts, seed) if both_facts else None,
    }


def _common(own: DivisionScores, other: DivisionScores) -> tuple[Values, Values]:
    """Returns the values of the notes that both systems were scored on, as pairs."""
    places = sorted(set(own.places) & set(other.places))

    def at(scores: DivisionScores) -> Values:
        row = {place: number for number, place in enumerate(scores.places)}
        return {name: [v[row[place]] for place in places] for name, v in scores.values.items()}

    return at(own), at(other)


def _estimates(values: Values, seed: int) -> dict[str, Estimate]:
    """Each score's n, mean, low and high; if no note defines it, n is 0 and the rest is None."""
    result: dict[str, Estimate] = {}
    for name, per_note in values.items():
        defined = [value for value in per_note if value is not None]
        estimate = interval(defined, seed) if defined else dict.fromkeys(("mean", "low", "high"))
        result[name] = {"n": len(defined), **_in_percent(estimate)}
    return result


def _paired(own: Values, other: Values, seed: int) -> dict[str, Estimate]:
    """Each score's paired difference over the notes for which both systems have it."""
    result: dict[str, Estimate] = {}
    for name, per_note in own.items():
        pairs = [
            (a, b)
            for a, b in zip(per_note, other[name], strict=True)
            if a is not None and b is not None
        ]
        if pairs:
            estimate = paired_difference(*zip(*pairs, strict=True), seed)
        else:
            estimate = dict.fromkeys(("mean", "low", "high", "p"))
        result[name] = {"n": len(pairs), **_in_percent(estimate)}
    return result


def _in_percent(estimate: Mapping[str, float | None]) -> Estimate:
    return {
        name: value if value is None or name == "p" else 100 * value
        for name, value in estimate.items()
    }


def _percents(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else 100 * value for value in values]


def _table_lines(data: Mapping[str, Any]) -> list[str]:
    lines = [
        f"protocol {data['protocol']}: {data['n']} notes, {data['n_empty_predictions']} empty "
        f"predictions; F1 in percent [{data['confidence']:.0%} interval]",
        "",
        f"{'':24}{'n':>5}  " + "".join(f"{TITLES[name]:<22}" for name in ROUGE_NAMES).rstrip(),
    ]
    rows = {FULL_NOTE: {"n": data["n"], "rouge": data["rouge"]}, **data["divisions"]}
    for name, row in rows.items():
        cells = "".join(f"{_cell(row['rouge'][rouge]):<22}" for rouge in ROUGE_NAMES)
        lines.append(f"{name:24}{row['n']:>5}  {cells.rstrip()}")
    absent = {
        name: row for name, row in data["divisions"].items() if row["n_missing"] or row["n_added"]
    }
    for name, row in absent.items():
        lines.append(f"  {name}: missing from {row['n_missing']}, added in {row['n_added']}")
    if data["facts"]:
        lines += ["", *_fact_lines(data["facts"])]
    if data["headers"]:
        lines += ["", *_header_lines(data["headers"])]
    if data["against"]:
        lines += ["", *_difference_lines(data["against"])]
    if data["protocol"] == "aci-bench":
        lines += ["", "The published tables' ROUGE-L of full notes is ROUGE-Lsum."]
    return lines


def _fact_lines(facts: Mapping[str, Estimate]) -> list[str]:
    return ["facts"] + [f"  {name:22}{row['n']:>5}  {_cell(row)}" for name, row in facts.items()]


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
    rows = {FULL_NOTE: against["rouge"], **against["divisions"]}
    if against["facts"]:
        rows["facts"] = against["facts"]
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
