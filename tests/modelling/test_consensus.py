"""Draws follow the model's probabilities and no batch; the consensus is what the others support."""

from __future__ import annotations

import pytest
import torch

from medisum_utils.modelling.consensus import DrawnTokens, most_agreed
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.scoring.rouge import rouge_scores


def test_the_consensus_has_the_highest_mean_score_against_the_others():
    candidates = [
        "denies pain",
        "reports knee pain since monday",
        "reports knee pain since friday",
        "knee pain since monday",
        "",
    ]

    def mean_score(number: int) -> float:
        others = [text for at, text in enumerate(candidates) if at != number]
        scores = rouge_scores(others, [candidates[number]] * len(others))
        return sum(scores["rouge1"]) + sum(scores["rouge2"])

    best = max(range(len(candidates)), key=mean_score)
    assert most_agreed(candidates) == best == 1
    assert most_agreed(["only one"]) == 0
    assert most_agreed(["same", "same"]) == 0
    with pytest.raises(ValueError, match="got none"):
        most_agreed([])


def drawn(scores: torch.Tensor, prompts: list[list[int]], **settings) -> list[int]:
    decoding = Decoding(1, **{"temperature": 1.0, "min_p": 0.0} | settings)
    processor = DrawnTokens(prompts, decoding)
    return processor(torch.zeros(len(prompts), 1), scores).argmax(dim=-1).tolist()


def test_tokens_are_drawn_with_the_models_probabilities():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    n = 4000
    for temperature in (1.0, 0.5):
        tokens = drawn(
            probabilities.log().expand(n, 4),
            [[number] for number in range(n)],
            temperature=temperature,
            n_candidates=1,
        )
        expected = probabilities ** (1 / temperature)
        expected /= expected.sum()
        shares = torch.bincount(torch.tensor(tokens), minlength=4) / n
        # Four standard errors of a share; seeds are fixed by the prompts.
        assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_unlikely_tokens_are_never_drawn():
    probabilities = torch.tensor([0.6, 0.37, 0.03])
    prompts = [[number] for number in range(500)]
    tokens = drawn(probabilities.log().expand(500, 3), prompts, min_p=0.1, n_candidates=1)
    assert set(tokens) == {0, 1}
    assert 2 in drawn(probabilities.log().expand(500, 3), prompts, n_candidates=1)


def test_a_draw_depends_on_prompt_and_candidate_and_on_nothing_else():
    scores = torch.zeros(6, 1000)
    together = drawn(scores, [[1, 2]] * 3 + [[3]] * 3, n_candidates=3)
    assert together[3:] == drawn(scores[:3], [[3]] * 3, n_candidates=3)
    assert len(set(together)) == 6  # no candidate is another's double


def test_rows_that_are_left_out_draw_nothing_and_change_no_other():
    prompts, decoding = [[1, 2]] * 3 + [[3]] * 3, Decoding(1, n_candidates=3, min_p=0.0)
    whole, part = DrawnTokens(prompts, decoding), DrawnTokens(prompts, decoding)
    ids, scores = torch.zeros(6, 1), torch.zeros(6, 1000)
    assert torch.equal(whole(ids, scores), part(ids, scores))
    part.rows = [4, 1]
    later = whole(ids, scores)
    assert torch.equal(part(ids[:2], scores[:2]), later[[4, 1]])
    part.rows = [1, 3]  # 3 was left out once: it goes on where it was
    assert torch.equal(part(ids[:2], scores[:2])[1], later[3])


def test_settings_out_of_range_are_refused():
    for wrong in ({"temperature": 0.0}, {"min_p": 1.0}, {"min_p": -0.1}, {"n_candidates": 0}):
        with pytest.raises(ValueError, match="expected "):
            Decoding(1, **wrong)
