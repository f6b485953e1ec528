"""Forms ask for topics; their answers depend only on the facts of the encounter."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from medisum_utils.encounter import Encounter
from medisum_utils.pretraining.forms import form, items_by_kind, load_tasks, presence
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.soap import HEADERS, LISTS, NONE_LINES

TOPICS = load_tasks()["topics"]


@pytest.fixture(scope="module")
def encounters() -> list[Encounter]:
    return list(generate(60, seed=8, split="train"))


def test_topics_are_the_kinds_that_questions_ask() -> None:
    assert set(TOPICS) == set(load_tasks()["questions"])
    names = Counter(name for names in TOPICS.values() for name in names)
    assert max(names.values()) == 1  # one name, one topic


def test_a_form_is_answered_by_the_facts_in_the_order_asked(encounters: list[Encounter]) -> None:
    kind_of = {name: kind for kind, names in TOPICS.items() for name in names}
    skipped = 0
    for number, encounter in enumerate(encounters):
        items = items_by_kind(encounter)
        asked, answer = form(random.Random(number), encounter)
        first, *rest = asked.split(" | ")
        names = [max((n for n in kind_of if first.endswith(n)), key=len), *rest]
        expected = [
            f"{name} = {'; '.join(items[kind_of[name]])}" for name in names if items[kind_of[name]]
        ]
        assert answer.split("\n") == (expected or ["nothing"])
        skipped += len(names) - len(expected)
    assert skipped > 100


def test_items_hold_every_fact(encounters: list[Encounter]) -> None:
    for encounter in encounters:
        items = items_by_kind(encounter)
        all_items = " ".join(text for texts in items.values() for text in texts)
        for fact in encounter.facts:
            words = fact.value if fact.kind in ("dose", "frequency") else fact.text.split()[-1]
            assert words in all_items
        for kind, texts in items.items():
            assert len(texts) == sum(fact.kind == kind for fact in encounter.facts)


def test_presence_is_yes_only_for_topics_with_facts(encounters: list[Encounter]) -> None:
    names = sorted(
        ((name, kind) for kind, many in TOPICS.items() for name in many),
        key=lambda pair: -len(pair[0]),
    )
    answers = Counter()
    for number, encounter in enumerate(encounters):
        present = {fact.kind for fact in encounter.facts}
        for question, answer in presence(random.Random(number), encounter):
            kind = next(kind for name, kind in names if f" {name}" in question)
            assert (kind in present) == (answer == "yes")
            answers[answer] += 1
    assert min(answers.values()) > 50


def test_no_form_is_worded_as_a_note(encounters: list[Encounter]) -> None:
    written = {*(f"{header}:" for header in HEADERS.values()), "not discussed"}
    written |= {prefix for lists in LISTS.values() for prefix in lists if prefix.endswith(":")}
    written |= {text for text, _ in NONE_LINES.values()}
    for number, encounter in enumerate(encounters):
        rng = random.Random(number)
        text = " ".join(form(rng, encounter))
        assert not [line for line in written if line in text]
