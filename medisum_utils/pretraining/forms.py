"""Forms: ask for several topics of a dialogue at once, answered in order or left out.

Reading one fact on request is not enough to write a note: a writer must also recognise which topics
came up and leave out the others. A form asks for topics in random order; those that nobody
mentioned get no line. Its wording, order and layout differ from a note's.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.synthesis.casebook import read_yaml
from medisum_utils.synthesis.soap import COURSE

QA = tuple[str, str]


@lru_cache(maxsize=1)
def load_tasks() -> dict:
    """Reads the wording of all tasks once."""
    return read_yaml(Path(__file__).with_name("tasks.yaml"))


def with_doses(facts: Sequence[Fact]) -> list[tuple[Fact, str, str]]:
    """Each fact with its dose and frequency, which directly follow it in the record."""
    with_dose: list[tuple[Fact, str, str]] = []
    for fact in facts:
        if fact.kind == "dose":
            with_dose[-1] = (with_dose[-1][0], fact.value, "")
        elif fact.kind == "frequency":
            with_dose[-1] = (*with_dose[-1][:2], fact.value)
        else:
            with_dose.append((fact, "", ""))
    return with_dose


def bare(fact: Fact) -> str:
    """A fact's text without the words that name its topic."""
    lead = next((lead for lead in COURSE if fact.text.startswith(lead)), "")
    return fact.text.removeprefix(lead)


def items_by_kind(encounter: Encounter) -> dict[str, list[str]]:
    """The items of each kind in record order; a medicine includes its dose and frequency."""
    items: dict[str, list[str]] = defaultdict(list)
    for fact, dose, rest in with_doses(encounter.facts):
        items[fact.kind].append(" ".join(part for part in (bare(fact), dose, rest) if part))
    return items


def form(rng: random.Random, encounter: Encounter) -> QA:
    """Topics in a random order, answered line by line; a topic without a fact gets no line."""
    items = items_by_kind(encounter)
    names = _names(rng, at_least=6)
    lines = [f"{name} = {'; '.join(items[kind])}" for kind, name in names.items() if items[kind]]
    return _ask(rng, "form_asks", names), "\n".join(lines) or "nothing"


def topics(rng: random.Random, encounter: Encounter) -> QA:
    """Which of some topics came up, in the order asked: a form without content."""
    present = {fact.kind for fact in encounter.facts}
    names = _names(rng, at_least=10)
    came_up = [name for kind, name in names.items() if kind in present]
    return _ask(rng, "topic_asks", names), "; ".join(came_up) or "nothing"


def _names(rng: random.Random, *, at_least: int) -> dict[str, str]:
    """Some topics in random order, each with one of its names."""
    options = load_tasks()["topics"]
    kinds = rng.sample(list(options), rng.randint(at_least, len(options)))
    return {kind: rng.choice(options[kind]) for kind in kinds}


def _ask(rng: random.Random, asks: str, names: dict[str, str]) -> str:
    return f"{rng.choice(load_tasks()[asks])} {' | '.join(names.values())}"


def presence(rng: random.Random, encounter: Encounter) -> list[QA]:
    """Yes-or-no questions whether a topic came up, for two that did and two that did not."""
    present = {fact.kind for fact in encounter.facts}
    options = load_tasks()["topics"]
    pairs = []
    for answer in ("yes", "no"):
        kinds = [kind for kind in options if (kind in present) == (answer == "yes")]
        pairs += [(kind, answer) for kind in rng.sample(kinds, min(len(kinds), 2))]
    asks = load_tasks()["presence_asks"]
    return [
        (rng.choice(asks).format(x=rng.choice(options[kind])), answer) for kind, answer in pairs
    ]
