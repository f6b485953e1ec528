"""What a run came to, in a few sentences, for the index of reports and the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

OURS = "finetuned"
BASELINE = "nearest"

Splits = Mapping[str, Mapping[str, Any]]  # the "splits" of a metrics.json


def listed(parts: Iterable[str]) -> str:
    """Parts in a sentence: "a, b and c".

    Raises: ValueError for no parts.
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def with_interval(score: Mapping[str, float | None]) -> str:
    """A score as a fraction with its interval, where it has one: "0.928 (0.916 to 0.937)"."""
    low, high = score.get("low"), score.get("high")
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{score['mean']:.3f}{interval}"


def score_lines(splits: Splits) -> list[str]:
    """The fine-tuned model's ROUGE-1 and fact F1 with their intervals, one line for each split."""
    lines = []
    for split, entry in splits.items():
        scores = entry["systems"].get(OURS)
        if scores is None:
            continue
        words = f"{split}, {scores['n']} notes: ROUGE-1 {with_interval(scores['rouge1'])}"
        f1 = _fact_score(entry, OURS, "f1")
        lines.append(words if f1 is None else f"{words}, fact F1 {with_interval(f1)}")
    return lines


def best_figure(splits: Splits) -> str:
    """The fine-tuned model's fact F1 on the first test, else its ROUGE-1, beside a baseline's.

    The baseline is the nearest training note. Empty without a score.
    """
    for split, entry in splits.items():
        if OURS not in entry["systems"]:
            continue
        ours, name = _fact_score(entry, OURS, "f1"), "fact F1"
        theirs = _fact_score(entry, BASELINE, "f1")
        if ours is None:
            ours, name = entry["systems"][OURS]["rouge1"], "ROUGE-1"
            theirs = entry["systems"].get(BASELINE, {}).get("rouge1")
        words = f"{name} {with_interval(ours)} on {entry['systems'][OURS]['n']} notes of {split}"
        if theirs is None:
            return f"{words}."
        return f"{words}; the nearest training note reaches {theirs['mean']:.3f}."
    return ""


def weaknesses(splits: Splits) -> str:
    """Where the fine-tuned model fails: hallucinated share and weakest kind of fact by split.

    Empty where neither was counted.
    """
    shares, kinds = [], []
    for split, entry in splits.items():
        if (share := _fact_score(entry, OURS, "hallucination")) is not None:
            shares.append(f"{share['mean']:.3f} of the statements on {split}")
        if (weakest := weakest_kind(entry["systems"].get(OURS, {}))) is not None:
            kind, rates = weakest
            kinds.append(
                f"{kind} on {split} (fact F1 {rates['f1']['mean']:.3f}, {rates['n']} facts)"
            )
    sentences = []
    if shares:
        sentences.append(f"Hallucinated: {listed(shares)}.")
    if kinds:
        sentences.append(f"Weakest kind of fact: {listed(kinds)}.")
    return " ".join(sentences)


def weakest_kind(system: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The kind of fact with the lowest F1 and its rates, among kinds that the references have.

    None where no kind has an F1.
    """
    rated = {
        kind: rates
        for kind, rates in (system.get("kinds") or {}).items()
        if rates["n"] and rates.get("f1") is not None
    }
    return min(rated.items(), key=lambda item: item[1]["f1"]["mean"], default=None)


def _fact_score(entry: Mapping[str, Any], system: str, name: str) -> Mapping[str, float] | None:
    """A score of a system's facts; None where they have no meaning."""
    return (entry["systems"].get(system, {}).get("facts") or {}).get(name)
