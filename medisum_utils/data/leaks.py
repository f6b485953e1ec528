"""The leak check, and the removal of known leaks: no encounter stands in two splits.

A leak is an encounter of one split that stands in another one as well: its dialogue in the same
words ("exact") or nearly so ("near"), its whole note in the same words or nearly so ("note"), or
its id ("id"). Words are compared after `normalise`, speaker labels and headers left out, so a
relabelled copy is a copy. `grouping` splits a user's own data by the same comparison.

Two texts are as alike as the Jaccard similarity of their five-word shingles (Broder 1997, "On the
resemblance and containment of documents"), computed exactly, as a product of sparse matrices.
scikit-learn's `CountVectorizer` takes four times the time and three times the memory for such a
matrix (1,080 dialogues: 1.1 s and 60 MiB), since it keeps each shingle as text; its Jaccard is
dense, and its neighbour searches know no sparse one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from medisum_utils.encounter import Encounter

NEAR_DUPLICATE = 0.5  # Jaccard; with one word in 13 changed at random, a copy has about 0.5

# Notes are held to their length. Below 15 words, such as "No known allergies.", they are the same
# by chance. Below 30, stock phrases of different patients reach 0.52 between MTS-Dialog's splits.
# From 30 on, different notes have at most 0.16 (ACI-Bench; generated ones 0.13), and a note of 40
# words with any three of them changed still has 0.41 of the original.
NOTE_WORDS = 15
NEAR_NOTE = 0.55
LONG_NOTE_WORDS = 30
NEAR_LONG_NOTE = 0.4

SHINGLE_WORDS = 5
_ROWS_AT_ONCE = 512  # bounds the memory of one product
# A shingle's hash is the sum of its words' numbers times these, random and odd, modulo 2**64.
_MULTIPLIERS = (
    *(0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB),
    *(0xD6E8FEB86659FD93, 0xA0761D6478BD642F),
)
_SHOWN_LEAKS = 20


@dataclass(frozen=True, slots=True)
class Leak:
    """One encounter of `split` that also stands in `other_split`.

    `kind` is the first that holds of exact, near, note, id; `jaccard` is that of the dialogues,
    or of the notes where kind is note, and None where they are the same.
    """

    kind: str
    split: str
    id: str
    other_split: str
    other_id: str
    jaccard: float | None = None

    def __str__(self) -> str:
        how = self.kind if self.jaccard is None else f"{self.kind}, Jaccard {self.jaccard:.2f}"
        return f"{self.split}/{self.id} = {self.other_split}/{self.other_id} ({how})"


class LeakError(ValueError):
    """Splits share encounters; the message lists ids, never text, and `leaks` holds them all."""

    def __init__(self, leaks: Sequence[Leak]) -> None:
        self.leaks = tuple(leaks)
        shown = "\n".join(f"  {leak}" for leak in self.leaks[:_SHOWN_LEAKS])
        n_more = len(self.leaks) - _SHOWN_LEAKS
        rest = f"\n  and {n_more} more" if n_more > 0 else ""
        super().__init__(
            f"expected no encounter in two splits, got {len(self.leaks)} leaks:\n{shown}{rest}"
        )


def check_leaks(
    splits: Mapping[str, Sequence[Encounter]], threshold: float = NEAR_DUPLICATE
) -> pd.DataFrame:
    """Compares every pair of splits and returns what was compared, one row a pair.

    Columns: split, other_split, n_pairs (encounters compared), highest_jaccard (of the closest
    two dialogues, between 0 and 1), closest_id, other_closest_id, highest_note_jaccard (of notes
    of `NOTE_WORDS` or more), n_recurring_notes (encounters of other_split whose shorter note
    stands in split, too: counted, no leak). `threshold` is that of `similar_pairs`.

    Raises: LeakError if any encounter stands in two splits; ValueError for a split that is empty
    or holds one id twice, since nothing would then have been checked.
    """
    leaks, rows = _compare(splits, threshold)
    if leaks:
        raise LeakError(leaks)
    return pd.DataFrame(rows)


def find_leaks(
    splits: Mapping[str, Sequence[Encounter]], threshold: float = NEAR_DUPLICATE
) -> list[Leak]:
    """All leaks between the splits, in the order of the splits; see `check_leaks`."""
    return _compare(splits, threshold)[0]


def remove_leaks(
    splits: Mapping[str, Sequence[Encounter]],
) -> tuple[dict[str, list[Encounter]], list[Leak]]:
    """Drops every copy that stands in a later split too, so that later splits stay whole.

    Give the splits as train, valid, tests: the training copy goes, an official test set is never
    changed unless a later test repeats it. Returns the new splits and the leaks that were removed.
    """
    leaks = find_leaks(splits)
    dropped = {(leak.split, leak.id) for leak in leaks}
    kept = {
        name: [encounter for encounter in encounters if (name, encounter.id) not in dropped]
        for name, encounters in splits.items()
    }
    return kept, leaks


def _compare(
    splits: Mapping[str, Sequence[Encounter]], threshold: float
) -> tuple[list[Leak], list[dict]]:
    """The leaks, and one row of `check_leaks` for each pair of splits."""
    leaks, rows = [], []
    for (name, texts), (other_name, other) in combinations(comparable(splits).items(), 2):
        other_rows = {identifier: j for j, identifier in enumerate(other.ids)}
        copies: dict[tuple[int, int], tuple[str, float | None]] = {
            (i, other_rows[key]): ("id", None)
            for i, key in enumerate(texts.ids)
            if key in other_rows
        }
        highest, closest_ids = {"note": 0.0, "dialogue": 0.0}, ("", "")
        for what, pairs, is_copy in similar_pairs(texts, other, threshold):
            if pairs.jaccard.max(initial=0) > highest[what]:
                best = pairs.jaccard.argmax()
                highest[what] = float(pairs.jaccard[best])
                if what == "dialogue":
                    closest_ids = (texts.ids[pairs.i[best]], other.ids[pairs.j[best]])
            columns = (column[is_copy].tolist() for column in pairs)
            for i, j, jaccard in zip(*columns, strict=True):
                is_equal = texts.words[what][i] == other.words[what][j]
                kind = "note" if what == "note" else "exact" if is_equal else "near"
                copies[i, j] = (kind, None if is_equal else jaccard)
        leaks += [
            Leak(kind, name, texts.ids[i], other_name, other.ids[j], jaccard)
            for (i, j), (kind, jaccard) in sorted(copies.items())
        ]
        recurring = set(texts.short_notes) - {""}
        rows.append(
            {
                "split": name,
                "other_split": other_name,
                "n_pairs": len(texts.ids) * len(other.ids),
                "highest_jaccard": highest["dialogue"],
                "closest_id": closest_ids[0],
                "other_closest_id": closest_ids[1],
                "highest_note_jaccard": highest["note"],
                "n_recurring_notes": sum(note in recurring for note in other.short_notes),
            }
        )
    return leaks, rows


class Comparable(NamedTuple):
    """What is compared of some encounters; the texts are normalised, "" where there is none.

    `words` and `shingles` have the keys "note", for notes of `NOTE_WORDS` or more, and "dialogue".
    """

    ids: list[str]
    words: dict[str, list[str]]
    shingles: dict[str, csr_matrix]
    n_note_words: np.ndarray
    short_notes: list[str]


class Pairs(NamedTuple):
    """Pairs of texts that share a shingle: rows `i` and `j` of two matrices, and their Jaccard."""

    i: np.ndarray
    j: np.ndarray
    jaccard: np.ndarray


def comparable(splits: Mapping[str, Sequence[Encounter]]) -> dict[str, Comparable]:
    """Prepares the encounters of each split for `similar_pairs`.

    Raises: ValueError for a split that is empty or holds one id twice.
    """
    for name, encounters in splits.items():
        if not encounters:
            raise ValueError(f"expected encounters in split {name}, got none")
        counts = Counter(encounter.id for encounter in encounters)
        repeated = [identifier for identifier, n in counts.items() if n > 1]
        if repeated:
            raise ValueError(
                f"expected every id once in split {name}, got {len(repeated)} ids more than once, "
                f"first {repeated[0]}"
            )
    everyone = [encounter for part in splits.values() for encounter in part]
    notes = [normalise(" ".join(section.text for section in each.note)) for each in everyone]
    n_words = np.array([len(note.split()) for note in notes])
    words = {
        "note": [note if n >= NOTE_WORDS else "" for note, n in zip(notes, n_words, strict=True)],
        "dialogue": [normalise(" ".join(turn.text for turn in each.turns)) for each in everyone],
    }
    shingles = {what: shingle_matrix(texts) for what, texts in words.items()}
    parts, end = {}, 0
    for name, encounters in splits.items():
        rows = slice(end, end := end + len(encounters))
        parts[name] = Comparable(
            ids=[encounter.id for encounter in encounters],
            words={what: texts[rows] for what, texts in words.items()},
            shingles={what: matrix[rows] for what, matrix in shingles.items()},
            n_note_words=n_words[rows],
            short_notes=[note for note in notes[rows] if len(note.split()) < NOTE_WORDS],
        )
    return parts


def similar_pairs(
    texts: Comparable, other: Comparable, threshold: float
) -> Iterator[tuple[str, Pairs, np.ndarray]]:
    """All pairs of encounters with anything in common, notes first, some hundred rows at a time.

    Yields "note" or "dialogue", the pairs, and which of them are copies. `threshold` is for
    dialogues; above `NEAR_DUPLICATE` it also applies to notes, so that at 1 only equal texts are
    copies.

    Raises: ValueError for a threshold outside 0 to 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"expected a Jaccard threshold above 0 and at most 1, got {threshold}")
    note_threshold = threshold if threshold > NEAR_DUPLICATE else 0.0
    for pairs in _pairs(texts.shingles["note"], other.shingles["note"]):
        n_words = np.minimum(texts.n_note_words[pairs.i], other.n_note_words[pairs.j])
        by_length = np.where(n_words < LONG_NOTE_WORDS, NEAR_NOTE, NEAR_LONG_NOTE)
        yield "note", pairs, pairs.jaccard >= np.maximum(by_length, note_threshold)
    for pairs in _pairs(texts.shingles["dialogue"], other.shingles["dialogue"]):
        yield "dialogue", pairs, pairs.jaccard >= threshold


def normalise(text: str) -> str:
    """The words of a text, lower-case and single-spaced, without punctuation (Unicode NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()


def shingle_matrix(texts: Sequence[str]) -> csr_matrix:
    """Which normalised text has which shingle: 0 or 1, (texts, distinct shingles).

    A text shorter than a shingle is one; a text without a word has none and is like nothing.
    """
    numbers: defaultdict[str, int] = defaultdict(count(1).__next__)
    multipliers = np.array(_MULTIPLIERS, dtype=np.uint64)
    rows = []
    for text in texts:
        hashes = np.array([numbers[word] for word in text.split()], dtype=np.uint64)
        if size := min(SHINGLE_WORDS, len(hashes)):
            windows = np.lib.stride_tricks.sliding_window_view(hashes, size)
            hashes = np.unique(windows @ multipliers[:size])
        rows.append(hashes)
    distinct, columns = np.unique(np.concatenate(rows), return_inverse=True)
    ends = np.cumsum([0] + [len(row) for row in rows])
    ones = np.ones(len(columns), dtype=np.int32)
    return csr_matrix((ones, columns, ends), shape=(len(rows), len(distinct)))


def _pairs(matrix: csr_matrix, other: csr_matrix) -> Iterator[Pairs]:
    """All pairs of rows that share a shingle, a few hundred rows of `matrix` at a time."""
    sizes, other_sizes = np.diff(matrix.indptr), np.diff(other.indptr)
    other_columns = other.T.tocsr()
    for start in range(0, matrix.shape[0], _ROWS_AT_ONCE):
        shared = (matrix[start : start + _ROWS_AT_ONCE] @ other_columns).tocoo()
        i, j = shared.row + start, shared.col
        yield Pairs(i, j, shared.data / (sizes[i] + other_sizes[j] - shared.data))
