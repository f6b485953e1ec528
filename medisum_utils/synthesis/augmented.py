"""Training encounters with exchanged names, so that the model cannot write notes from memory.

A few hundred encounters repeat the same problems, and a small model would memorise them instead of
reading the dialogue. Therefore some of the training encounters are generated again with names that
are mixed from all problems, changed in one word, or made up (see `invented`). Only the training
data has them: validation and test encounters use the casebook's names, and names that are held out
of training are held out here too.
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
SEED = 17  # of all such encounters; the profile's seed draws their numbers
P_BLENDED = 0.7  # probability of blended names; otherwise all are made up


def with_exchanged_names(
    encounters: Sequence[Encounter], share: float, *, seed: int
) -> list[Encounter]:
    """The encounters, about `share` of them generated again with other names.

    Each depends on its index only.

    Raises: ValueError for a share that is not from 0 to below 1.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"expected a share of exchanged names from 0 to below 1, got {share}")
    if not share:
        return list(encounters)
    inventor = Inventor(load_casebook(), casebook_words(load_casebook()))
    return [
        _exchanged(inventor, encounter, random.Random(f"{seed}/exchanged/{number}"), share)
        for number, encounter in enumerate(encounters)
    ]


def _exchanged(
    inventor: Inventor, encounter: Encounter, rng: random.Random, share: float
) -> Encounter:
    if rng.random() >= share:
        return encounter
    while True:
        draw = inventor.blended if rng.random() < P_BLENDED else inventor.sampler
        try:
            exchanged = generate_one(
                rng.randrange(2**40), seed=SEED, split="train", sampler=draw(rng)
            )
        except GrammarClash:
            continue  # random words can clash with the note's grammar; draw again
        return replace(
            exchanged, id=f"{encounter.id}-x", split=encounter.split, meta={EXCHANGED: "yes"}
        )
