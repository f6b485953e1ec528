"""No stretch of a note stands twice in a row, and nothing else is forbidden."""

from __future__ import annotations

import random

import pytest
import torch

from medisum_utils.modelling.stutter import LONGEST, SHORTEST, NoStutter

VOCABULARY = 12


def forbidden(prompt: list[int], note: list[int]) -> set[int]:
    scores = torch.zeros(1, VOCABULARY)
    after = NoStutter(len(prompt))(torch.tensor([prompt + note]), scores)
    assert not scores.any(), "the scores that came in were changed"
    return set(torch.isinf(after[0]).nonzero().flatten().tolist())


def stutters(note: list[int]) -> bool:
    """True where the note ends in a stretch that stands twice in a row: the rule, spelt out."""
    longest = min(LONGEST, len(note) // 2)
    return any(
        note[-n:] == note[-2 * n : -n] for n in range(SHORTEST, longest + 1) if len(note) >= 2 * n
    )


@pytest.mark.parametrize("seed", range(60))
def test_forbids_the_tokens_that_would_repeat_a_stretch_and_no_others(seed):
    rng = random.Random(seed)
    note = [rng.randrange(2) for _ in range(rng.randint(0, 20))]
    assert forbidden([1, 2, 3], note) == {t for t in range(VOCABULARY) if stutters([*note, t])}


def test_a_stretch_of_the_longest_kind_is_still_seen():
    stretch = [i % VOCABULARY if i % 7 else 0 for i in range(LONGEST)]
    assert stretch[-1] in forbidden([], stretch + stretch[:-1])


def test_the_prompt_may_be_repeated():
    assert forbidden([4, 5, 6], [4, 5]) == set()
    assert forbidden([], [4, 5, 6, 4, 5]) == {6}


def test_rows_are_judged_each_by_itself():
    ids = torch.tensor([[4, 5, 6, 4, 5], [4, 5, 6, 4, 7], [1, 1, 1, 1, 1]])
    after = NoStutter(0)(ids, torch.zeros(3, VOCABULARY))
    assert [torch.isinf(row).nonzero().flatten().tolist() for row in after] == [[6], [], [1]]


def test_short_repetitions_are_left():
    assert forbidden([], [3, 3]) == set()
    assert forbidden([], [3, 4, 3]) == set()
