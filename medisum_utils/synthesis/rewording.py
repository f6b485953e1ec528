"""Phrasings worded anew, so that pretraining meets each thing said in very many ways.

Who hears only the same few sentences learns them by heart, and finds nothing in any other. No
split of the generated data is reworded; what `test_unseen` keeps for itself never comes out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

import yaml

from medisum_utils.synthesis.casebook import FOLDER
from medisum_utils.synthesis.speech import load_bank, phrasings

ALTERNATION = re.compile(r"\[([^\[\]]*)\]")
# Their sense hangs on single words, so that none may be lost or replaced.
EXACT = frozenset(
    ("no", "yes_no", "deny", "none_topic", "none_of_these", "never_smoked", "no_alcohol", "quit")
    + ("correct_duration", "correct_severity", "correct_dose", "stop", "keep", "change", "unsure")
    + ("other_medicine", "other_symptom", "trip")
)
MOST_DRAWS = 20


class Rewording:
    """Draws another phrasing from the frames with probability `p_frame`; then damages words.

    `rate` is the share of words, outside of slots, that are lost, replaced by one of `words`, or
    followed by one. Phrasings whose sense hangs on single words are not damaged.

    Raises: ValueError for a rate or probability that is none.
    """

    def __init__(self, words: Sequence[str], rate: float, p_frame: float) -> None:
        if not 0.0 <= rate < 1.0 or not 0.0 <= p_frame <= 1.0:
            raise ValueError(f"expected shares from 0 to 1, got a rate of {rate} and {p_frame}")
        self.words, self.rate, self.p_frame = words, rate, p_frame

    def __call__(self, rng: random.Random, who: str, key: str, phrasing: str) -> str:
        """Another phrasing of `key`, its slots still empty."""
        frames = load_frames()[who].get(key)
        if frames and rng.random() < self.p_frame:
            phrasing = _from_frames(rng, who, key, frames) or phrasing
        return phrasing if key in EXACT else self._damaged(rng, phrasing)

    def _damaged(self, rng: random.Random, phrasing: str) -> str:
        said = []
        for word in phrasing.split(" "):
            draw = rng.random() if "{" not in word else 1.0
            if draw < 0.5 * self.rate:
                continue
            if draw < 0.75 * self.rate:
                said.append(rng.choice(self.words))
            elif draw < self.rate:
                said += [word, rng.choice(self.words)]
            else:
                said.append(word)
        return " ".join(said) or phrasing


@lru_cache(maxsize=1)
def load_frames() -> dict[str, dict[str, list[str]]]:
    """Reads the frames once, by speaker and key."""
    return yaml.load((FOLDER / "frames.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)


def expand(rng: random.Random, frame: str) -> str:
    """Draws one option of every alternation: "[I'd like|I want] {x}[ today|]." has four ways."""
    return ALTERNATION.sub(lambda match: rng.choice(match[1].split("|")), frame)


def _from_frames(rng: random.Random, who: str, key: str, frames: Sequence[str]) -> str | None:
    """One way of saying it that is held out nowhere; None where twenty draws found none."""
    for _ in range(MOST_DRAWS):
        drawn = expand(rng, rng.choice(frames))
        if not is_held_out(who, key, drawn):
            return drawn
    return None


def is_held_out(who: str, key: str, phrasing: str) -> bool:
    """Whether a phrasing is, but for case and end, one that `test_unseen` keeps, or contains it."""
    plain = _plain(phrasing)
    return any(
        held == plain or (len(held.split()) > 2 and held in plain) for held in _held_out(who, key)
    )


@lru_cache(maxsize=256)
def _held_out(who: str, key: str) -> tuple[str, ...]:
    options = load_bank()[who][key]
    return tuple(map(_plain, phrasings(options, unseen=True))) if len(options) >= 4 else ()


def _plain(phrasing: str) -> str:
    return " ".join(phrasing.split()).lower().strip(" .?!,")
