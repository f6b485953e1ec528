"""Keeps a note from saying a stretch of tokens twice in a row, the way greedy decoding gets stuck.

A small model can repeat its last tokens until it reaches the limit. No note needs that: none of the
540 training notes of profile `tiny` has a stretch of `SHORTEST` or more tokens that stands twice in
a row, and eight of the 1,181 of MTS-Dialog have one (shorter ones are common, such as digits). The
known remedy, `no_repeat_ngram_size` of `transformers`, also forbids what stands in the prompt, and
a note is made of words of the dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import LogitsProcessor

if TYPE_CHECKING:
    import torch

SHORTEST, LONGEST = 3, 64  # tokens of a stretch that may not follow itself


class NoStutter(LogitsProcessor):
    """Forbids the token that would complete a stretch of the note right behind the same stretch.

    `n_prompt` tokens of each row are the prompt, which is not looked at.
    """

    def __init__(self, n_prompt: int) -> None:
        if n_prompt < 0:
            raise ValueError(f"expected the length of a prompt in tokens, got {n_prompt}")
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
            (stuck,) = (last == previous).all(dim=1).nonzero(as_tuple=True)
            scores[stuck, note[stuck, n - length]] = -float("inf")
        return scores
