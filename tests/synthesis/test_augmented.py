"""Training encounters under other names: as many as asked, whole, and nothing held out in them."""

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


def test_about_the_share_is_made_anew_and_the_rest_stays(
    plain: list[Encounter], augmented: list[Encounter]
) -> None:
    changed = [EXCHANGED in one.meta for one in augmented]
    assert 20 <= sum(changed) <= 40
    for before, after, is_changed in zip(plain, augmented, changed, strict=True):
        assert (after == before) != is_changed
        assert after.split == "train"
    assert len({one.id for one in augmented}) == len(plain)


def test_a_place_alone_decides_what_stands_there(
    plain: list[Encounter], augmented: list[Encounter]
) -> None:
    assert with_exchanged_names(plain[:7], 0.5, seed=3) == augmented[:7]
    assert with_exchanged_names(plain[:7], 0.5, seed=4) != augmented[:7]
    assert with_exchanged_names(plain, 0.0, seed=3) == plain


def test_what_an_exchanged_encounter_notes_is_said_in_it(augmented: list[Encounter]) -> None:
    exchanged = [one for one in augmented if EXCHANGED in one.meta]
    for one in exchanged:
        assert one.facts
        for fact in one.facts:
            assert fact.turns, (one.id, fact.kind)
            assert max(fact.turns) < len(one.turns)
            if fact.kind in ("medicine", "diagnosis", "exam"):
                said = " ".join(one.turns[turn].text for turn in fact.turns).lower()
                word = max(fact.text.lower().removeprefix("no ").split(), key=len)
                assert word in said, (one.id, fact.kind)


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
    for one in [*augmented, *with_exchanged_names(plain, 0.9, seed=17)]:
        assert not [f for f in one.facts if f.kind == "complaint" and f.text in complaints], one.id
        words = f"{one.dialogue_text} {one.note_text}".lower()
        assert not any(re.search(rf"\b{name}\b", words) for name in medicines), one.id
        history = [f for f in one.facts if f.kind in ("diagnosis", "condition", "family")]
        assert not [f for f in history if any(name in f.text for name in problems)], one.id


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(plain: list[Encounter], share: float) -> None:
    with pytest.raises(
        ValueError, match="expected a share of exchanged names from 0 to below 1, got"
    ):
        with_exchanged_names(plain, share, seed=3)


def test_names_are_random_taken_from_texts_or_known_with_one_word_changed() -> None:
    book = load_casebook()
    inventor = Inventor(book, casebook_words(book), ["zzz yyy xxx www vvv uuu"] * 3)
    rng = random.Random(1)
    phrases = [inventor.phrase(rng) for _ in range(600)]
    from_texts = [
        phrase for phrase in phrases if set(phrase.split()) <= {"zzz", "yyy", "xxx", "www", "vvv"}
    ]
    assert 0.2 < len(from_texts) / len(phrases) < 0.4
    known = {tuple(name.split()) for name in inventor.known}
    longer = [tuple(p.split()) for p in phrases if len(p.split()) > 2]
    one_off = [
        words
        for words in longer
        if any(
            len(name) == len(words) and sum(a != b for a, b in zip(name, words, strict=True)) == 1
            for name in known
        )
    ]
    assert len(one_off) > 40
