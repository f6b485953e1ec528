"""The word lists of `lexicon/`, loaded once and matched longest phrase first."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

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
    for ending, least in (("ing", 6), ("ed", 5), ("ly", 6), ("ment", 8), ("ness", 7)):
        root = word[: -len(ending)]
        if word.endswith(ending) and len(word) >= least and _VOWEL.search(root):
            doubled = ending in ("ing", "ed") and root[-1] == root[-2:-1] and root[-1] not in "lsz"
            return root[:-1] if doubled else root
    if word.endswith(("tion", "sion")) and len(word) > 7:
        return word[:-3]
    return word


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Maps phrases to meanings, and holds the cues; keys are stems or words, as in `statements`."""

    phrases: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
    cues: dict[str, dict[str, tuple[tuple[str, ...], ...]]]  # list, first word, cues longest first
    empty: frozenset[str]  # stems of the words that state nothing
    meanings: dict[str, str]  # stem of a meaning to the meaning: "diseases" is "disease"
    light: frozenset[str]
    headers: frozenset[str]
    stop: frozenset[str]  # plain English function words
    bare: frozenset[str]  # meanings whose denial alone is not a fact: a place, a person
    medicines: frozenset[str]
    clinical: frozenset[str]  # every meaning that `terms.csv` or `medicines.csv` names

    def longest(self, stems: list[str], at: int) -> tuple[tuple[str, ...], int]:
        """Meaning and width of the longest phrase that begins at `at`, ((), 0) for none."""
        for phrase, meaning in self.phrases.get(stems[at], ()):
            if tuple(stems[at : at + len(phrase)]) == phrase:
                return meaning, len(phrase)
        return (), 0

    def cue(self, name: str, words: list[str], at: int) -> int:
        """The number of words of the cue of list `name` that begins at `at`, 0 for none."""
        for cue in self.cues[name].get(words[at], ()):
            if tuple(words[at : at + len(cue)]) == cue:
                return len(cue)
        return 0


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """Reads the word lists.

    Raises: FileNotFoundError if the package was installed without its `lexicon` folder.
    """
    cues = yaml.safe_load((LEXICON / "cues.yaml").read_text(encoding="utf-8"))
    words = yaml.safe_load((LEXICON / "words.yaml").read_text(encoding="utf-8"))
    light = frozenset(words["light"].split())
    light |= frozenset(map(stem, light))
    medicines = _medicines()
    phrases = _phrases(medicines)
    meanings = {
        key.lstrip("!") for entries in phrases.values() for _, meaning in entries for key in meaning
    }
    return Vocabulary(
        phrases=phrases,
        cues={name: _by_first_word(cues[name]) for name in cues},
        empty=frozenset(map(stem, words["empty"].split())),
        meanings={stem(meaning): meaning for meaning in meanings},
        light=light,
        headers=frozenset(words["headers"].split()),
        stop=frozenset(words["stop"].split()),
        bare=frozenset(words["bare"].split()) | light,
        medicines=frozenset(medicines.values()),
        clinical=frozenset(meanings) - light,
    )


def _medicines() -> dict[str, str]:
    """Maps brand and generic names to the generic name as a single key."""
    names: dict[str, str] = {}
    with (LEXICON / "medicines.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = row["generic"].replace(" ", "_")
            for name in (row["generic"], *filter(None, row["brands"].split("|"))):
                names[name] = key
    return names


def _by_first_word(cues: list[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    table: dict[str, list[tuple[str, ...]]] = {}
    for cue in sorted((tuple(cue.split()) for cue in cues), key=len, reverse=True):
        table.setdefault(cue[0], []).append(cue)
    return {first: tuple(matching_cues) for first, matching_cues in table.items()}


def _phrases(medicines: dict[str, str]) -> dict:
    meaning_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, key in medicines.items():
        meaning_of[tuple(map(stem, name.split()))] = (key,)
    with (LEXICON / "terms.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for variant in row["variants"].split("|"):
                meaning_of[tuple(map(stem, variant.lower().split()))] = tuple(
                    row["meaning"].split()
                )
    table: dict[str, list] = {}
    for phrase, meaning in sorted(meaning_of.items(), key=lambda item: -len(item[0])):
        table.setdefault(phrase[0], []).append((phrase, meaning))
    return {first: tuple(entries) for first, entries in table.items()}
