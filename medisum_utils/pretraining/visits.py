"""A visit as a training document: one dialogue, whole or in part, and several tasks about it.

The tasks are sheets (`sheets`), forms (`forms`) and questions (`reading`), never a note. The
dialogue is read once for all of them, which is what makes a document of tasks cheap.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from medisum_utils.encounter import Encounter
from medisum_utils.pretraining.forms import QA, form, topics
from medisum_utils.pretraining.reading import ASSISTANT, USER, Piece, as_document, questions
from medisum_utils.pretraining.sheets import ask_sheet, styles

SYSTEM = "<|start_header_id|>system<|end_header_id|>\n\n"
MOST_QUESTIONS = 22  # with more of them, a dialogue would not fit into one row
# Kinds of facts that name another one, which stands right before them in the record.
LEANING = ("dose", "frequency", "status", "laterality")
P_EXCERPT = 0.25  # of visits being a part of a dialogue alone
P_SYSTEM = 0.6  # of the first task standing before the dialogue, as the instruction of a note does


def visit_document(
    rng: random.Random, encounter: Encounter, task: str, *, weight: float
) -> list[Piece]:
    """A dialogue with a task of `recipe.TASKS`; `weight` is that of the dialogue's own words."""
    if task == "questions":
        return task_document(
            rng, encounter.dialogue_text, questions(rng, encounter)[:MOST_QUESTIONS], weight=weight
        )
    if task == "form":
        pairs = [form(rng, encounter) for _ in range(2)]
    elif task == "sheet":
        pairs = [ask_sheet(rng, style, encounter) for style in rng.sample(styles(), 2)]
    else:
        if rng.random() < P_EXCERPT:
            encounter = excerpt(rng, encounter)
        pairs = _all_tasks(rng, encounter)
    return task_document(rng, encounter.dialogue_text, pairs, weight=weight)


def _all_tasks(rng: random.Random, encounter: Encounter) -> list[QA]:
    """Three sheets, a form, topics and some questions; a sheet comes first more often than not.

    That is more than a row of 1,536 tokens holds: most visits are cut at its end, and about a third
    of the answers with it.
    """
    first, *others = (ask_sheet(rng, style, encounter) for style in rng.sample(styles(), 3))
    rest = [form(rng, encounter), *others, topics(rng, encounter), *questions(rng, encounter)[:8]]
    if rng.random() < 0.3:
        first, rest[0] = rest[0], first
    rng.shuffle(rest)
    return [first, *rest]


def task_document(
    rng: random.Random, passage: str, pairs: Sequence[QA], *, weight: float
) -> list[Piece]:
    """A passage with tasks, the first of them as system message or behind the passage."""
    if rng.random() >= P_SYSTEM:
        return as_document(passage, list(pairs), weight=weight, chat=rng.random() < 0.7)
    (asked, answer), *rest = pairs
    pieces = [(f"{SYSTEM}{asked}<|eot_id|>{USER}", 0.0), (passage, weight)]
    pieces += [(f"<|eot_id|>{ASSISTANT}", 0.0), (f"{answer}<|eot_id|>", 1.0)]
    for question, answer in rest:
        pieces.append((f"{USER}{question}<|eot_id|>{ASSISTANT}", 0.0))
        pieces.append((f"{answer}<|eot_id|>", 1.0))
    return pieces


def excerpt(rng: random.Random, encounter: Encounter) -> Encounter:
    """A stretch of a dialogue, from one turn of the doctor to another, with the facts it says.

    Facts without turns in the stretch are left out; a dose goes with its medicine, and the course
    of an illness with its name.
    """
    starts = [i for i, turn in enumerate(encounter.turns) if turn.speaker == "doctor"]
    start = rng.choice(starts)
    ends = [i for i in starts if start + 3 < i <= start + 24] or [len(encounter.turns)]
    end = rng.choice(ends)
    kept, owner_kept = [], False
    for fact in encounter.facts:
        inside = tuple(turn - start for turn in fact.turns if start <= turn < end)
        if fact.kind not in LEANING:
            owner_kept = bool(inside)
        if inside and owner_kept:
            kept.append(replace(fact, turns=inside))
    return replace(encounter, turns=encounter.turns[start:end], facts=tuple(kept), note=())
