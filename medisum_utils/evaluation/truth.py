"""Does ROUGE rise while truth falls? Real notes by ROUGE-1 beside what is hallucinated in them.

The base without adapter and the fine-tuned model stand side by side on the encounters that both
wrote. Whether a statement is true is judged by `facts.score_note`: it is hallucinated where neither
reference nor dialogue supports it. Nothing here shows text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medisum_utils import figures
from medisum_utils.evaluation.scores import OURS, SplitScores, SystemScores, direction
from medisum_utils.evaluation.tables import name_of, with_interval
from medisum_utils.facts import NoteFacts
from medisum_utils.runs.results import split_titles
from medisum_utils.scoring.rouge import interval, paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE = "base"
MEASURES = {
    "rouge1": "ROUGE-1",
    "n_stated": "statements a note",
    "n_hallucinated": "hallucinated a note",
    "hallucination": "share hallucinated",
    "omission": "share omitted",
}
KINDS = ("allergy", "medicine", "number", "denial", "other")
N_EXAMPLES = 10


def by_note(system: SystemScores) -> dict[str, list[float]]:
    """The measures of each note: ROUGE-1 and shares in 0 to 1, statements as counts.

    A share omitted is that of the reference's statements.
    """
    return {
        "rouge1": system.rouge["rouge1"],
        "n_stated": system.statements["stated"],
        "n_hallucinated": system.statements["hallucinated"],
        "hallucination": [note.hallucination for note in system.judged],
        "omission": [note.omission for note in system.judged],
    }


def truth_table(splits: Mapping[str, SplitScores], seed: int) -> pd.DataFrame:
    """Means with intervals of every split and system, on the encounters that each system wrote."""
    titles, rows = split_titles(splits), {}
    for split, scores in splits.items():
        for name, system in scores.complete.items():
            values = by_note(system)
            rows[titles[split], name_of(name)] = {"n": system.n} | {
                title: with_interval(interval(values[measure], seed), 1 if "a note" in title else 3)
                for measure, title in MEASURES.items()
            }
    index = pd.MultiIndex.from_tuples(list(rows), names=["split", "system"])
    return pd.DataFrame(list(rows.values()), index=index)


def changes(scores: SplitScores, seed: int) -> dict[str, dict[str, float | None]]:
    """Fine-tuned minus base in each measure, paired by encounter: mean, low, high, p."""
    ours, base = (by_note(scores.systems[name]) for name in (OURS, BASE))
    return {name: paired_difference(ours[name], base[name], seed) for name in MEASURES}


def verdict(change: Mapping[str, Mapping[str, float | None]]) -> str:
    """Whether ROUGE rises while truth falls, of `changes`: "yes", "in part" or "no".

    Truth falls where a note holds more hallucinated statements or omits a greater share; in part
    where one of the two grows and the other shrinks.
    """
    worse = [direction(change[name]) for name in ("n_hallucinated", "omission")]
    if direction(change["rouge1"]) < 1 or 1 not in worse:
        return "no"
    return "in part" if -1 in worse else "yes"


def most_different(scores: SplitScores, n: int = N_EXAMPLES) -> list[int]:
    """The places of the notes in which fine-tuning gains most ROUGE-1 and most hallucinations.

    Encounters are ranked by either difference to the base; those with the highest sum of both ranks
    come first, equal ones in the order of the split.
    """
    ours, base = (by_note(scores.systems[name]) for name in (OURS, BASE))
    ranks = sum(
        rankdata(np.subtract(ours[name], base[name])) for name in ("rouge1", "n_hallucinated")
    )
    return np.argsort(-ranks, kind="stable")[:n].tolist()


def examples_table(scores: SplitScores, places: Sequence[int]) -> pd.DataFrame:
    """The notes at some places, both systems', described without a word of them.

    Words of dialogue, reference and note, ROUGE-1, and by kind of fact the statements that are
    supported, hallucinated and, of the reference's, omitted.
    """
    rows = {
        (f"{place + 1}", label): {
            "words of dialogue": len(scores.encounters[place].dialogue_text.split()),
            "of reference": len(scores.references[place].split()),
            "of note": len(scores.systems[name].texts[place].split()),
            "ROUGE-1": f"{scores.systems[name].rouge['rouge1'][place]:.3f}",
            **_by_kind(scores.systems[name].judged[place]),
        }
        for place in places
        for name, label in ((BASE, "base"), (OURS, "fine-tuned"))
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=["encounter", "system"])
    return pd.DataFrame(list(rows.values()), index=index)


def _by_kind(note: NoteFacts) -> dict[str, str]:
    """Cells such as "3/1/2"; a dash where nothing of the kind is said or should be."""
    sides = [
        Counter(fact.kind or "other" for fact in facts)
        for facts in (
            [fact for fact in note.prediction if not fact.hallucinated],
            note.hallucinated,
            note.omitted,
        )
    ]
    counts = {kind: [side[kind] for side in sides] for kind in KINDS}
    return {kind: "/".join(map(str, of)) if any(of) else "–" for kind, of in counts.items()}


def truth_figure(scores: SplitScores, title: str, seed: int) -> Figure:
    """ROUGE-1 against hallucinated statements and omitted share, a point a system.

    An arrow goes from the base to the fine-tuned model.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    estimates: dict[str, dict[str, Any]] = {
        name: {measure: interval(values, seed) for measure, values in by_note(system).items()}
        for name, system in scores.complete.items()
    }
    labels = ("hallucinated statements a note", "share of the reference omitted")
    for ax, measure, label in zip(axes, ("n_hallucinated", "omission"), labels, strict=True):
        for name, each in estimates.items():
            ax.errorbar(
                each[measure]["mean"],
                each["rouge1"]["mean"],
                xerr=_errors(each[measure]),
                yerr=_errors(each["rouge1"]),
                fmt=figures.marker_of(name),
                color=figures.colour_of(name),
                ms=5,
                label=name_of(name),
            )
        start, end = (
            (estimates[name][measure]["mean"], estimates[name]["rouge1"]["mean"])
            for name in (BASE, OURS)
        )
        arrow = {"arrowstyle": "->", "color": "#555555", "shrinkA": 6, "shrinkB": 6}
        ax.annotate("", xy=end, xytext=start, arrowprops=arrow)
        ax.set(xlabel=f"{label}\n(mean, 95% interval)")
    axes[0].set(ylabel="mean ROUGE-1 (fraction)")
    for ax, most in zip(axes, (axes[0].get_xlim()[1], 1.0), strict=True):
        ax.set_xlim(-0.02 * most, 1.02 * most)  # a marker at zero is seen whole
    fig.suptitle(title, weight="bold", size="medium")
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names))
    return fig


def _errors(estimate: Mapping[str, float | None]) -> np.ndarray:
    """Lengths of an error bar (2, 1); zero where there is no interval."""
    mean = estimate["mean"]
    low, high = (mean if estimate[end] is None else estimate[end] for end in ("low", "high"))
    return np.maximum([[mean - low], [high - mean]], 0.0)
