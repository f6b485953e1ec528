"""One rendered encounter: its tokens, and which of them are supervised."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

IGNORED = -100  # the label of a token that is not supervised, as in torch's cross entropy


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """One encounter as tokens, of which those of the note and its ends of turn are supervised.

    `completion_mask` is 1 for each of these and 0 for every other token: those of the prompt and,
    where a note is written in parts, those of the requests between them. `n_cut_turns` turns of the
    dialogue were left out to make it fit.

    Raises: ValueError for a mask of another length, or that does not begin with 0 and end with 1.
    """

    id: str
    input_ids: tuple[int, ...]
    completion_mask: tuple[int, ...]
    n_cut_turns: int = 0

    def __post_init__(self) -> None:
        mask = self.completion_mask
        fits = len(mask) == len(self.input_ids) and not set(mask) - {0, 1}
        if not (fits and mask[:1] == (0,) and mask[-1:] == (1,)):
            raise ValueError(
                f"{self.id}: expected a mask of zeros and ones, the first 0 and the last 1, for "
                f"{len(self.input_ids)} tokens, got {len(mask)} entries, "
                f"{sum(entry == 1 for entry in mask)} of them 1"
            )

    @property
    def n_completion_tokens(self) -> int:
        """How many tokens are supervised: the note and its ends of turn."""
        return sum(self.completion_mask)

    @property
    def n_prompt_tokens(self) -> int:
        """How many tokens stand before the first supervised one."""
        return self.completion_mask.index(1)

    @property
    def labels(self) -> list[int]:
        """A label for each token: the token itself where it is supervised, elsewhere `IGNORED`."""
        pairs = zip(self.input_ids, self.completion_mask, strict=True)
        return [token if supervised else IGNORED for token, supervised in pairs]

    @property
    def completions(self) -> list[tuple[int, ...]]:
        """The supervised stretches: one for each part of the note, each with its end of turn."""
        pairs = zip(self.completion_mask, self.input_ids, strict=True)
        stretches = itertools.groupby(pairs, key=lambda pair: pair[0])
        return [tuple(token for _, token in group) for supervised, group in stretches if supervised]
