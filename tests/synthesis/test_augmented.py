"""Training encounters with exchanged names: the right share, consistent, nothing held out."""

from __future__ import annotations

import random
import re

import pytest

from medisum_utils.encounter import Encounter
from medisum_utils.synthesis.augmented import EXCHANGED, with_exchanged_names
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.invented import Inventor, casebook_words


@pytest.fixture(scope="module")
def plain() -> list[Encounter]:
    return list(generate(60, seed=3, split="train"))


@pytest.fixture(scope="module")
def augmented(plain: list[Encounter]) -> list[Encounter]:
    return with_exchanged_names(plain, 0.5, seed=3)


def test_about_the_share_is_exchanged_and_the_rest_stays(
    plain: list[Encounter], augmented: list[Encounter]
) -> None:
    changed = [EXCHANGED in encounter.meta for encounter in augmented]
    assert 20 <= sum(changed) <= 40
    for before, after, is_changed in zip(plain, augmented, changed, strict=True):
        assert (after == before) != is_changed
        assert after.split == "train"
    assert len({encounter.id for encounter in augmented}) == len(plain)


def test_an_encounter_depends_on_its_index_only(
    plain: list[Encounter], augmented: list[Encounter]
) -> None:
    assert with_exchanged_names(plain[:7], 0.5, seed=3) == augmented[:7]
    assert with_exchanged_names(plain[:7], 0.5, seed=4) != augmented[:7]
    assert with_exchanged_names(plain, 0.0, seed=3) == plain


def test_the_dialogue_of_an_exchanged_encounter_states_its_facts(
    augmented: list[Encounter],
) -> None:
    exchanged = [encounter for encounter in augmented if EXCHANGED in encounter.meta]
    for encounter in exchanged:
        assert encounter.facts
        for fact in encounter.facts:
            assert fact.turns, (encounter.id, fact.kind)
            assert max(fact.turns) < len(encounter.turns)
            if fact.kind in ("medicine", "diagnosis", "exam"):
                spoken_text = " ".join(encounter.turns[turn].text for turn in fact.turns).lower()
                word = max(fact.text.lower().removeprefix("no ").split(), key=len)
                assert word in spoken_text, (encounter.id, fact.kind)


def test_no_medicine_and_no_complaint_is_a_held_out_one(augmented: list[Encounter]) -> None:
    book = load_casebook()
    shown = {p.complaint.term for p in book.problems if not p.held_out}
    complaints = {p.complaint.term for p in book.problems if p.held_out} - shown
    medicines = {m.name for m in book.medicines.values() if m.held_out}
    problems = {p.name for p in book.problems if p.held_out}
    assert complaints
    assert medicines
    assert problems
    plain = list(generate(240, seed=17, split="train"))
    for encounter in [*augmented, *with_exchanged_names(plain, 0.9, seed=17)]:
        assert not [f for f in encounter.facts if f.kind == "complaint" and f.text in complaints], (
            encounter.id
        )
        words = f"{encounter.dialogue_text} {encounter.note_text}".lower()
        assert not any(re.search(rf"\b{name}\b", words) for name in medicines), encounter.id
        history = [f for f in encounter.facts if f.kind in ("diagnosis", "condition", "family")]
        assert not [f for f in history if any(name in f.text for name in problems)], encounter.id


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(plain: list[Encounter], share: float) -> None:
    with pytest.raises(
        ValueError, match="expected a share of exchanged names from 0 to below 1, got"
    ):
        with_exchanged_names(plain, share, seed=3)


def test_names_are_random_from_texts_or_real_with_one_word_changed() -> None:
    book = load_casebook()
    inventor = Inventor(book, casebook_words(book), ["zzz yyy xxx www vvv uuu"] * 3)
    rng = random.Random(1)
    phrases = [inventor.phrase(rng) for _ in range(600)]
    from_texts = [
        phrase for phrase in phrases if set(phrase.split()) <= {"zzz", "yyy", "xxx", "www", "vvv"}
    ]
    assert 0.2 < len(from_texts) / len(phrases) < 0.4
    real_names = {tuple(name.split()) for name in inventor.casebook_names}
    longer = [tuple(p.split()) for p in phrases if len(p.split()) > 2]
    one_off = [
        words
        for words in longer
        if any(
            len(name) == len(words) and sum(a != b for a, b in zip(name, words, strict=True)) == 1
            for name in real_names
        )
    ]
    assert len(one_off) > 40
