"""Exact facts counted over all notes of a split, by section and by kind, with intervals.

A rate is a ratio of sums over the notes, since one note alone has too few facts of a kind for a
rate of its own; its interval comes from resampling whole notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from medisum_utils.encounter import SECTIONS, Fact
from medisum_utils.scoring.rouge import CONFIDENCE
from medisum_utils.synthesis.fact_scores import FactScore

Estimate = dict[str, float | None]

N_RESAMPLES = 2000
COUNTS = ("right", "known", "stated", "hallucinated")

# Kinds that are read together; every kind of the generator stands in exactly one group.
KIND_GROUPS: dict[str, tuple[str, ...]] = {
    "medicine": ("medicine", "start", "change", "stop", "continue"),
    "dose": ("dose",),
    "route and frequency": ("frequency",),
    "number with unit": ("vital", "result"),  # results in words count as findings
    "denial": ("denial",),
    "laterality": ("laterality",),
    "allergy": ("allergy",),
    "complaint and course": (
        *("sex", "age", "complaint", "duration", "onset"),
        *("severity", "quality", "worse", "better"),
    ),
    "symptom": ("symptom",),
    "history": ("condition", "surgery", "family", "social"),
    "finding": ("exam",),
    "diagnosis": ("diagnosis", "status"),
    "plan": ("order", "referral", "advice", "follow_up", "precaution"),
    "outside the grammar": ("other",),
}
_GROUP_OF = {kind: group for group, kinds in KIND_GROUPS.items() for kind in kinds}


def kind_group(fact: Fact) -> str:
    """The group of a fact's kind; "finding" for a result without a number.

    Raises: KeyError for a kind that no group has.
    """
    if fact.kind in ("vital", "result") and not any(c.isdigit() for c in fact.value or fact.text):
        return "finding"
    return _GROUP_OF[fact.kind]


def by_kind(scores: Sequence[FactScore], seed: int) -> dict[str, dict]:
    """Rates for each of `KIND_GROUPS` that occurs; see `by_group`."""
    return by_group(scores, kind_group, KIND_GROUPS, seed)


def by_section(scores: Sequence[FactScore], seed: int) -> dict[str, dict]:
    """Rates for each SOAP section; see `by_group`. What stands under no header is in none."""
    return by_group(scores, lambda fact: fact.section, SECTIONS, seed)


def by_group(
    scores: Sequence[FactScore], group_of: Callable[[Fact], str], groups: Iterable[str], seed: int
) -> dict[str, dict]:
    """For each group with facts: `n` facts of the records, `n_stated`, and the pooled rates.

    Rates are precision, recall, f1, omission, hallucination, each an estimate (mean, low, high) in
    0 to 1, or None where there is nothing to count. Hallucination is the share of the notes'
    statements in the group that are not in their encounter's record: kind, polarity and wording
    must agree, see `synthesis.fact_scores`. A statement counts in the section where it stands.
    """
    names = list(groups)
    counts = np.zeros((len(scores), len(names), len(COUNTS)))  # (notes, groups, counts)
    for note, score in enumerate(scores):
        for fact, columns in _counted(score):
            group = group_of(fact)
            if group in names:
                counts[note, names.index(group), columns] += 1
    totals = counts.sum(axis=0)
    return {
        name: {
            "n": int(totals[i, 1]),
            "n_stated": int(totals[i, 2]),
            **pooled_rates(counts[:, i], seed),
        }
        for i, name in enumerate(names)
        if totals[i].any()
    }


def _counted(score: FactScore) -> Iterable[tuple[Fact, list[int]]]:
    """Each fact of a note with the numbers of the `COUNTS` that it adds to."""
    for fact in score.right:
        yield fact, [0, 1, 2]
    for fact in score.omitted:
        yield fact, [1]
    for fact in score.misplaced:
        yield fact, [2]
    for fact in score.hallucinated:
        yield fact, [2, 3]


def pooled_rates(counts: np.ndarray, seed: int) -> dict[str, Estimate | None]:
    """Rates from `counts` (notes, 4 in the order of `COUNTS`), with percentile intervals.

    Raises: ValueError for another shape or no notes.
    """
    if counts.ndim != 2 or counts.shape[1] != len(COUNTS) or not len(counts):
        raise ValueError(f"expected counts of shape (notes, {len(COUNTS)}), got {counts.shape}")
    whole = _rates(counts.sum(axis=0)[None])
    n = len(counts)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    resampled = _rates(weights @ counts)  # (resamples, counts) in
    return {name: _estimate(whole[name][0], resampled[name], n) for name in whole}


def ratio(hits: Sequence[float], totals: Sequence[float], seed: int) -> Estimate | None:
    """The sum of `hits` over that of `totals`, one of each a note, with its interval."""
    pairs = np.column_stack([hits, totals, totals, hits])
    return pooled_rates(pairs.astype(float), seed)["recall"]


def _rates(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Rates of each row of `sums` (rows, 4), NaN where nothing is counted."""
    right, known, stated, invented = sums.astype(float).T
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / known
        return {
            "precision": right / stated,
            "recall": recall,
            "f1": 2 * right / (known + stated),
            "omission": 1 - recall,
            "hallucination": invented / stated,
        }


def _estimate(mean: float, resampled: np.ndarray, n: int) -> Estimate | None:
    if np.isnan(mean):
        return None
    if n == 1:
        return {"mean": float(mean), "low": None, "high": None}
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return {"mean": float(mean), "low": float(low), "high": float(high)}
