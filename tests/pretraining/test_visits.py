"""Visits: one dialogue, several tasks; excerpts keep exactly the facts that they state."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.pretraining.forms import load_tasks, topics
from medisum_utils.pretraining.reading import ASSISTANT, USER
from medisum_utils.pretraining.recipe import TASKS
from medisum_utils.pretraining.sheets import sheet, styles
from medisum_utils.pretraining.visits import SYSTEM, excerpt, task_document, visit_document
from medisum_utils.synthesis.encounters import generate

TOPICS = load_tasks()["topics"]


@pytest.fixture(scope="module")
def encounters() -> list[Encounter]:
    return list(generate(60, seed=12, split="train"))


def test_an_excerpt_is_a_part_with_the_facts_it_states(encounters: list[Encounter]) -> None:
    shorter = 0
    for number, encounter in enumerate(encounters):
        part = excerpt(random.Random(number), encounter)
        assert part.dialogue_text in encounter.dialogue_text
        assert part.turns[0].speaker == "doctor"
        assert part.note == ()
        start = next(
            i
            for i in range(len(encounter.turns))
            if encounter.turns[i : i + len(part.turns)] == part.turns
        )
        places = range(start, start + len(part.turns))
        assert all(turn in range(len(part.turns)) for fact in part.facts for turn in fact.turns)
        assert all(fact.turns for fact in part.facts)
        kinds = {fact.kind for fact in part.facts}
        assert "laterality" not in kinds or "complaint" in kinds
        owners = {fact.text for fact in part.facts}
        for fact in part.facts:
            if fact.kind in ("dose", "frequency"):
                assert fact.text.removesuffix(fact.value).strip() in owners
        missing = [
            fact
            for fact in encounter.facts
            if all(turn in places for turn in fact.turns)
            and (fact.kind, fact.text) not in {(f.kind, f.text) for f in part.facts}
        ]
        assert {fact.kind for fact in missing} <= {"dose", "frequency", "status", "laterality"}
        shorter += len(part.facts) < len(encounter.facts)
        for style in styles()[:20]:
            assert sheet(style, part)
    assert shorter > 40


@pytest.mark.parametrize("task", TASKS)
def test_a_visit_never_has_its_note(encounters: list[Encounter], task: str) -> None:
    systems = 0
    for number, encounter in enumerate(encounters):
        pieces = visit_document(random.Random(number), encounter, task, weight=0.2)
        text = "".join(piece for piece, _ in pieces)
        assert encounter.note_text not in text
        assert not any(line in text for line in encounter.note_text.split("\n") if len(line) > 30)
        systems += text.startswith(SYSTEM)
        answers = [
            (said, weight)
            for (before, _), (said, weight) in zip(pieces, pieces[1:], strict=False)
            if before.endswith((ASSISTANT, "Answer:"))
        ]
        assert len(answers) > 1
        assert {weight for _, weight in answers} == {1.0}
    assert 0.4 * len(encounters) < systems < 0.8 * len(encounters)


def test_the_first_task_is_in_the_place_of_an_instruction(encounters: list[Encounter]) -> None:
    """It equals, token for token, the prompt that the renderer makes for fine-tuning."""
    from medisum_utils.modelling.model import load_tokenizer
    from medisum_utils.pretraining.tokens import CachedEncoder

    tokenizer = load_tokenizer("models/medisum-tiny-base")
    renderer, encoder = Renderer(tokenizer, "Fill in the sheet."), CachedEncoder(tokenizer)
    rng = random.Random(0)
    passage = encounters[0].dialogue_text
    pairs = [("Fill in the sheet.", "a = b"), ("And this?", "no")]
    pieces = next(
        made
        for made in (task_document(rng, passage, pairs, weight=0.5) for _ in range(100))
        if made[0][0].startswith(SYSTEM)
    )
    ids = [tokenizer.bos_token_id, *(i for text, _ in pieces for i in encoder.encode(text))]
    prompt = renderer.prompt_ids(passage)
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) :][: len(renderer.completion_ids("a = b"))] == renderer.completion_ids(
        "a = b"
    )
    assert "".join(text for text, _ in pieces).endswith(
        f"{USER}And this?<|eot_id|>{ASSISTANT}no<|eot_id|>"
    )


def test_topics_that_came_up_are_named_in_the_order_asked(encounters: list[Encounter]) -> None:
    kind_of = {name: kind for kind, names in TOPICS.items() for name in names}
    counts = Counter()
    for number, encounter in enumerate(encounters):
        present = {fact.kind for fact in encounter.facts}
        asked, answer = topics(random.Random(number), encounter)
        first, *rest = asked.split(" | ")
        names = [max((n for n in kind_of if first.endswith(n)), key=len), *rest]
        expected = [name for name in names if kind_of[name] in present]
        assert answer == ("; ".join(expected) or "nothing")
        counts.update(kind_of[name] in present for name in names)
    assert min(counts.values()) > 200
