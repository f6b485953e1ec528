"""A visit as a training document: a dialogue, or a part of one, and several tasks about it.

The tasks are sheets (`sheets`), forms (`forms`) and questions (`reading`), never a note. They all
share one reading of the dialogue, which makes the document cheap.
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
MOST_QUESTIONS = 22  # with more, a dialogue would not fit into one row
# Kinds of facts that refer to the fact directly before them in the record.
LEANING = ("dose", "frequency", "status", "laterality")
P_EXCERPT = 0.25  # that a visit uses only a part of its dialogue
P_SYSTEM = 0.6  # that the first task precedes the dialogue, as a note's instruction does


def visit_document(
    rng: random.Random, encounter: Encounter, task: str, *, weight: float
) -> list[Piece]:
    """A dialogue with a task of `recipe.TASKS`; `weight` is the loss weight of the dialogue."""
    if task == "questions":
        pairs = questions(rng, encounter)[:MOST_QUESTIONS]
    elif task == "sheet":
        pairs = [ask_sheet(rng, style, encounter) for style in rng.sample(styles(), 2)]
    else:
        if rng.random() < P_EXCERPT:
            encounter = excerpt(rng, encounter)
        pairs = _all_tasks(rng, encounter)
    return task_document(rng, encounter.dialogue_text, pairs, weight=weight)


def _all_tasks(rng: random.Random, encounter: Encounter) -> list[QA]:
    """Three sheets, a form, topics and some questions; usually a sheet comes first.

    This is more than a row of 1,536 tokens holds: most visits are cut off at its end, which loses
    about a third of the answers.
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
    """A passage with tasks; the first is the system message or follows the passage."""
    if rng.random() >= P_SYSTEM:
        return as_document(passage, list(pairs), weight=weight, chat=rng.random() < 0.7)
    (first_question, answer), *rest = pairs
    pieces = [(f"{SYSTEM}{first_question}<|eot_id|>{USER}", 0.0), (passage, weight)]
    pieces += [(f"<|eot_id|>{ASSISTANT}", 0.0), (f"{answer}<|eot_id|>", 1.0)]
    for question, answer in rest:
        pieces.append((f"{USER}{question}<|eot_id|>{ASSISTANT}", 0.0))
        pieces.append((f"{answer}<|eot_id|>", 1.0))
    return pieces


def excerpt(rng: random.Random, encounter: Encounter) -> Encounter:
    """A part of a dialogue, from one turn of the doctor to another, with the facts it states.

    Facts without turns in this part are left out; a dose is kept only with its medicine, the course
    of an illness only with its name.
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
