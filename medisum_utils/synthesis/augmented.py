"""Training encounters with other names in them, so that a note is not written from memory.

A few hundred encounters name the same problems again and again, and a small model would rather
recall than read. So a share of the training encounters is made anew with names from all problems,
with one word changed, or made up (see `invented`). Only training has them: validation and tests
are as the casebook has them, and what is held out of training stays out of these, too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from medisum_utils.encounter import Encounter
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.encounters import GrammarClash, generate_one
from medisum_utils.synthesis.invented import Inventor, casebook_words

EXCHANGED = "exchanged_names"  # key of `Encounter.meta`
SEED = 17  # of all such encounters; the profile's own seed draws their numbers
P_BLENDED = 0.7  # of names from all problems rather than from none


def with_exchanged_names(
    encounters: Sequence[Encounter], share: float, *, seed: int
) -> list[Encounter]:
    """The encounters, about `share` of them made anew under other names, each from its place alone.

    Raises: ValueError for a share that is none, or that leaves no encounter as it was.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"expected a share of exchanged names from 0 to below 1, got {share}")
    if not share:
        return list(encounters)
    inventor = Inventor(load_casebook(), casebook_words(load_casebook()))
    return [
        _exchanged(inventor, one, random.Random(f"{seed}/exchanged/{number}"), share)
        for number, one in enumerate(encounters)
    ]


def _exchanged(
    inventor: Inventor, encounter: Encounter, rng: random.Random, share: float
) -> Encounter:
    if rng.random() >= share:
        return encounter
    while True:
        draw = inventor.blended if rng.random() < P_BLENDED else inventor.sampler
        try:
            made = generate_one(rng.randrange(2**40), seed=SEED, split="train", sampler=draw(rng))
        except GrammarClash:
            continue  # random words can spell a piece of the grammar; draw others
        return replace(made, id=f"{encounter.id}-x", split=encounter.split, meta={EXCHANGED: "yes"})
