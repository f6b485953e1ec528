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

N_LIKELIEST = 128  # tokens that one is drawn from
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

    A row has a generator of its own, seeded with its prompt and the number of the candidate. It
    gives one number for each token, which is looked up in the cumulated probabilities at
    `temperature`. Tokens with less than `min_p` of the likeliest one's probability are never drawn,
    nor any beyond the `N_LIKELIEST` likeliest, so that a draw costs little beside the model.

    The prompts are in groups of `n_candidates` with the same one. `rows` says which of them the
    scores are of, by default all; the others draw nothing.
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
        """Scores (rows, vocabulary), 0 at the drawn tokens and -inf at all others.

        `input_ids` is (rows, prompt and note tokens).
        """
        import torch

        likeliest, tokens = scores.topk(min(N_LIKELIEST, scores.shape[1]))  # in falling order
        p = (likeliest.float() / self.temperature).softmax(dim=-1)
        p = p.masked_fill(p < self.min_p * p[:, :1], 0.0)
        cumulated = p.cumsum(dim=-1)
        total = cumulated[:, -1:].contiguous()
        # On the CPU, so that every device gets the same numbers.
        drawn = torch.cat([torch.rand(1, generator=self._generators[row]) for row in self.rows])
        place = drawn.to(total.device).unsqueeze(1) * total  # (rows, 1)
        rank = torch.searchsorted(cumulated, place, right=True)
        last = torch.searchsorted(cumulated, total)  # rounding may put `place` at the very end
        token = tokens.gather(1, torch.minimum(rank, last))
        return torch.full_like(scores, -float("inf")).scatter_(1, token, 0.0)
