"""Exact fact scores of notes about generated encounters, whose every fact is known.

A note is read with the same grammar that wrote its reference (`soap.read_facts`) and compared with
the record, item by item: kind, section and wording must agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.synthesis.soap import read_facts

MEASURES = ("precision", "recall", "f1", "omission", "hallucination")


@dataclass(frozen=True, slots=True)
class FactScore:
    """One note against its record: rates in 0 to 1, and the facts behind them.

    `omission` is the share of the record that the note lacks. `hallucination` is the share of the
    note's statements that stand nowhere in the record; a true statement in the wrong section costs
    precision, not this. A note that states nothing has precision and hallucination 0.
    """

    precision: float
    recall: float
    f1: float
    omission: float
    hallucination: float
    right: tuple[Fact, ...]
    omitted: tuple[Fact, ...]
    invented: tuple[Fact, ...]
    misplaced: tuple[Fact, ...]


def _key(fact: Fact) -> tuple[str, str, str]:
    return fact.kind, fact.section, fact.text.lower()


def _claim(fact: Fact) -> tuple[str, str]:
    return fact.polarity, fact.text.lower()


def score_facts(record: Sequence[Fact], note_text: str) -> FactScore:
    """Scores a note's text against the facts of its encounter.

    Raises: ValueError for a record without facts: real data has none.
    """
    if not record:
        raise ValueError("expected an encounter with known facts, got none")
    stated = read_facts(note_text)
    known, claims = {_key(fact) for fact in record}, {_claim(fact) for fact in record}
    said = {_key(fact) for fact in stated}
    right = tuple(fact for fact in stated if _key(fact) in known)
    wrong = [fact for fact in stated if _key(fact) not in known]
    invented = tuple(fact for fact in wrong if _claim(fact) not in claims)
    n_right, n_stated = len({_key(fact) for fact in right}), len(said)
    precision = n_right / n_stated if n_stated else 0.0
    recall = n_right / len(known)
    return FactScore(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if n_right else 0.0,
        omission=1 - recall,
        hallucination=len({_key(fact) for fact in invented}) / n_stated if n_stated else 0.0,
        right=right,
        omitted=tuple(fact for fact in record if _key(fact) not in said),
        invented=invented,
        misplaced=tuple(fact for fact in wrong if _claim(fact) in claims),
    )


def score_encounters(encounters: Sequence[Encounter], notes: Sequence[str]) -> list[FactScore]:
    """Scores one note per encounter, in order.

    Raises: ValueError for different lengths.
    """
    if len(encounters) != len(notes):
        raise ValueError(f"expected {len(encounters)} notes, got {len(notes)}")
    return [score_facts(e.facts, note) for e, note in zip(encounters, notes, strict=True)]


def pooled(scores: Sequence[FactScore], by: str) -> dict[str, dict[str, float]]:
    """Counts and rates over all notes, by "kind" or "section" of the facts.

    Each row has `n` (facts in the records), `n_stated`, precision, recall and f1; a rate without
    anything to count is NaN.
    """
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"right": 0, "known": 0, "stated": 0})
    for score in scores:
        for fact in score.right:
            for name in ("right", "known", "stated"):
                counts[getattr(fact, by)][name] += 1
        for fact in score.omitted:
            counts[getattr(fact, by)]["known"] += 1
        for fact in (*score.invented, *score.misplaced):
            counts[getattr(fact, by)]["stated"] += 1
    return {name: _rates(**count) for name, count in sorted(counts.items())}


def _rates(right: int, known: int, stated: int) -> dict[str, float]:
    nan = float("nan")
    precision, recall = (right / stated if stated else nan), (right / known if known else nan)
    f1 = 2 * right / (known + stated) if known + stated else nan
    return {"n": known, "n_stated": stated, "precision": precision, "recall": recall, "f1": f1}
