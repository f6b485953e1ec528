"""The sentences of 04 that say what was measured; every figure and every verdict is computed.

Scores are fractions, as in the tables beside them.
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
    SplitScores,
    SystemScores,
    difference,
    facts_known,
)
from medisum_utils.evaluation.systems import WrittenNotes
from medisum_utils.evaluation.tables import group_values, name_of
from medisum_utils.runs.results import HALLUCINATED, listed

OURS = "finetuned"
VERDICTS = {1: "better than", -1: "worse than", 0: "indistinguishable from"}
PHRASES_FILE = Path(__file__).with_name("phrases.yaml")
MIN_GROUP = 5  # encounters; the mean of fewer is not worth a sentence


@cache
def phrases() -> dict[str, Any]:
    """The prose of `phrases.yaml`."""
    return yaml.safe_load(PHRASES_FILE.read_text(encoding="utf-8"))


def how_facts_are_checked(*, facts_are_known: bool) -> str:
    """How facts are judged here, and what "hallucinated" means."""
    method = "record" if facts_are_known else "statements"
    return phrases()["facts_by"][method].format(hallucinated=HALLUCINATED[method])


def trained(record: Mapping[str, Any], train: Sequence[Encounter]) -> str:
    """What was trained, of `training.json` and the training encounters."""
    settings = record["settings"]
    per_step = settings["batch_size"] * settings["n_accumulation"]
    encounters = "encounter" if per_step == 1 else "encounters"
    origin = "generated " if facts_known(train) else ""
    return (
        f"**What was trained.** A LoRA adapter of rank {settings['lora_rank']} on "
        f"`{record['base']}`, whose 4-bit weights stay as they are: {settings['n_steps']:,} steps "
        f"of {per_step} {encounters} each, from {len(train):,} {origin}training encounters."
    )


def fails(split: str, entry: Mapping[str, Any], dangers: Sequence[Danger]) -> str:
    """Where the fine-tuned model fails on a split: in its weakest kind of fact, and how often.

    `entry` is the split in `metrics.json`.
    """
    kinds = {name: rates for name, rates in entry["systems"][OURS]["kinds"].items() if rates["n"]}
    if not kinds:
        return ""
    if entry["facts_by"] == "record":
        weakest = min(kinds, key=lambda kind: kinds[kind]["f1"]["mean"])
        weakness = (
            f"The weakest kind of fact on `{split}` is {weakest}: F1 "
            f"{kinds[weakest]['f1']['mean']:.3f} over {kinds[weakest]['n']:,} facts."
        )
        counts = "Notes with an error that could hurt a patient, of those in which it could occur"
    else:
        weakest = max(kinds, key=lambda kind: kinds[kind]["omission"]["mean"])
        weakness = (
            f"Of what the dialogues of `{split}` say, the notes most often leave out facts of the "
            f"kind {weakest}: {kinds[weakest]['omission']['mean']:.3f} of {kinds[weakest]['n']:,}."
        )
        counts = "Facts that the dialogues say and the notes leave out"
    table_follows = f" {counts}:" if any(danger.n_struck for danger in dangers) else ""
    return f"**Where it fails.** {weakness}{table_follows}"


def answer(split: str, scores: SplitScores, same: SplitScores | None, seed: int) -> str:
    """How well the fine-tuned model writes, beside the others on the same encounters.

    `same` is `evaluation.same_encounters` of the scores.
    """
    ours, others = scores.complete[OURS], [name for name in scores.complete if name != OURS]
    compared = f", {_compared(scores, others, seed)}" if others else ""
    what = HALLUCINATED["record" if scores.is_exact else "statements"]
    sentences = [
        f"**How well it writes.** On {ours.n} held-out encounters of `{split}` the fine-tuned "
        f"model reaches ROUGE-1 **{_mean(ours, 'rouge1')}**{compared}. Its fact F1 is "
        f"**{_mean(ours, 'f1')}**: of the facts it omits {_mean(ours, 'omission')}, and of what it "
        f"writes {_mean(ours, 'hallucination')} is hallucinated. *Hallucinated* is {what}."
    ]
    if others:
        best = max(others, key=lambda name: np.mean(scores.systems[name].values("rouge1")))
        f1 = "" if scores.systems[best].judged is None else _mean(scores.systems[best], "f1")
        with_f1 = f1 and f", with fact F1 {f1}"
        sentences.append(f"The strongest baseline by ROUGE-1 is {name_of(best)}{with_f1}.")
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


def judges_tested(split: str, scores: SplitScores, altered: SystemScores, cosine: float) -> str:
    """What ROUGE and fact F1 say of wrong references, of the copy and of somebody else's note.

    `altered` are the scores of references made wrong, `cosine` the mean likeness of the dialogue of
    the nearest note.
    """
    copy, nearest = scores.systems[COPY], scores.systems["nearest"]
    of_copy = "it cannot be read as a note, so that no fact is counted"
    if copy.judged is not None:
        of_copy = f"its fact F1 is {_mean(copy, 'f1')}"
    return (
        f"On `{split}` the altered references keep ROUGE-1 **{_mean(altered, 'rouge1')}**, while "
        f"their fact F1 falls to **{_mean(altered, 'f1')}**. The copied dialogue, which holds what "
        f"was said and is no note, gets ROUGE-1 {_mean(copy, 'rouge1')}; {of_copy}. The nearest "
        f"note, which is about somebody else, gets {_mean(nearest, 'rouge1')} and fact F1 "
        f"{_mean(nearest, 'f1')}, although its dialogue is as like this one as training has (mean "
        f"cosine {cosine:.2f})."
    )


def weak_groups(
    split: str, scores: SplitScores, lengths: pd.Categorical, conditions: Sequence[str]
) -> str:
    """The fine-tuned model's fact F1 from short to long dialogues, and by kind of visit."""
    ours = scores.systems[OURS]
    thirds = {name: np.mean(part) for name, part in group_values(ours, lengths, "f1").items()}
    by_length = ", ".join(f"{mean:.3f} ({words})" for words, mean in thirds.items())
    sentence = f"**`{split}`**: fact F1 from the shortest dialogues to the longest: {by_length}."
    groups = group_values(ours, conditions, "f1")
    large = {name: part for name, part in groups.items() if len(part) >= MIN_GROUP}
    if len(large) < 2:
        return sentence
    means = {name: np.mean(part) for name, part in large.items()}
    ends = [
        f"{end} in {name} ({means[name]:.3f}, {len(large[name])} encounters)"
        for end, name in (
            ("lowest", min(means, key=means.__getitem__)),
            ("highest", max(means, key=means.__getitem__)),
        )
    ]
    return (
        f"{sentence} Among kinds of visit with {MIN_GROUP} encounters or more it is {listed(ends)}."
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
    values = scores.systems[OURS].facts["f1"]
    return (
        "*No note of this data is shown: see `show_text` in 01.* Fact F1 of the best, the median "
        f"and the worst notes: {', '.join(f'{values[place]:.2f}' for place in places.values())}."
    )


def limits(written: Sequence[WrittenNotes], max_new_tokens: int, *, facts_are_known: bool) -> str:
    """What the figures do not say, as a list; `written` are the fine-tuned model's notes."""
    n_notes = sum(len(notes.notes) for notes in written)
    n_unfinished = sum(notes.n_unfinished for notes in written)
    n_cut_dialogues = sum(notes.n_cut_dialogues for notes in written)
    points = []
    if n_unfinished:
        points.append(
            f"{n_unfinished} of {n_notes} notes of the fine-tuned model reached {max_new_tokens} "
            "tokens without an end; they are scored as they are."
        )
    if n_cut_dialogues:
        points.append(
            f"{n_cut_dialogues} of the {n_notes} dialogues were too long for the base and were "
            "read with turns left out in the middle; the server refuses such a dialogue."
        )
    always = phrases()["limits"]
    method = "record" if facts_are_known else "statements"
    points += [always["interval"], always[method], always["read"]]
    return "\n".join(f"- {point}" for point in points)


def took(entry: Mapping[str, Any]) -> str:
    """Time and memory of the step, of its entry in `run.json`."""
    return (
        f"This notebook took {entry['seconds']:.0f} s, {entry['decoding_s']:.0f} s of decoding "
        "(notes taken again count what they once took); its peak memory was "
        f"{entry['peak_memory_gib']:.2f} GiB on `{entry['device']}`."
    )


def first_encounters(same: Mapping[str, SplitScores]) -> str:
    """What the table of the same encounters is, by split."""
    parts = [f"{len(scores.encounters)} of `{split}`" for split, scores in same.items()]
    return f"All systems on the first {listed(parts)}, which every one of them wrote"


def _mean(system: SystemScores, measure: str) -> str:
    return f"{np.mean(system.values(measure)):.3f}"
