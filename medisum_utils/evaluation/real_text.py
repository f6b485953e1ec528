"""The sentences of 04 on real notes: beside published systems, and whether truth follows ROUGE.

As in `text`, every figure and every verdict is computed, and the wording stands in `phrases.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medisum_utils.evaluation import truth
from medisum_utils.evaluation.published import best_released, lacking_divisions
from medisum_utils.evaluation.scores import OURS, SplitScores, direction
from medisum_utils.evaluation.text import VERDICTS, phrases
from medisum_utils.runs.results import listed, split_titles


def official(split: str, entry: Mapping[str, Any], *, is_first: bool = True) -> str:
    """What the tables of the corpus's own evaluator hold, and how far the best released one is.

    `entry` is `official` of a split in metrics.json. How it is scored is said with the first split
    alone.
    """
    wording, best = phrases()["official"], best_released(entry)
    n_divisions, n_missing, n_added = lacking_divisions(entry)
    parts = ["not_at_hand" if "released" in entry else "not_released", "divisions"]
    found: dict[str, Any] = {}
    if best is not None:
        parts[:1] = ["released", "found"]
        found = _against(best, entry)
    parts = ["heading", *(["how"] if is_first else []), *parts]
    return "\n\n".join(wording[part] for part in parts).format(
        split=split,
        n=entry["n"],
        n_divisions=n_divisions,
        n_missing=n_missing,
        n_added=n_added,
        **found,
    )


def in_short(splits: Mapping[str, Any], real: Mapping[str, SplitScores], seed: int) -> str:
    """How the fine-tuned model stands to released systems, and whether ROUGE rises without truth.

    `splits` are those of metrics.json, `real` the scores of those whose facts are not known, of
    which the first is told of. Empty where neither can be said.
    """
    wording, titles, parts = phrases(), split_titles(splits), []
    for split, entry in splits.items():
        official = entry.get("official", {})
        if (best := best_released(official)) is not None:
            found = wording["official"]["found"].format(**_against(best, official))
            parts.append(f"On `{titles[split]}`, {found[0].lower()}{found[1:]}")
    for split in list(real)[:1]:
        change = truth.changes(real[split], seed)
        verdict = wording["truth"]["answers"][truth.verdict(change)]
        parts.append(
            wording["truth"]["in_short"].format(
                split=titles[split], answer=verdict, directions=_directions(change)
            )
        )
    return " ".join(parts)


def _against(best: str, official: Mapping[str, Any]) -> dict[str, Any]:
    """The fine-tuned model beside a released system, for the phrase that says so."""
    theirs = official["released"][best]
    gap = theirs["ours_minus"]["rouge1"]
    return {
        "best": best,
        "ours": official["systems"][OURS]["rouge1"]["mean"],
        "theirs": theirs["rouge1"]["mean"],
        "gap": _with_interval(gap),
        "verdict": VERDICTS[direction(gap)],
    }


def truth_at_length(real: Mapping[str, SplitScores], seed: int) -> str:
    """What the section on truth asks and, for each split of `in_short`, what was found."""
    titles = split_titles(real)
    found = [_truth_found(titles[split], scores, seed) for split, scores in real.items()]
    return "\n\n".join([phrases()["truth"]["how"], *found])


def _truth_found(split: str, scores: SplitScores, seed: int) -> str:
    """Whether ROUGE rises while truth falls, from base to fine-tuned, with each difference."""
    wording, change = phrases()["truth"], truth.changes(scores, seed)
    ours, base = (truth.by_note(scores.systems[name]) for name in (OURS, truth.BASE))
    moved = {
        name: f"{np.mean(base[name]):.{digits}f} to {np.mean(ours[name]):.{digits}f} "
        f"({_with_interval(change[name], digits)})"
        for name, digits in {"rouge1": 3, "n_hallucinated": 1, "omission": 3}.items()
    }
    return wording["found"].format(
        answer=wording["answers"][truth.verdict(change)],
        n=len(scores.encounters),
        split=split,
        directions=_directions(change),
        base_stated=f"{np.mean(base['n_stated']):.1f}",
        our_stated=f"{np.mean(ours['n_stated']):.1f}",
        **moved,
    )


def truth_title(split: str, scores: SplitScores, seed: int) -> str:
    """The claim of the figure beside what `truth_at_length` says of a split."""
    return f"{split}:\n{_directions(truth.changes(scores, seed))}"


def _directions(change: Mapping[str, Mapping[str, float | None]]) -> str:
    """Which way each measure goes, of `truth.changes`, in words."""
    names = ("rouge1", "n_hallucinated", "omission")
    return listed(phrases()["truth"][name][direction(change[name])] for name in names)


def _with_interval(gap: Mapping[str, float | None], digits: int = 3) -> str:
    """A difference with its sign and, where it has one, its interval."""
    words = f"{gap['mean']:+.{digits}f}"
    if gap["low"] is not None:
        words += f", 95% interval {gap['low']:+.{digits}f} to {gap['high']:+.{digits}f}"
    return words.replace("-", "−")
