"""Forms: ask for several topics of a dialogue at once, answered in order or left out.

Reading one fact on request is not enough to write a note: a writer must also recognise which topics
came up and leave out the others. A form asks for topics in random order; those that nobody
mentioned get no line. Its wording, order and layout differ from a note's.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from medisum_utils.encounter import Encounter, Fact

QA = tuple[str, str]

# Several names for each topic, so that none is memorised.
TOPICS = {
    "age": ("age", "years of age", "how old"),
    "sex": ("sex", "who it is", "man or woman"),
    "complaint": ("main complaint", "chief concern", "reason for coming"),
    "laterality": ("side", "affected side", "left or right"),
    "duration": ("duration", "how long", "time since it began"),
    "onset": ("onset", "how it began", "manner of start"),
    "severity": ("severity", "how bad", "rating out of ten"),
    "quality": ("quality", "how it feels", "character"),
    "worse": ("what aggravates", "triggers", "made worse by"),
    "better": ("what relieves", "relief", "made better by"),
    "symptom": ("symptoms present", "reported symptoms", "complaints beside the main one"),
    "denial": ("denied", "what is absent", "negatives"),
    "condition": ("known conditions", "medical history", "earlier diagnoses"),
    "surgery": ("operations", "surgical history", "past surgery"),
    "medicine": ("current medicines", "drugs taken now", "home medication"),
    "allergy": ("allergies", "allergic to", "intolerances"),
    "family": ("family history", "relatives' illnesses", "what runs in the family"),
    "social": ("habits", "way of life", "social history"),
    "vital": ("vital signs", "measurements", "vitals taken"),
    "exam": ("examination", "physical findings", "what the doctor found"),
    "result": ("test results", "what came back", "results"),
    "diagnosis": ("diagnosis", "impression", "what it is"),
    "status": ("course of illness", "state of each illness", "how each is doing"),
    "start": ("new medicines", "prescribed today", "drugs begun"),
    "change": ("adjusted medicines", "new doses of old drugs", "dose changes"),
    "stop": ("stopped medicines", "drugs to leave off", "discontinued"),
    "continue": ("medicines kept", "drugs that go on", "unchanged medicines"),
    "order": ("tests ordered", "work-up", "tests to be done"),
    "referral": ("referral", "sent to", "other doctors to see"),
    "advice": ("advice", "instructions", "what to do at home"),
    "follow_up": ("next visit", "time of return", "back in"),
    "precaution": ("warning signs", "reasons to come sooner", "red flags"),
}
ASKS = (
    "Fill in what was said and leave out the rest.",
    "Answer each topic that came up; skip those that did not.",
    "Go through these topics and give only what the talk contains.",
)
TOPIC_ASKS = (
    "Which of these came up?",
    "Name the topics that were talked about.",
    "Pick out what the talk has.",
)
# The words in a fact's text that name its topic.
LEADS = ("onset ", "severity ", "quality ", "worse with ", "better with ")


def items_by_kind(encounter: Encounter) -> dict[str, list[str]]:
    """The items of each kind in record order; a medicine includes its dose and frequency."""
    items: dict[str, list[str]] = defaultdict(list)
    for fact, dose, rest in with_doses(encounter.facts):
        items[fact.kind].append(" ".join(part for part in (bare(fact), dose, rest) if part))
    return items


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
    for lead in LEADS:
        if fact.text.startswith(lead):
            return fact.text.removeprefix(lead)
    return fact.text


def form(rng: random.Random, encounter: Encounter) -> QA:
    """Topics in a random order, answered line by line; a topic without a fact gets no line."""
    items = items_by_kind(encounter)
    kinds = rng.sample(list(TOPICS), rng.randint(6, len(TOPICS)))
    names = {kind: rng.choice(TOPICS[kind]) for kind in kinds}
    lines = [f"{names[kind]} = {'; '.join(items[kind])}" for kind in kinds if items[kind]]
    question = f"{rng.choice(ASKS)} {' | '.join(names.values())}"
    return question, "\n".join(lines) or "nothing"


def topics(rng: random.Random, encounter: Encounter) -> QA:
    """Which of some topics came up, in the order asked: a form without content."""
    present = {fact.kind for fact in encounter.facts}
    kinds = rng.sample(list(TOPICS), rng.randint(10, len(TOPICS)))
    names = {kind: rng.choice(TOPICS[kind]) for kind in kinds}
    question = f"{rng.choice(TOPIC_ASKS)} {' | '.join(names.values())}"
    return question, "; ".join(names[kind] for kind in kinds if kind in present) or "nothing"


def presence(rng: random.Random, encounter: Encounter, n: int = 4) -> list[QA]:
    """Yes-or-no questions whether a topic came up, for `n` topics, about half of them absent."""
    present = {fact.kind for fact in encounter.facts}
    mentioned, missing = (
        [k for k in TOPICS if k in present],
        [k for k in TOPICS if k not in present],
    )
    drawn = rng.sample(mentioned, min(len(mentioned), n // 2)) + rng.sample(
        missing, min(len(missing), n - n // 2)
    )
    ask = ("Anything on {x}?", "Does the talk tell of {x}?", "Is {x} known from this?")
    return [
        (rng.choice(ask).format(x=rng.choice(TOPICS[kind])), "yes" if kind in present else "no")
        for kind in drawn
    ]
