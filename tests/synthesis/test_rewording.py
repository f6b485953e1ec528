"""Rewording keeps slots and meaning, and never gives a phrasing reserved for `test_unseen`."""

from __future__ import annotations

import random
import re

from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.cases import CaseSampler
from medisum_utils.synthesis.encounters import generate_one
from medisum_utils.synthesis.rewording import (
    ALTERNATION,
    Rewording,
    expand,
    is_held_out,
    load_frames,
)
from medisum_utils.synthesis.speech import load_bank, phrasings

SLOT = re.compile(r"{(\w+)}")
# Slots for persons are optional; all other slots hold facts.
PEOPLE = {"I", "Ive", "Im", "my", "my_cap", "me", "have", "havent", "dont", "s", "title", "doctor"}
PEOPLE |= {"he", "him", "his", "his_cap"}
EXACT = set(load_bank()["exact"])
WORDS = [f"word{number}" for number in range(200)]


def bank() -> list[tuple[str, str, list[str]]]:
    return [
        (who, key, options)
        for who in ("doctor", "patient")
        for key, options in load_bank()[who].items()
    ]


def fact_slots(phrasing: str) -> list[str]:
    return sorted(slot for slot in SLOT.findall(phrasing) if slot not in PEOPLE)


def test_frames_have_the_slots_of_their_key() -> None:
    n_frames = 0
    for who, key, options in bank():
        common = set.intersection(*(set(fact_slots(option)) for option in options))
        all_slots = set().union(*(fact_slots(option) for option in options))
        for frame in load_frames()[who].get(key, []):
            n_frames += 1
            slots = fact_slots(frame)
            assert len(slots) == len(set(slots)), frame
            assert common <= set(slots) <= all_slots, frame
            inside = " ".join(ALTERNATION.findall(frame))
            assert not fact_slots(inside), frame
            assert not {"[", "]"} & set(ALTERNATION.sub("", frame)), frame
    assert n_frames > 400
    assert all(set(load_frames()[who]) <= set(load_bank()[who]) for who in ("doctor", "patient"))


def test_reworded_phrasings_are_not_held_out() -> None:
    reword, rng = Rewording(WORDS, 0.0, 1.0), random.Random(3)
    n_changed = 0
    for who, key, options in bank():
        held_out = [option.lower().strip(" .?!,") for option in phrasings(options, unseen=True)]
        trained = phrasings(options, unseen=False)
        for _ in range(150):
            phrasing = rng.choice(trained)
            reworded = reword(rng, who, key, phrasing)
            n_changed += reworded != phrasing
            if len(options) >= 4:
                assert reworded.lower().strip(" .?!,") not in held_out, (key, reworded)
    assert n_changed > 10_000
    # The check is needed: frames can produce held-out phrasings.
    spelt = 0
    for who, key, _ in bank():
        for frame in load_frames()[who].get(key, []):
            spelt += sum(is_held_out(who, key, expand(rng, frame)) for _ in range(20))
    assert spelt > 10


def test_every_held_out_phrasing_is_recognised() -> None:
    for who, key, options in bank():
        if len(options) >= 4:
            assert all(is_held_out(who, key, option) for option in phrasings(options, unseen=True))
            assert is_held_out(who, key, phrasings(options, unseen=True)[-1].upper() + "!")


def test_damage_keeps_slots_and_exact_phrasings() -> None:
    reword, rng = Rewording(WORDS, 0.35, 0.0), random.Random(2)
    changed = total = 0
    for who, key, options in bank():
        for phrasing in options:
            damaged = reword(rng, who, key, phrasing)
            assert SLOT.findall(damaged) == SLOT.findall(phrasing)
            assert damaged.strip()
            if key in EXACT:
                assert damaged == phrasing
            changed, total = changed + (damaged != phrasing), total + (key not in EXACT)
    assert 0.5 < changed / total < 1
    assert {key for _, key, _ in bank()} >= EXACT


def test_an_alternation_is_drawn_from_all_its_options() -> None:
    rng = random.Random(1)
    drawn = {expand(rng, "[Any|Is there] {x}[ today|]?") for _ in range(200)}
    assert drawn == {"Any {x} today?", "Any {x}?", "Is there {x} today?", "Is there {x}?"}
    assert expand(rng, "Any {x}?") == "Any {x}?"


def test_a_reworded_encounter_has_the_same_kinds_of_facts_and_turns_that_say_them() -> None:
    sampler, rewording = CaseSampler(load_casebook()), Rewording(WORDS, 0.2, 0.7)
    for number in range(30):
        encounter = generate_one(
            number, seed=4, split="train", sampler=sampler, rewording=rewording
        )
        for fact in encounter.facts:
            assert fact.turns
            assert max(fact.turns) < len(encounter.turns)
            if fact.kind in ("exam", "order", "diagnosis", "referral"):
                spoken_text = " ".join(encounter.turns[turn].text.lower() for turn in fact.turns)
                assert fact.text.lower() in spoken_text
