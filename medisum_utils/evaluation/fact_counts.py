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
# Which of the counts each fact of a note adds to: 0 right, 1 in the record, 2 stated,
# 3 hallucinated.
COUNTED_AS = {"right": [0, 1, 2], "omitted": [1], "misplaced": [2], "hallucinated": [2, 3]}

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
    """Rates for each of `KIND_GROUPS` that occurs."""
    return _by_group(scores, kind_group, KIND_GROUPS, seed)


def by_section(scores: Sequence[FactScore], seed: int) -> dict[str, dict]:
    """Rates for each SOAP section. What stands under no header is in none."""
    return _by_group(scores, lambda fact: fact.section, SECTIONS, seed)


def _by_group(
    scores: Sequence[FactScore], group_of: Callable[[Fact], str], groups: Iterable[str], seed: int
) -> dict[str, dict]:
    """For each group with facts: `n` facts of the records, `n_stated`, and the pooled rates.

    Rates are precision, recall, f1, omission, hallucination, each an estimate (mean, low, high) in
    0 to 1, or None where there is nothing to count. Hallucination is the share of the notes'
    statements in the group that are not in their encounter's record: kind, polarity and wording
    must agree, see `synthesis.fact_scores`. A statement counts in the section where it stands.
    """
    counts = {group: np.zeros((len(scores), 4)) for group in groups}  # (notes, counts)
    for note, score in enumerate(scores):
        for side, columns in COUNTED_AS.items():
            for fact in getattr(score, side):
                if (group := group_of(fact)) in counts:
                    counts[group][note, columns] += 1
    return {
        group: {
            "n": int(of_notes[:, 1].sum()),
            "n_stated": int(of_notes[:, 2].sum()),
            **_pooled_rates(of_notes, seed),
        }
        for group, of_notes in counts.items()
        if of_notes.any()
    }


def ratio(hits: Sequence[float], totals: Sequence[float], seed: int) -> Estimate | None:
    """The sum of `hits` over that of `totals`, one of each a note, with its interval."""
    counts = np.column_stack([hits, totals, totals, hits]).astype(float)
    return _pooled_rates(counts, seed)["recall"]


def _pooled_rates(counts: np.ndarray, seed: int) -> dict[str, Estimate | None]:
    """Rates from `counts` (notes, 4), with percentile intervals."""
    pooled = _rates(counts.sum(axis=0)[None])
    n = len(counts)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    resampled = _rates(weights @ counts)  # (resamples, 4) in
    return {name: _estimate(pooled[name][0], resampled[name], n) for name in pooled}


def _rates(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Rates of each row of `sums` (rows, 4), NaN where nothing is counted."""
    right, recorded, stated, hallucinated = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / recorded
        return {
            "precision": right / stated,
            "recall": recall,
            "f1": 2 * right / (recorded + stated),
            "omission": 1 - recall,
            "hallucination": hallucinated / stated,
        }


def _estimate(mean: float, resampled: np.ndarray, n: int) -> Estimate | None:
    if np.isnan(mean):
        return None
    if n == 1:
        return {"mean": float(mean), "low": None, "high": None}
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return {"mean": float(mean), "low": float(low), "high": float(high)}
