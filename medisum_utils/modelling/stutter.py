"""Forbids a note to write the same stretch twice in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHORTEST, LONGEST = 3, 64  # tokens of a stretch that may not follow itself


class NoStutter:
    """A logits processor that forbids the token which would write a stretch twice in a row.

    A small model can repeat its last tokens until it reaches the limit, and no note needs that:
    none of the 540 training notes of profile `tiny` repeats a stretch of `SHORTEST` or more tokens
    in a row, and 8 of the 1,181 of MTS-Dialog do (shorter ones are common, such as digits). The
    usual remedy, `no_repeat_ngram_size` of `transformers`, also forbids what stands in the prompt,
    and a note is made of words of the dialogue; here the first `n_prompt` tokens are ignored.
    """

    def __init__(self, n_prompt: int) -> None:
        self.n_prompt = n_prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) with -inf at the tokens that would complete a repetition.

        `input_ids` is (rows, prompt and note tokens).
        """
        note = input_ids[:, self.n_prompt :]
        n = note.shape[1]
        scores = scores.clone()
        for length in range(SHORTEST, min(LONGEST, (n + 1) // 2) + 1):
            # The last `length - 1` tokens repeat the stretch before: one more completes it.
            last, previous = note[:, n - length + 1 :], note[:, n - 2 * length + 1 : n - length]
            # Without `nonzero`, for which a GPU would have to wait at each length of each token.
            stuck = (last == previous).all(dim=1, keepdim=True)  # (rows, 1)
            next_one = note[:, n - length].unsqueeze(1)
            barred = scores.gather(1, next_one).masked_fill(stuck, -float("inf"))
            scores.scatter_(1, next_one, barred)
        return scores
