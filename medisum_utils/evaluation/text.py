"""The sentences of 04 that say what was measured; every figure and every verdict is computed.

Scores are fractions, as in the tables beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medisum_utils.evaluation.scores import COPY, SplitScores, SystemScores, difference
from medisum_utils.evaluation.tables import name_of
from medisum_utils.runs.overview import HALLUCINATED, listed

OURS = "finetuned"
VERDICTS = {1: "better than", -1: "worse than", 0: "indistinguishable from"}
HOW_FACTS_ARE_CHECKED = {
    True: (
        "The facts of these encounters are known by construction: a note is read with the grammar "
        "that wrote the references, and a fact is right only if its kind, section and wording "
        f"agree. *Hallucinated* is {HALLUCINATED['record']}; a line outside that grammar counts as "
        "one. A copied dialogue cannot be read so, true as it is: hence its dashes."
    ),
    False: (
        "The facts of real notes are not known: reference, note and dialogue are cut into "
        "statements, and each of the note's is held against the other two. *Hallucinated* is "
        f"{HALLUCINATED['statements']}; how far people agree with that is shown below."
    ),
}


def answer(split: str, scores: SplitScores, same: SplitScores | None, seed: int) -> str:
    """04's opening: the fine-tuned model on a split, beside the others on the same encounters.

    `same` is `evaluation.same_encounters` of the scores.
    """
    ours, others = scores.complete[OURS], [name for name in scores.complete if name != OURS]
    facts = {name: np.mean(ours.values(name)) for name in ("f1", "omission", "hallucination")}
    compared = f", {_compared(scores, others, seed)}" if others else ""
    what = HALLUCINATED["record" if scores.is_exact else "statements"]
    sentences = [
        f"**On {ours.n} held-out encounters of `{split}` the fine-tuned model reaches ROUGE-1 "
        f"{_mean(ours, 'rouge1')}**{compared}. **Its fact F1 is {facts['f1']:.3f}**: of the facts "
        f"it omits {facts['omission']:.3f}, and of what it writes {facts['hallucination']:.3f} is "
        f"hallucinated. *Hallucinated* is {what}."
    ]
    if others:
        sentences.append(_strongest(scores, others))
    if same is not None:
        fewer = [name for name in same.systems if name not in scores.complete]
        sentences.append(
            f"On the first {len(same.encounters)}, all that {listed(map(name_of, fewer))} wrote, "
            f"it reaches {_mean(same.systems[OURS], 'rouge1')}, {_compared(same, fewer, seed)}."
        )
    return " ".join(sentences)


def _compared(scores: SplitScores, others: Sequence[str], seed: int) -> str:
    """Better, worse or neither, by the interval of the paired difference in ROUGE-1."""
    parts = []
    for other in others:
        gap = difference(scores, OURS, other, "rouge1", seed)
        clear = gap["low"] is not None and gap["low"] * gap["high"] > 0
        verdict = VERDICTS[int(np.sign(gap["mean"])) if clear else 0]
        parts.append(f"{verdict} {name_of(other)} ({_mean(scores.systems[other], 'rouge1')})")
    return listed(parts)


def _strongest(scores: SplitScores, others: Sequence[str]) -> str:
    best = max(others, key=lambda name: np.mean(scores.systems[name].values("rouge1")))
    said = f"The strongest baseline by ROUGE-1 is {name_of(best)}"
    if scores.systems[best].facts is None:
        return f"{said}."
    return f"{said}, with fact F1 {_mean(scores.systems[best], 'f1')}."


def judges_tested(split: str, scores: SplitScores, altered: SystemScores, cosine: float) -> str:
    """What ROUGE and fact F1 say of wrong references, of the copy and of somebody else's note.

    `altered` are the scores of references made wrong, `cosine` the mean likeness of the dialogue of
    the nearest note.
    """
    copy, nearest = scores.systems[COPY], scores.systems["nearest"]
    of_copy = (
        "it cannot be read as a note, so that no fact is counted"
        if copy.facts is None
        else f"its fact F1 is {_mean(copy, 'f1')}"
    )
    return (
        f"On `{split}` the altered references keep ROUGE-1 **{_mean(altered, 'rouge1')}**, while "
        f"their fact F1 falls to **{_mean(altered, 'f1')}**. The copied dialogue, which holds what "
        f"was said and is no note, gets ROUGE-1 {_mean(copy, 'rouge1')}; {of_copy}. The nearest "
        f"note, which is about somebody else, gets {_mean(nearest, 'rouge1')} and fact F1 "
        f"{_mean(nearest, 'f1')}, although its dialogue is as like this one as training has (mean "
        f"cosine {cosine:.2f})."
    )


def first_encounters(same: Mapping[str, SplitScores]) -> str:
    """What the table of the same encounters is, by split."""
    parts = [f"{len(scores.encounters)} of `{split}`" for split, scores in same.items()]
    return f"**All systems on the first {listed(parts)}**, which every one of them wrote:"


def _mean(system: SystemScores, measure: str) -> str:
    return f"{np.mean(system.values(measure)):.3f}"
