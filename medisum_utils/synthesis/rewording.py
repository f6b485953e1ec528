"""Rewords phrasings, so that pretraining sees each fact stated in many ways.

A model that sees only a few sentences memorises them and cannot read others. No split of the
generated data is reworded; phrasings reserved for `test_unseen` are never produced.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

from medisum_utils.synthesis.casebook import FOLDER, read_yaml
from medisum_utils.synthesis.speech import load_bank, phrasings

ALTERNATION = re.compile(r"\[([^\[\]]*)\]")
MOST_DRAWS = 20


class Rewording:
    """Draws another phrasing from the frames with probability `p_frame`, then damages words.

    `rate` is the share of words outside slots that are dropped, replaced by one of `words`, or
    followed by one. Phrasings whose meaning depends on single words are not damaged.
    """

    def __init__(self, words: Sequence[str], rate: float, p_frame: float) -> None:
        self.words, self.rate, self.p_frame = words, rate, p_frame

    def __call__(self, rng: random.Random, who: str, key: str, phrasing: str) -> str:
        """Another phrasing of `key`, with its slots unfilled."""
        frames = load_frames()[who].get(key)
        if frames and rng.random() < self.p_frame:
            phrasing = _from_frames(rng, who, key, frames) or phrasing
        return phrasing if key in load_bank()["exact"] else self._damaged(rng, phrasing)

    def _damaged(self, rng: random.Random, phrasing: str) -> str:
        kept: list[str] = []
        for word in phrasing.split(" "):
            draw = rng.random() if "{" not in word else 1.0
            if draw >= 0.75 * self.rate:
                kept.append(word)
            if 0.5 * self.rate <= draw < self.rate:
                kept.append(rng.choice(self.words))
        return " ".join(kept) or phrasing


@lru_cache(maxsize=1)
def load_frames() -> dict[str, dict[str, list[str]]]:
    """Reads the frames once, by speaker and key."""
    return read_yaml(FOLDER / "frames.yaml")


def expand(rng: random.Random, frame: str) -> str:
    """Draws one option of every alternation: "[I'd like|I want] {x}[ today|]." has four ways."""
    return ALTERNATION.sub(lambda match: rng.choice(match[1].split("|")), frame)


def _from_frames(rng: random.Random, who: str, key: str, frames: Sequence[str]) -> str | None:
    """A phrasing that is not held out; None if `MOST_DRAWS` draws give none."""
    for _ in range(MOST_DRAWS):
        drawn = expand(rng, rng.choice(frames))
        if not is_held_out(who, key, drawn):
            return drawn
    return None


def is_held_out(who: str, key: str, phrasing: str) -> bool:
    """Whether a phrasing is or contains one reserved for `test_unseen`, up to case and ending."""
    plain = _plain(phrasing)
    return any(
        reserved == plain or (len(reserved.split()) > 2 and reserved in plain)
        for reserved in _held_out(who, key)
    )


@lru_cache(maxsize=256)
def _held_out(who: str, key: str) -> tuple[str, ...]:
    options = load_bank()[who][key]
    return tuple(map(_plain, phrasings(options, unseen=True))) if len(options) >= 4 else ()


def _plain(phrasing: str) -> str:
    return " ".join(phrasing.split()).lower().strip(" .?!,")
