"""The word lists of `lexicon/`, loaded once and matched longest phrase first."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

LEXICON = Path(__file__).parent / "lexicon"
_VOWEL = re.compile(r"[aeiouy]")


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The word without its inflection: "denies" and "denied" -> "deni", "smoking" -> "smok".

    Lighter than Porter's stemmer: it must merge inflections, but not a noun with its adjective.
    """
    if len(word) < 4 or not word[0].isalpha():
        return word
    if word.endswith("'s"):
        word = word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
        word = word[:-1] if word.endswith(("sse", "she", "che", "xe")) else word
    word = _without_ending(word)
    if word.endswith("y") and len(word) > 3:
        return word[:-1] + "i"
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _without_ending(word: str) -> str:
    if word.endswith("eed"):
        return word
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending, min_length in (("ing", 6), ("ed", 5), ("ly", 6), ("ment", 8), ("ness", 7)):
        root = word[: -len(ending)]
        if word.endswith(ending) and len(word) >= min_length and _VOWEL.search(root):
            doubled = ending in ("ing", "ed") and root[-1] == root[-2:-1] and root[-1] not in "lsz"
            return root[:-1] if doubled else root
    if word.endswith(("tion", "sion")) and len(word) > 7:
        return word[:-3]
    return word


# Phrases and what they mean, longest first, by their first word.
Table = dict[str, list[tuple[tuple[str, ...], Any]]]


def longest(table: Table, words: list[str], at: int) -> tuple[Any, int]:
    """Meaning and width of the longest phrase that begins at `at`, ((), 0) for none."""
    for phrase, meaning in table.get(words[at], ()):
        if tuple(words[at : at + len(phrase)]) == phrase:
            return meaning, len(phrase)
    return (), 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Maps phrases to meanings, and holds the cues; keys are stems or words, as in `statements`."""

    phrases: Table  # to the keys of their meaning
    cues: dict[str, Table]
    empty: frozenset[str]  # stems of the words that state nothing
    meanings: dict[str, str]  # stem of a meaning to the meaning: "diseases" is "disease"
    light: frozenset[str]
    headers: frozenset[str]
    stop: frozenset[str]  # plain English function words
    bare: frozenset[str]  # meanings whose denial alone is not a fact: a place, a person
    medicines: frozenset[str]
    clinical: frozenset[str]  # every meaning that `terms.csv` or `medicines.csv` names

    def cue(self, name: str, words: list[str], at: int) -> int:
        """The number of words of the cue of list `name` that begins at `at`, 0 for none."""
        return longest(self.cues[name], words, at)[1]


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """Reads the word lists.

    Raises: FileNotFoundError if the package was installed without its `lexicon` folder.
    """
    cues = yaml.safe_load((LEXICON / "cues.yaml").read_text(encoding="utf-8"))
    words = yaml.safe_load((LEXICON / "words.yaml").read_text(encoding="utf-8"))
    light = frozenset(words["light"].split())
    light |= frozenset(map(stem, light))
    medicines = {
        name: (row["generic"].replace(" ", "_"),)
        for row in _rows("medicines.csv")
        for name in (row["generic"], *filter(None, row["brands"].split("|")))
    }
    terms = {
        variant.lower(): tuple(row["meaning"].split())
        for row in _rows("terms.csv")
        for variant in row["variants"].split("|")
    }
    meaning_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for phrase, meaning in (*medicines.items(), *terms.items()):
        meaning_of[tuple(map(stem, phrase.split()))] = meaning
    meanings = {key.lstrip("!") for meaning in meaning_of.values() for key in meaning}
    return Vocabulary(
        phrases=_by_first_word(meaning_of),
        cues={
            name: _by_first_word({tuple(cue.split()): () for cue in cues[name]}) for name in cues
        },
        empty=frozenset(map(stem, words["empty"].split())),
        meanings={stem(meaning): meaning for meaning in meanings},
        light=light,
        headers=frozenset(words["headers"].split()),
        stop=frozenset(words["stop"].split()),
        bare=frozenset(words["bare"].split()) | light,
        medicines=frozenset(key for (key,) in medicines.values()),
        clinical=frozenset(meanings) - light,
    )


def _rows(name: str) -> csv.DictReader:
    return csv.DictReader((LEXICON / name).read_text(encoding="utf-8").splitlines())


def _by_first_word(meaning_of: dict[tuple[str, ...], Any]) -> Table:
    table: Table = {}
    for phrase, meaning in sorted(meaning_of.items(), key=lambda item: -len(item[0])):
        table.setdefault(phrase[0], []).append((phrase, meaning))
    return table
