"""Generates synthetic encounters: a case, a dialogue about it, and its note.

The same seed and number always give the same encounter, regardless of earlier draws.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.synthesis import background, interview, visit
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.cases import CaseSampler
from medisum_utils.synthesis.dialogue import Key, Script
from medisum_utils.synthesis.soap import NONE_LINES, read_facts, write_note
from medisum_utils.synthesis.speech import Reworder

MIN_TURNS, MAX_TURNS = 12, 60
OPEN_SPLITS = ("train", "valid")
TEST_SPLITS = ("test", "test_unseen")
SPLITS = OPEN_SPLITS + TEST_SPLITS
UNANSWERABLE = ("severity", "better", "worse", "allergies", "family", "surgeries")


class GrammarClash(ValueError):
    """A case whose words the note's grammar misreads; only made-up words can cause this."""


def _interview_topics(script: Script) -> list:
    """The topics of the interview as callables, in this visit's order."""
    case, rng = script.case, script.rng
    course = ("age", "severity", "onset", "character", "worse", "better")
    first = [getattr(interview, name) for name in course if getattr(case, name)]
    first += script.open_topics
    second = [background.social] if case.social else []
    for topic in NONE_LINES:
        if topic in case.denied_topics:
            second.append(lambda script, topic=topic: background.denied_topic(script, topic))
        elif getattr(case, topic):
            second.append(getattr(background, topic))
    unasked = [t for t in UNANSWERABLE if not getattr(case, t) and t not in case.denied_topics]
    if unasked and rng.random() < 0.35:
        topic = rng.choice(unasked)
        second.append(lambda script: script.unanswered(f"ask_{topic}"))
    rng.shuffle(first)
    rng.shuffle(second)
    first.insert(rng.randint(0, len(first)), interview.symptoms)
    return first + second


def _converse(script: Script) -> None:
    interview.greeting(script)
    for topic in _interview_topics(script):
        if script.rng.random() < script.voices.p_chat:
            script.chat()
        topic(script)
    if script.rng.random() < 0.3:
        script.chat()
    stages = [visit.examination, visit.results, visit.assessment, visit.plan]
    # A correction may come at any later stage, at the latest just before the goodbye.
    when = script.rng.randint(0, len(stages))
    for number, stage in enumerate(stages):
        if number == when:
            _correct(script)
        stage(script)
    _correct(script)
    visit.closing(script)


def _correct(script: Script) -> None:
    while script.corrections:
        script.corrections.pop()()


def _facts_with_turns(note_text: str, turns_of_fact: dict[Key, tuple]) -> tuple[Fact, ...]:
    facts = read_facts(note_text)
    disputed = turns_of_fact.keys() ^ {(fact.kind, fact.text) for fact in facts}
    if disputed:
        raise GrammarClash(f"expected note and dialogue to agree, one alone states {disputed}")
    return tuple(replace(fact, turns=turns_of_fact[fact.kind, fact.text]) for fact in facts)


def speak(script: Script, *, id: str, split: str) -> Encounter | None:
    """The encounter of a script's case; None if the dialogue is too short or too long."""
    _converse(script)
    if not MIN_TURNS <= len(script.lines) <= MAX_TURNS:
        return None
    script.settle_order()
    case, (turns, turns_of_fact) = script.case, script.turns()
    encounter = Encounter(
        id=id,
        source="synthetic",
        split=split,
        turns=turns,
        note=write_note(case),
        meta={"problem": case.problem.name, "speciality": case.problem.speciality},
    )
    return replace(encounter, facts=_facts_with_turns(encounter.note_text, turns_of_fact))


def generate_one(
    number: int,
    *,
    seed: int,
    split: str,
    sampler: CaseSampler,
    rewording: Reworder | None = None,
) -> Encounter:
    """Generates encounter `number` of train or valid.

    `rewording` changes phrasings before their slots are filled, see `rewording.Rewording`.

    Raises: ValueError for a split that is not one of `OPEN_SPLITS`.
    """
    _check_split(split, OPEN_SPLITS)
    return _make(number, seed, split, sampler, rewording)


def generate(n: int, *, seed: int, split: str) -> Iterator[Encounter]:
    """`n` encounters for training or validation.

    Raises: ValueError for a split that is not one of `OPEN_SPLITS`; see `generate_tests`.
    """
    return _make_all(n, seed, split, OPEN_SPLITS)


def generate_tests(n: int, *, seed: int, split: str) -> Iterator[Encounter]:
    """`n` encounters of a test split; only `data.sources`, which serves 01, calls this.

    Trials and tuning use validation data only; a test checks all other modules and notebooks.

    Raises: ValueError for a split that is not one of `TEST_SPLITS`.
    """
    return _make_all(n, seed, split, TEST_SPLITS)


def _check_split(split: str, allowed: tuple[str, ...]) -> None:
    if split not in allowed:
        why = "; tests are drawn for 01_data alone" if split in TEST_SPLITS else ""
        raise ValueError(f"expected a split of {allowed}, got {split!r}{why}")


def _make_all(n: int, seed: int, split: str, allowed: tuple[str, ...]) -> Iterator[Encounter]:
    _check_split(split, allowed)
    sampler = CaseSampler(load_casebook(), held_out=split == "test_unseen")
    return (_make(number, seed, split, sampler) for number in range(n))


def _make(
    number: int, seed: int, split: str, sampler: CaseSampler, rewording: Reworder | None = None
) -> Encounter:
    rng = random.Random(f"{seed}/{split}/{number}")
    unseen = split == "test_unseen"
    while True:
        case = sampler.draw(rng)
        script = Script(rng, case, sampler.book, unseen=unseen, rewording=rewording)
        encounter = speak(script, id=f"{split}-{seed}-{number:06d}", split=split)
        if encounter is not None:
            return encounter
