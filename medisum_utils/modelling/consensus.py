"""Consensus decoding: several notes are drawn, and the one that agrees best with the others wins.

Minimum Bayes risk decoding: the note with the highest expected score, if each of the drawn notes
were the reference. The score is the mean of ROUGE-1 and ROUGE-2 F1 here.

Source: Eikema and Aziz 2020, aclanthology.org/2020.coling-main.398; min-p: arXiv:2407.01082.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medisum_utils.modelling.decoding import Decoding

if TYPE_CHECKING:
    import torch

_METRICS = ("rouge1", "rouge2")


def most_agreed(candidates: Sequence[str]) -> int:
    """The position of the candidate that agrees best with the others; the first of equals.

    Raises: ValueError for no candidates.
    """
    from rouge_score.rouge_scorer import RougeScorer

    if not candidates:
        raise ValueError("expected candidates to choose from, got none")
    scorer = RougeScorer(_METRICS)
    agreement = [0.0] * len(candidates)
    for one, other in itertools.combinations(range(len(candidates)), 2):
        scores = scorer.score(candidates[one], candidates[other])  # F1 is symmetric
        shared = sum(scores[name].fmeasure for name in _METRICS)
        agreement[one] += shared
        agreement[other] += shared
    return max(range(len(candidates)), key=agreement.__getitem__)


class DrawnTokens:
    """A logits processor that turns greedy decoding into sampling, the same in every batch.

    The scores of a row get Gumbel noise from a generator of its own, seeded with its prompt and the
    number of the candidate; the highest sum is a draw from the distribution at `temperature`.
    Tokens with less than `min_p` of the likeliest one's probability are never drawn.

    The prompts are in groups of `n_candidates` with the same one. `rows` says which of them the
    scores are of, by default all; the others draw nothing.

    Source: the Gumbel-max trick, Maddison et al. 2014, arXiv:1411.0030.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], decoding: Decoding) -> None:
        import torch

        self.temperature, self.min_p = decoding.temperature, decoding.min_p
        self._generators = []
        for number, prompt in enumerate(prompts):
            drawn = f"{number % decoding.n_candidates} {' '.join(map(str, prompt))}"
            seed = int.from_bytes(hashlib.sha256(drawn.encode()).digest()[:8], "big") >> 1
            self._generators.append(torch.Generator().manual_seed(seed))
        self.rows = list(range(len(prompts)))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) whose highest is the drawn token.

        `input_ids` is (rows, prompt and note tokens).
        """
        import torch

        logits = scores.float() / self.temperature
        if self.min_p:
            log_p = logits.log_softmax(dim=-1)
            floor = log_p.amax(dim=-1, keepdim=True) + torch.tensor(self.min_p).log()
            logits = logits.masked_fill(log_p < floor, -float("inf"))
        uniform = torch.stack(
            [torch.rand(logits.shape[1], generator=self._generators[row]) for row in self.rows]
        )
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return logits + noise.to(logits.device)
