"""Restoring: the answer is the original text, the question a noisy version of it."""

from __future__ import annotations

import random
import re

from medisum_utils.pretraining.restoring import restore_document, restoring_task
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.speech import phrasings

TEXT = (
    "The patient is a 58-year-old man with a swollen knee. He denies fever. He has taken 2 tablets "
    "of ibuprofen, which helped his pain. She will return in 14 days, but not sooner."
)
TALK = ("Okay.", "I see.")


def test_the_answer_is_a_stretch_of_the_text() -> None:
    lengths = set()
    for seed in range(200):
        noisy, (asked, answer) = restoring_task(random.Random(seed), TEXT, TALK)
        assert answer in TEXT
        assert noisy
        assert asked
        lengths.add(len(answer))
    assert len(lengths) > 4


def test_words_are_dropped_spelled_out_and_put_into_the_first_person() -> None:
    noisy = [restoring_task(random.Random(seed), TEXT, TALK)[0] for seed in range(300)]
    joined = " ".join(noisy).lower()
    assert "fifty eight" in joined
    assert " my pain" in joined
    assert "patient: " in joined
    assert any("Okay." in each for each in noisy)
    # Only remarks, labels, spelled-out numbers and the first person are added.
    known = set(TEXT.lower().replace("-", " ").split())
    known |= {
        "okay.",
        "i",
        "see.",
        "me",
        "my",
        "am",
        "have",
        "no",
        "two",
        "fourteen",
        "fifty",
        "eight",
    }
    labels = {"doctor:", "patient:", "a:", "b:"}
    assert set(joined.replace("-", " ").split()) <= known | labels


def test_no_remark_reserved_for_test_unseen_is_mixed_in() -> None:
    remarks = load_casebook().common["acks"]
    kept, free = (phrasings(remarks, unseen=unseen) for unseen in (True, False))
    said = "".join(
        piece
        for seed in range(400)
        for piece, _ in restore_document(random.Random(seed), lambda rng: TEXT)
    )
    assert kept
    assert sum(remark in said for remark in free) > 10
    lines = {line.partition(": ")[2] or line for line in re.split(r"\n|<\|.*?\|>", said)}
    assert not lines & set(kept)


def test_a_text_without_a_usable_sentence_is_passed_over() -> None:
    assert restoring_task(random.Random(1), "Yes.", TALK) is None
    texts = iter(["No.", "Rash.", TEXT])
    pieces = restore_document(random.Random(2), lambda rng: next(texts))
    assert next(texts, None) is None
    assert any(
        text.removesuffix("<|eot_id|>").strip() in TEXT for text, weight in pieces if weight == 1.0
    )
