"""Splits that may be trusted: the leak check, the removal of known leaks, and the manifest.

A leak is an encounter of one split that stands in another one as well: its dialogue in the same
words ("exact") or nearly so ("near"), its whole note in the same words or nearly so ("note"), or
its id ("id"). Words are compared after `normalise`, speaker labels and headers left out, so a
relabelled copy is a copy. `grouping` parts a user's own data by the same comparison.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from medisum_utils.data.shingles import Pairs, iter_pairs, normalise, shingle_matrix
from medisum_utils.encounter import Encounter

if TYPE_CHECKING:
    import numpy
    import pandas
    import scipy.sparse

__all__ = [
    "LONG_NOTE_WORDS",
    "NEAR_DUPLICATE",
    "NEAR_LONG_NOTE",
    "NEAR_NOTE",
    "NOTE_WORDS",
    "Compared",
    "Leak",
    "LeakError",
    "Likeness",
    "check_leaks",
    "compared",
    "find_leaks",
    "likenesses",
    "normalise",
    "remove_leaks",
    "split_manifest",
]

Splits = Mapping[str, Sequence[Encounter]]

NEAR_DUPLICATE = 0.5  # Jaccard; with one word in 13 changed at random, a copy has about 0.5

# Notes are held to their length. Below 15 words, such as "No known allergies.", they are the same
# by chance. Below 30, stock phrases of different patients reach 0.52 between MTS-Dialog's splits.
# From 30 on, different notes have at most 0.16 (ACI-Bench; generated ones 0.13), and a note of 40
# words with any three of them changed still has 0.41 of the original.
NOTE_WORDS = 15
NEAR_NOTE = 0.55
LONG_NOTE_WORDS = 30
NEAR_LONG_NOTE = 0.4

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
        more = len(self.leaks) - _SHOWN_LEAKS
        rest = f"\n  and {more} more" if more > 0 else ""
        super().__init__(
            f"expected no encounter in two splits, got {len(self.leaks)} leaks:\n{shown}{rest}"
        )


def check_leaks(splits: Splits, threshold: float = NEAR_DUPLICATE) -> pandas.DataFrame:
    """Compares every pair of splits and returns what was compared, one row a pair.

    Columns: split, other_split, n_pairs (encounters compared), highest_jaccard (of the closest
    two dialogues, between 0 and 1), closest_id, other_closest_id, highest_note_jaccard (of notes
    of `NOTE_WORDS` or more), n_recurring_notes (encounters of other_split whose shorter note
    stands in split, too: counted, no leak). `threshold` is that of `likenesses`.

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


def remove_leaks(splits: Splits) -> tuple[dict[str, list[Encounter]], list[Leak]]:
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


class Compared(NamedTuple):
    """What is compared of some encounters: words, "" for none, and the shingles of them."""

    ids: list[str]
    dialogues: list[str]
    notes: list[str]  # of NOTE_WORDS or more
    short_notes: list[str]
    n_note_words: numpy.ndarray
    dialogue_shingles: scipy.sparse.csr_matrix
    note_shingles: scipy.sparse.csr_matrix


class Likeness(NamedTuple):
    """Pairs whose dialogues or notes (`what`) share a shingle, and which of them are copies."""

    what: str
    pairs: Pairs
    is_copy: numpy.ndarray


def compared(splits: Splits) -> dict[str, Compared]:
    """Prepares the encounters of each split for `likenesses`.

    Raises: ValueError for a split that is empty or holds one id twice.
    """
    import numpy

    _require_checkable(splits)
    everyone = [one for part in splits.values() for one in part]
    dialogues = [normalise(" ".join(turn.text for turn in one.turns)) for one in everyone]
    notes = [normalise(" ".join(part.text for part in one.note)) for one in everyone]
    n_words = numpy.array([len(note.split()) for note in notes])
    long = [note if n >= NOTE_WORDS else "" for note, n in zip(notes, n_words, strict=True)]
    short = [note if n < NOTE_WORDS else "" for note, n in zip(notes, n_words, strict=True)]
    columns = (
        *([one.id for one in everyone], dialogues, long, short, n_words),
        *(shingle_matrix(dialogues), shingle_matrix(long)),
    )
    parts, start = {}, 0
    for name, encounters in splits.items():
        end = start + len(encounters)
        parts[name] = Compared(*(column[start:end] for column in columns))
        start = end
    return parts


def likenesses(one: Compared, other: Compared, threshold: float) -> Iterator[Likeness]:
    """All pairs of encounters with anything in common, notes first, some hundred rows at a time.

    `threshold` is for dialogues; one above `NEAR_DUPLICATE` is asked of notes, too, so that at 1
    only equal ones are copies.

    Raises: ValueError for a threshold outside 0 to 1.
    """
    import numpy

    if not 0 < threshold <= 1:
        raise ValueError(f"expected a Jaccard threshold above 0 and at most 1, got {threshold}")
    least = threshold if threshold > NEAR_DUPLICATE else 0.0
    for pairs in iter_pairs(one.note_shingles, other.note_shingles):
        n_words = numpy.minimum(one.n_note_words[pairs.i], other.n_note_words[pairs.j])
        enough = numpy.where(n_words < LONG_NOTE_WORDS, NEAR_NOTE, NEAR_LONG_NOTE)
        yield Likeness("note", pairs, pairs.jaccard >= numpy.maximum(enough, least))
    for pairs in iter_pairs(one.dialogue_shingles, other.dialogue_shingles):
        yield Likeness("dialogue", pairs, pairs.jaccard >= threshold)


def _compare(splits: Splits, threshold: float) -> tuple[list[Leak], list[dict]]:
    """The leaks, and one row of figures for each pair of splits."""
    parts = compared(splits)
    leaks, rows = [], []
    for (name, one), (other_name, other) in combinations(parts.items(), 2):
        numbers = {identifier: j for j, identifier in enumerate(other.ids)}
        found: dict[tuple[int, int], tuple[str, float | None]] = {
            (i, numbers[key]): ("id", None) for i, key in enumerate(one.ids) if key in numbers
        }
        closest = {"dialogue": (0.0, 0, 0), "note": (0.0, 0, 0)}
        for what, pairs, is_copy in likenesses(one, other, threshold):
            closest[what] = max(closest[what], _closest(pairs), key=lambda pair: pair[0])
            copies = (column[is_copy].tolist() for column in pairs)
            for i, j, jaccard in zip(*copies, strict=True):
                found[i, j] = _kind(what, one, i, other, j, jaccard)
        leaks += [
            Leak(kind, name, one.ids[i], other_name, other.ids[j], jaccard)
            for (i, j), (kind, jaccard) in sorted(found.items())
        ]
        rows.append(
            {"split": name, "other_split": other_name, "n_pairs": len(one.ids) * len(other.ids)}
            | _figures(one, other, closest)
        )
    return leaks, rows


def _kind(
    what: str, one: Compared, i: int, other: Compared, j: int, jaccard: float
) -> tuple[str, float | None]:
    texts, other_texts = (
        (one.notes, other.notes) if what == "note" else (one.dialogues, other.dialogues)
    )
    equal = texts[i] == other_texts[j]
    kind = "note" if what == "note" else "exact" if equal else "near"
    return kind, None if equal else jaccard


def _closest(pairs: Pairs) -> tuple[float, int, int]:
    """The highest Jaccard and its rows."""
    if not len(pairs.jaccard):
        return 0.0, 0, 0
    best = pairs.jaccard.argmax()
    return float(pairs.jaccard[best]), int(pairs.i[best]), int(pairs.j[best])


def _figures(one: Compared, other: Compared, closest: dict[str, tuple[float, int, int]]) -> dict:
    jaccard, i, j = closest["dialogue"]
    recurring = {note for note in one.short_notes if note}
    return {
        "highest_jaccard": jaccard,
        "closest_id": one.ids[i] if jaccard else "",
        "other_closest_id": other.ids[j] if jaccard else "",
        "highest_note_jaccard": closest["note"][0],
        "n_recurring_notes": sum(note in recurring for note in other.short_notes),
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
