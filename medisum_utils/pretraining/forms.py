"""Forms: several topics of a dialogue asked at once, to be answered in order or left out.

Reading one fact on request is not enough to write anything: a writer must also know what was talked
about at all, and pass over the rest in silence. A form asks for topics in a random order, some of
which nobody mentioned; those get no line. Its wording, order and layout are not those of a note.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from medisum_utils.encounter import Encounter, Fact

QA = tuple[str, str]

# Names of the topics, several for each kind, so that none is learnt by heart.
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
# What a fact's text says of its own topic already.
LEADS = ("onset ", "severity ", "quality ", "worse with ", "better with ")


def items_by_kind(encounter: Encounter) -> dict[str, list[str]]:
    """For each kind of `TOPICS` its items in record order, a medicine with dose and frequency."""
    items: dict[str, list[str]] = defaultdict(list)
    for fact, dose, rest in with_doses(encounter.facts):
        items[fact.kind].append(" ".join(part for part in (bare(fact), dose, rest) if part))
    return items


def with_doses(facts: Sequence[Fact]) -> list[tuple[Fact, str, str]]:
    """Each fact with the dose and frequency that belong to it; they stand right behind it."""
    found: list[tuple[Fact, str, str]] = []
    for fact in facts:
        if fact.kind == "dose":
            found[-1] = (found[-1][0], fact.value, "")
        elif fact.kind == "frequency":
            found[-1] = (*found[-1][:2], fact.value)
        else:
            found.append((fact, "", ""))
    return found


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
    asked = f"{rng.choice(ASKS)} {' | '.join(names.values())}"
    return asked, "\n".join(lines) or "nothing"


def topics(rng: random.Random, encounter: Encounter) -> QA:
    """Which of some topics came up, in the order asked: a form without its content."""
    present = {fact.kind for fact in encounter.facts}
    kinds = rng.sample(list(TOPICS), rng.randint(10, len(TOPICS)))
    names = {kind: rng.choice(TOPICS[kind]) for kind in kinds}
    asked = f"{rng.choice(TOPIC_ASKS)} {' | '.join(names.values())}"
    return asked, "; ".join(names[kind] for kind in kinds if kind in present) or "nothing"


def presence(rng: random.Random, encounter: Encounter, n: int = 4) -> list[QA]:
    """Whether a topic has anything to it, asked of `n` topics, about half of them absent."""
    present = {fact.kind for fact in encounter.facts}
    there, missing = [k for k in TOPICS if k in present], [k for k in TOPICS if k not in present]
    drawn = rng.sample(there, min(len(there), n // 2)) + rng.sample(
        missing, min(len(missing), n - n // 2)
    )
    ask = ("Anything on {x}?", "Does the talk tell of {x}?", "Is {x} known from this?")
    return [
        (rng.choice(ask).format(x=rng.choice(TOPICS[kind])), "yes" if kind in present else "no")
        for kind in drawn
    ]
