"""Finds text of the real corpora in files: runs of words that stand in a dialogue, note or answer.

An index holds a number for each run of words of the corpora; a file's runs are looked up in it.
Words are compared without case and punctuation.

How long a run must be was measured on 2,900 generated encounters (1,463,239 words), which share
with the corpora what any doctor says. Within one turn or section, runs of 8 words are shared by
chance 293 times, of 9 once, of 10 never. Across turns, where speaker labels count as words, runs of
10 are shared 61 times, of 11 nine times, of 12 once, of 13 never.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from medisum_utils.data.corpora import (
    iter_medquad_answers,
    load_aci_bench,
    load_mts_dialog,
    load_primock57,
)
from medisum_utils.encounter import Encounter

N_WITHIN, N_ACROSS = 10, 14  # words of a run within a turn, section or answer, and across turns

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no multiplication loses a word
_UNKNOWN = 0  # a word that no corpus has: a run with it is in none
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{200,}")  # pictures inside HTML
_INLINE = re.compile(r"</?(?:a|b|code|del|em|i|ins|mark|small|span|strong|sub|sup|u)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")
_ESCAPED = re.compile(r"\\[nrt]|\\u[0-9a-f]{4}")  # in strings of JSON and of Python


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def encounters_of_corpora() -> Iterator[Encounter]:
    """Those of ACI-Bench, MTS-Dialog and PriMock57, all splits of each."""
    for splits in (load_aci_bench(), load_mts_dialog(drop_leaks=False)):
        for encounters in splits.values():
            yield from encounters
    yield from load_primock57()


class RunIndex:
    """The runs of `n` words of texts, as numbers of 64 bits."""

    def __init__(self, texts: Iterable[str], n: int) -> None:
        self.n = n
        self._numbers: dict[str, int] = {}
        runs = [self._runs([self._learnt(word) for word in words_of(text)]) for text in texts]
        self._known = np.unique(np.concatenate(runs))

    def _learnt(self, word: str) -> int:
        return self._numbers.setdefault(word, len(self._numbers) + 1)

    def _runs(self, numbers: list[int]) -> np.ndarray:
        """A number for each run, 0 for one with an unknown word."""
        if len(numbers) < self.n:
            return np.empty(0, dtype=np.uint64)
        words = np.asarray(numbers, dtype=np.uint64)
        windows = np.lib.stride_tricks.sliding_window_view(words, self.n)
        total = np.zeros(len(windows), dtype=np.uint64)
        for place in range(self.n):
            total = total * _FACTOR + windows[:, place]
        total[(windows == _UNKNOWN).any(axis=1)] = 0
        return total

    def count(self, text: str) -> int:
        """How many runs of a text are in the index."""
        found = self._runs([self._numbers.get(word, _UNKNOWN) for word in words_of(text)])
        places = np.searchsorted(self._known, found).clip(max=len(self._known) - 1)
        return int(((self._known[places] == found) & (found != 0)).sum())


class CorpusText:
    """All text of the corpora: dialogues and notes, and MedQuAD's answers."""

    def __init__(self) -> None:
        self.encounters = list(encounters_of_corpora())
        within = [part.text for each in self.encounters for part in (*each.turns, *each.note)]
        whole = [text for each in self.encounters for text in (each.dialogue_text, each.note_text)]
        self._within = RunIndex([*within, *iter_medquad_answers()], N_WITHIN)
        self._across = RunIndex(whole, N_ACROSS)

    def count(self, text: str) -> int:
        """How many runs of a text stand in a corpus."""
        return self._within.count(text) + self._across.count(text)

    def count_in(self, path: Path) -> int:
        """How many runs of a file do, by the reading that shows most."""
        return max((self.count(text) for text in readings(path)), default=0)


def readings(path: Path) -> list[str]:
    """The text of a file as somebody may read it; none for a file that is no text.

    HTML is read twice, since a tag may stand between words and within one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    text = _BASE64.sub(" ", text)
    if path.suffix != ".html":
        return [_ESCAPED.sub(" ", text)]
    return [html.unescape(_TAG.sub(" ", each)) for each in (text, _INLINE.sub("", text))]
