"""The sentences of 04 that say what was measured; every figure and every verdict is computed.

Scores are fractions, as in the tables beside them. The wording stands in `phrases.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from medisum_utils.encounter import Encounter
from medisum_utils.evaluation.dangers import Danger
from medisum_utils.evaluation.note_views import most_common_kinds
from medisum_utils.evaluation.scores import (
    COPY,
    OURS,
    SplitScores,
    SystemScores,
    difference,
    direction,
    facts_known,
)
from medisum_utils.evaluation.systems import WrittenNotes
from medisum_utils.evaluation.tables import group_values, name_of
from medisum_utils.runs.results import HALLUCINATED, listed, split_titles

VERDICTS = {1: "better than", -1: "worse than", 0: "indistinguishable from"}
MIN_GROUP = 5  # encounters; the mean of fewer is not worth a sentence


@cache
def phrases() -> dict[str, Any]:
    """The prose of `phrases.yaml`."""
    path = Path(__file__).with_name("phrases.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def trained(record: Mapping[str, Any], train: Sequence[Encounter]) -> str:
    """What was trained, of `training.json` and the training encounters."""
    settings = record["settings"]
    n_batches, n_tokens = settings["n_accumulation"], settings.get("batch_tokens")
    n = n_batches * settings["batch_size"]
    per_step = f"{n} encounter{'s' * (n > 1)} each"
    if n_tokens:  # a batch is as many encounters as fit
        per_step = f"at most {n_batches * n_tokens:,} tokens each"
    return phrases()["trained"].format(
        base=record["base"],
        lora_rank=settings["lora_rank"],
        n_steps=settings["n_steps"],
        per_step=per_step,
        n_train=len(train),
        origin="generated " if facts_known(train) else "",
    )


def fails(split: str, entry: Mapping[str, Any], dangers: Sequence[Danger]) -> str:
    """Where the fine-tuned model fails on a split: in its weakest kind of fact, and how often.

    `entry` is the split in `metrics.json`.
    """
    kinds = {name: rates for name, rates in entry["systems"][OURS]["kinds"].items() if rates["n"]}
    if not kinds:
        return ""
    method = entry["facts_by"]
    worst, measure = (min, "f1") if method == "record" else (max, "omission")
    kind, rates = worst(kinds.items(), key=lambda item: item[1][measure]["mean"])
    sentence = phrases()["weakest"][method].format(
        split=split, kind=kind, rate=rates[measure]["mean"], n=rates["n"]
    )
    struck = any(danger.n_struck for danger in dangers)
    before_table = f" {phrases()['dangers'][method]}:" if struck else ""
    return f"**Where it fails.** {sentence}{before_table}"


def answer(split: str, scores: SplitScores, same: SplitScores | None, seed: int) -> str:
    """How well the fine-tuned model writes, beside the others on the same encounters.

    `same` is `evaluation.same_encounters` of the scores.
    """
    ours, others = scores.complete[OURS], [name for name in scores.complete if name != OURS]
    measures = ("rouge1", "f1", "omission", "hallucination")
    answer = phrases()["answer"].format(
        n=ours.n,
        split=split,
        compared=f", {_compared(scores, others, seed)}" if others else "",
        hallucinated=_hallucinated(scores.is_exact),
        **{measure: _mean(ours, measure) for measure in measures},
    )
    if others:
        best = max(others, key=lambda name: np.mean(scores.systems[name].values("rouge1")))
        answer += f" The strongest baseline by ROUGE-1 is {name_of(best)}"
        if scores.systems[best].judged is not None:
            answer += f", with fact F1 {_mean(scores.systems[best], 'f1')}"
        answer += "."
    if same is not None:
        fewer = [name for name in same.systems if name not in scores.complete]
        answer += " " + phrases()["first_encounters"].format(
            n=len(same.encounters),
            systems=listed(map(name_of, fewer)),
            rouge1=_mean(same.systems[OURS], "rouge1"),
            compared=_compared(same, fewer, seed),
        )
    return answer


def _compared(scores: SplitScores, others: Sequence[str], seed: int) -> str:
    """Better, worse or neither, by the interval of the paired difference in ROUGE-1."""
    parts = []
    for other in others:
        verdict = VERDICTS[direction(difference(scores, other, "rouge1", seed))]
        parts.append(f"{verdict} {name_of(other)} ({_mean(scores.systems[other], 'rouge1')})")
    return listed(parts)


def judges_tested(split: str, scores: SplitScores, altered: SystemScores, cosine: float) -> str:
    """What ROUGE and fact F1 say of wrong references, of the copy and of somebody else's note.

    `altered` are the scores of references made wrong, `cosine` the mean likeness of the dialogue of
    the nearest note.
    """
    copy, nearest = scores.systems[COPY], scores.systems["nearest"]
    of_copy = "it cannot be read as a note, so that no fact is counted"
    if copy.judged is not None:
        of_copy = f"its fact F1 is {_mean(copy, 'f1')}"
    return phrases()["judges_tested"].format(
        split=split,
        altered_rouge1=_mean(altered, "rouge1"),
        altered_f1=_mean(altered, "f1"),
        copy_rouge1=_mean(copy, "rouge1"),
        of_copy=of_copy,
        nearest_rouge1=_mean(nearest, "rouge1"),
        nearest_f1=_mean(nearest, "f1"),
        cosine=cosine,
    )


def how_facts_are_checked(splits: Mapping[str, Any]) -> str:
    """How facts are judged in these splits of metrics.json, and what "hallucinated" means."""
    return "\n\n".join(
        phrases()["facts_by"][method].format(hallucinated=HALLUCINATED[method])
        for method in _methods(splits)
    )


def _methods(splits: Mapping[str, Any]) -> list[str]:
    """By what facts are judged: "record", "statements" or both."""
    return list(dict.fromkeys(entry["facts_by"] for entry in splits.values()))


def weak_groups(
    split: str, scores: SplitScores, lengths: pd.Categorical, conditions: Sequence[str]
) -> str:
    """The fine-tuned model's fact F1 from short to long dialogues, and by kind of visit."""
    ours = scores.systems[OURS]
    thirds = {name: np.mean(part) for name, part in group_values(ours, lengths, "f1").items()}
    by_length = ", ".join(f"{mean:.3f} ({words})" for words, mean in thirds.items())
    sentence = f"**`{split}`**: fact F1 from the shortest dialogues to the longest: {by_length}."
    means = {
        f"in {name} ({np.mean(part):.3f}, {len(part)} encounters)": np.mean(part)
        for name, part in group_values(ours, conditions, "f1").items()
        if len(part) >= MIN_GROUP
    }
    if len(means) < 2:
        return sentence
    lowest, highest = min(means, key=means.get), max(means, key=means.get)
    return (
        f"{sentence} Among kinds of visit with {MIN_GROUP} encounters or more it is lowest "
        f"{lowest} and highest {highest}."
    )


def wrong_facts(
    split: str, side: str, facts: Sequence[tuple[str, str, str]], *, with_kinds: bool
) -> str:
    """How many facts of a split were "omitted" or "hallucinated", in how many notes, and which.

    `facts` are those of `note_views.wrong_facts`; their text is not shown.
    """
    n_notes = len({encounter_id for encounter_id, _, _ in facts})
    kinds = f": most often {most_common_kinds(facts, 4)}" if with_kinds and facts else ""
    return f"`{split}`, {side}: {len(facts):,} in {n_notes:,} notes{kinds}"


def scores_of_hidden_notes(scores: SplitScores, places: Mapping[str, int]) -> str:
    """What may be said of notes that may not be shown: the fact F1 of each chosen one."""
    values = scores.systems[OURS].values("f1")
    shown = ", ".join(f"{values[place]:.2f}" for place in places.values())
    return phrases()["hidden_notes"].format(f1=shown)


def limits(written: Sequence[WrittenNotes], max_new_tokens: int, splits: Mapping[str, Any]) -> str:
    """What the figures of some splits of metrics.json do not say, as a list.

    `written` are the fine-tuned model's notes.
    """
    counts = {
        "n_notes": sum(len(notes.notes) for notes in written),
        "n_unfinished": sum(notes.n_unfinished for notes in written),
        "n_cut_dialogues": sum(notes.n_cut_dialogues for notes in written),
    }
    points = ["interval", *_methods(splits), "read"]
    if counts["n_cut_dialogues"]:
        points.insert(0, "cut_dialogues")
    if counts["n_unfinished"]:
        points.insert(0, "unfinished")
    wording = [phrases()["limits"][point] for point in points]
    return "\n".join(f"- {text}" for text in wording).format(
        max_new_tokens=max_new_tokens, **counts
    )


def took(entry: Mapping[str, Any]) -> str:
    """Time and memory of the step, of its entry in `run.json`."""
    return phrases()["took"].format(**entry)


def first_encounters(same: Mapping[str, SplitScores]) -> str:
    """What the table of the same encounters is, by split."""
    titles = split_titles(same)
    parts = [f"{len(scores.encounters)} of `{titles[name]}`" for name, scores in same.items()]
    return f"All systems on the first {listed(parts)}, which every one of them wrote"


def _hallucinated(facts_are_known: bool) -> str:
    return HALLUCINATED["record" if facts_are_known else "statements"]


def _mean(system: SystemScores, measure: str) -> str:
    return f"{np.mean(system.values(measure)):.3f}"
