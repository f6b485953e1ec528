"""Splits that may be trusted: the leak check, the removal of known leaks, and the manifest.

A leak is an encounter of one split that stands in another one as well: its dialogue in the same
words ("exact") or nearly so ("near"), its whole note in the same words ("note"), or its id ("id").
Words are compared after `normalise`, speaker labels left out, so a relabelled copy is a copy.

Source: shingles and their resemblance, Broder 1997, "On the resemblance and containment of
documents"; computed exactly here, as a product of sparse matrices, not estimated.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, count
from typing import TYPE_CHECKING

from medisum_utils.encounter import Encounter

if TYPE_CHECKING:
    import pandas
    import scipy.sparse

Splits = Mapping[str, Sequence[Encounter]]

SHINGLE_WORDS = 5
NEAR_DUPLICATE = 0.5  # Jaccard; with one word in 13 changed at random, a copy has about 0.5
NOTE_WORDS = 15  # shorter notes, such as one on allergies, are the same by chance
_ROWS_AT_ONCE = 512  # bounds the memory of one product
_SHOWN_LEAKS = 20


@dataclass(frozen=True, slots=True)
class Leak:
    """One encounter of `split` that also stands in `other_split`.

    `kind` is the first that holds of exact, near, note, id; `jaccard` is that of the dialogues
    where they are near, else None.
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
        more = len(self.leaks) - _SHOWN_LEAKS
        rest = f"\n  and {more} more" if more > 0 else ""
        super().__init__(
            f"expected no encounter in two splits, got {len(self.leaks)} leaks:\n{shown}{rest}"
        )


def normalise(text: str) -> str:
    """The words of a text, lower-case and single-spaced, without punctuation (Unicode NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()


def check_leaks(splits: Splits, threshold: float = NEAR_DUPLICATE) -> pandas.DataFrame:
    """Compares every pair of splits and returns what was compared, one row a pair.

    Columns: split, other_split, n_pairs (encounters compared), highest_jaccard (of the closest
    two, between 0 and 1), closest_id, other_closest_id.

    Raises: LeakError if any encounter stands in two splits; ValueError for a split that is empty
    or holds one id twice, since nothing would then have been checked.
    """
    import pandas

    leaks, rows = _compare(splits, threshold)
    if leaks:
        raise LeakError(leaks)
    return pandas.DataFrame(rows)


def find_leaks(splits: Splits, threshold: float = NEAR_DUPLICATE) -> list[Leak]:
    """All leaks between the splits, in the order of the splits; see `check_leaks`."""
    return _compare(splits, threshold)[0]


def remove_leaks(
    splits: Splits, threshold: float = NEAR_DUPLICATE
) -> tuple[dict[str, list[Encounter]], list[Leak]]:
    """Drops every copy that stands in a later split too, so that later splits stay whole.

    Give the splits as train, valid, tests: the training copy goes, an official test set is never
    changed unless a later test repeats it. Returns the new splits and the leaks that were removed.
    """
    leaks = find_leaks(splits, threshold)
    dropped = {(leak.split, leak.id) for leak in leaks}
    kept = {
        name: [encounter for encounter in encounters if (name, encounter.id) not in dropped]
        for name, encounters in splits.items()
    }
    return kept, leaks


def split_encounters(
    encounters: Sequence[Encounter], fractions: Mapping[str, float], seed: int
) -> dict[str, list[Encounter]]:
    """Shuffles encounters by `seed` and parts them; `fractions` sum to 1, e.g. train 0.8.

    Raises: ValueError if the fractions do not sum to 1 or a split would be empty.
    """
    if any(part <= 0 for part in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"expected positive fractions that sum to 1, got {dict(fractions)}")
    shuffled = random.Random(seed).sample(list(encounters), len(encounters))
    parts, start, total = {}, 0, 0.0
    for name, fraction in fractions.items():
        total += fraction
        end = round(total * len(shuffled))
        parts[name] = shuffled[start:end]
        start = end
    _require_checkable(parts)
    return parts


def split_manifest(splits: Splits) -> dict[str, dict]:
    """What the splits hold, for a JSON file: n, sources, sha256 and ids of each.

    `sha256` is that of the file which `write_jsonl` makes of the split, so a manifest can be held
    against the files.
    """
    return {
        name: {
            "n": len(encounters),
            "sources": dict(sorted(Counter(encounter.source for encounter in encounters).items())),
            "sha256": _sha256(encounters),
            "ids": [encounter.id for encounter in encounters],
        }
        for name, encounters in splits.items()
    }


def _sha256(encounters: Iterable[Encounter]) -> str:
    digest = hashlib.sha256()
    for encounter in encounters:
        line = json.dumps(asdict(encounter), ensure_ascii=False) + "\n"
        digest.update(line.encode("utf-8"))
    return digest.hexdigest()


def _compare(splits: Splits, threshold: float) -> tuple[list[Leak], list[dict]]:
    """The leaks, and one row of figures for each pair of splits."""
    if not 0 < threshold <= 1:
        raise ValueError(f"expected a Jaccard threshold above 0 and at most 1, got {threshold}")
    _require_checkable(splits)
    texts = {name: [_words(one) for one in encounters] for name, encounters in splits.items()}
    notes = {name: [_note_words(one) for one in encounters] for name, encounters in splits.items()}
    matrix = _shingle_matrix([text for part in texts.values() for text in part])
    matrices, start = {}, 0
    for name, part in texts.items():
        matrices[name] = matrix[start : start + len(part)]
        start += len(part)
    leaks, rows = [], []
    for name, other in combinations(splits, 2):
        near, closest = _close_pairs(matrices[name], matrices[other], threshold)
        ids = [[encounter.id for encounter in splits[part]] for part in (name, other)]
        found = dict.fromkeys(_equal_pairs(*ids), ("id", None))
        found |= dict.fromkeys(_equal_pairs(notes[name], notes[other]), ("note", None))
        found |= {pair: ("near", jaccard) for pair, jaccard in near.items()}
        found |= dict.fromkeys(_equal_pairs(texts[name], texts[other]), ("exact", None))
        for (i, j), (kind, jaccard) in sorted(found.items()):
            leaks.append(Leak(kind, name, ids[0][i], other, ids[1][j], jaccard))
        rows.append(_row(name, other, splits, closest))
    return leaks, rows


def _words(encounter: Encounter) -> str:
    return normalise(" ".join(turn.text for turn in encounter.turns))


def _note_words(encounter: Encounter) -> str:
    """The words of the note, "" for one too short to be told from another."""
    words = normalise(" ".join(part.text for part in encounter.note))
    return words if len(words.split()) >= NOTE_WORDS else ""


def _equal_pairs(ones: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places (i, j) of equal texts, "" being equal to nothing."""
    places = defaultdict(list)
    for j, text in enumerate(others):
        if text:
            places[text].append(j)
    return ((i, j) for i, text in enumerate(ones) for j in places.get(text, ()))


def _row(name: str, other: str, splits: Splits, closest: tuple[float, int, int]) -> dict:
    jaccard, i, j = closest
    return {
        "split": name,
        "other_split": other,
        "n_pairs": len(splits[name]) * len(splits[other]),
        "highest_jaccard": jaccard,
        "closest_id": splits[name][i].id if jaccard else "",
        "other_closest_id": splits[other][j].id if jaccard else "",
    }


def _require_checkable(splits: Splits) -> None:
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


def _shingle_matrix(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    """Which text has which shingle of `SHINGLE_WORDS` words: 0 or 1, (texts, distinct shingles)."""
    import numpy
    from scipy.sparse import csr_matrix

    numbers: defaultdict[str, int] = defaultdict(count(1).__next__)
    rows = []
    for text in texts:
        words = [numbers[word] for word in text.split()]
        rows.append(numpy.unique(_shingle_hashes(numpy.array(words, dtype=numpy.uint64))))
    hashes, columns = numpy.unique(numpy.concatenate(rows), return_inverse=True)
    ends = numpy.cumsum([0] + [len(row) for row in rows])
    ones = numpy.ones(len(columns), dtype=numpy.int32)
    return csr_matrix((ones, columns, ends), shape=(len(rows), len(hashes)))


def _shingle_hashes(words):
    """A 64-bit hash of every window of words; a text shorter than one window is one shingle."""
    import numpy

    size = min(SHINGLE_WORDS, len(words)) or 1
    n_shingles = max(len(words) - size + 1, 0)
    hashes = numpy.full(n_shingles, size, dtype=numpy.uint64)
    for offset in range(size):
        # An odd multiplier (2**64 / golden ratio) and a shift spread word numbers over 64 bits.
        mixed = (hashes ^ words[offset : offset + n_shingles]) * numpy.uint64(0x9E3779B97F4A7C15)
        hashes = mixed ^ (mixed >> numpy.uint64(29))
    return hashes


def _close_pairs(
    one: scipy.sparse.csr_matrix, other: scipy.sparse.csr_matrix, threshold: float
) -> tuple[dict[tuple[int, int], float], tuple[float, int, int]]:
    """Row pairs with a Jaccard of at least `threshold`, and the closest pair of all."""
    import numpy

    sizes, other_sizes = numpy.diff(one.indptr), numpy.diff(other.indptr)
    other_columns = other.T.tocsr()
    pairs: dict[tuple[int, int], float] = {}
    closest = (0.0, 0, 0)
    for start in range(0, one.shape[0], _ROWS_AT_ONCE):
        shared = (one[start : start + _ROWS_AT_ONCE] @ other_columns).tocoo()
        if not shared.nnz:
            continue
        i = shared.row + start
        jaccard = shared.data / (sizes[i] + other_sizes[shared.col] - shared.data)
        best = int(jaccard.argmax())
        if jaccard[best] > closest[0]:
            closest = (float(jaccard[best]), int(i[best]), int(shared.col[best]))
        for k in numpy.flatnonzero(jaccard >= threshold):
            pairs[int(i[k]), int(shared.col[k])] = float(jaccard[k])
    return pairs, closest
