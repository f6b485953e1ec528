"""Splits of a user's own data: what belongs together stays together.

    parts, groups = split_encounters(encounters, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=17)

Encounters of one patient, and copies as the leak check finds them, form a group; groups that share
an encounter are one. A group goes into one split, so that no test encounter has a near copy or
another visit of its patient in training.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from medisum_utils.data.leaks import NEAR_DUPLICATE, comparable, similar_pairs
from medisum_utils.encounter import Encounter

PATIENT = "patient"  # key of `Encounter.meta`
REASONS = ("the same patient", "equal or near-equal dialogues", "equal or near-equal long notes")
_LADDER = (0.6, 0.7, 0.8, 0.9, 0.95, 1.0)  # thresholds that advice tries


@dataclass(frozen=True, slots=True)
class Groups:
    """Which encounters belong together, and why.

    `labels` has the group of each encounter, counted from 0; `reasons` how many encounters have
    another one that is like them in this way (one may count for several reasons); `threshold` is
    the Jaccard from which dialogues are near-equal.
    """

    labels: tuple[int, ...]
    reasons: dict[str, int]
    threshold: float

    @property
    def sizes(self) -> list[int]:
        """The number of encounters in each group."""
        return np.bincount(self.labels).tolist()

    @property
    def n_grouped(self) -> int:
        """How many encounters stand in a group of more than one."""
        return sum(size for size in self.sizes if size > 1)

    @property
    def count(self) -> str:
        """How many groups there are, in words."""
        n = len(self.sizes)
        return f"{n} group{'' if n == 1 else 's'}"

    def __str__(self) -> str:
        why = [f"{reason} {n}" for reason, n in self.reasons.items() if n]
        why.append(f"near-equal from a Jaccard of {self.threshold:g}")
        return (
            f"{len(self.labels)} encounters in {self.count}, the largest of {max(self.sizes)}; "
            f"{self.n_grouped} belong to a group of more than one ({', '.join(why)})"
        )


def find_groups(encounters: Sequence[Encounter], threshold: float = NEAR_DUPLICATE) -> Groups:
    """Groups encounters of one patient (`meta["patient"]`) and copies as `check_leaks` finds them.

    Raises: ValueError for no encounter, an id used twice, or a threshold outside 0 to 1.
    """
    n = len(encounters)
    labels = np.arange(n)
    alike = {reason: np.zeros(n, dtype=bool) for reason in REASONS}
    for reason, i, j in _alike(encounters, threshold):
        alike[reason][i] = alike[reason][j] = True
        links = coo_matrix((np.ones(len(i), dtype=bool), (labels[i], labels[j])), shape=(n, n))
        labels = connected_components(links, directed=False)[1][labels]
    return Groups(
        labels=tuple(pd.factorize(labels)[0].tolist()),
        reasons={reason: int(rows.sum()) for reason, rows in alike.items()},
        threshold=threshold,
    )


def _alike(
    encounters: Sequence[Encounter], threshold: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields a reason of `REASONS` and the pairs of different rows that it joins."""
    (texts,) = comparable({"own": encounters}).values()
    first_visit: dict[str, int] = {}
    visits = [
        (first_visit.setdefault(encounter.meta[PATIENT], row), row)
        for row, encounter in enumerate(encounters)
        if PATIENT in encounter.meta
    ]
    i, j = np.array(visits, dtype=int).reshape(-1, 2).T
    yield REASONS[0], i[i < j], j[i < j]
    for what, pairs, is_copy in similar_pairs(texts, texts, threshold):
        chosen = is_copy & (pairs.i < pairs.j)
        yield REASONS[1 if what == "dialogue" else 2], pairs.i[chosen], pairs.j[chosen]


def split_encounters(
    encounters: Sequence[Encounter],
    fractions: Mapping[str, float],
    seed: int,
    threshold: float = NEAR_DUPLICATE,
) -> tuple[dict[str, list[Encounter]], Groups]:
    """Splits encounters by group; `fractions` sum to 1, e.g. train 0.8, valid 0.1, test 0.1.

    The splits' sizes are as near the fractions as whole groups allow, with one group at least in
    each; which groups go where, and their order, follows from `seed`.

    Raises: ValueError if the fractions do not sum to 1, or with advice where there are fewer
    groups than splits; `find_groups` says what else.
    """
    if any(part <= 0 for part in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"expected positive fractions that sum to 1, got {dict(fractions)}")
    groups = find_groups(encounters, threshold)
    if len(groups.sizes) < len(fractions):
        raise ValueError(_advice(encounters, groups, list(fractions)))
    rng = random.Random(seed)
    splits = _assigned(groups.sizes, fractions, rng)
    parts: dict[str, list[Encounter]] = {name: [] for name in fractions}
    labelled = list(zip(encounters, groups.labels, strict=True))
    for encounter, label in rng.sample(labelled, len(labelled)):
        parts[splits[label]].append(encounter)
    return parts, groups


def _assigned(
    sizes: Sequence[int], fractions: Mapping[str, float], rng: random.Random
) -> list[str]:
    """The split of each group: small splits choose first, from shuffled groups, one takes the rest.

    Kept back for later choices are the largest group and one small one each, so none is empty.
    """
    wanted = dict(zip(fractions, _whole_numbers(sum(sizes), fractions.values()), strict=True))
    *names, largest = sorted(wanted, key=wanted.__getitem__)
    splits = [largest] * len(sizes)
    left = rng.sample(range(len(sizes)), len(sizes))
    for n_later, name in zip(range(len(names), 0, -1), names, strict=True):
        by_size = sorted(left, key=sizes.__getitem__)
        kept_back = {*by_size[: n_later - 1], by_size[-1]}
        free = [group for group in left if group not in kept_back]
        for place in _nearest_sum([sizes[group] for group in free], wanted[name]):
            splits[free[place]] = name
        left = [group for group in left if splits[group] == largest]
    return splits


def _nearest_sum(sizes: Sequence[int], wanted: int) -> list[int]:
    """Places of sizes whose sum is as near `wanted` as any, at least one, early ones if possible.

    Bit s of a number says whether the sizes up to a place can sum to s.
    """
    highest = max(2 * wanted, min(sizes))  # the nearest possible sum is no larger
    mask = (1 << (highest + 1)) - 1
    reached = [1]
    for size in sizes:
        reached.append((reached[-1] | reached[-1] << size) & mask)
    sums = (total for total in range(1, highest + 1) if reached[-1] >> total & 1)
    total = min(sums, key=lambda possible: abs(possible - wanted))
    chosen = []
    for place in reversed(range(len(sizes))):
        if not reached[place] >> total & 1:
            chosen.append(place)
            total -= sizes[place]
    return chosen


def _whole_numbers(n: int, fractions: Iterable[float]) -> list[int]:
    """`n` in whole parts that sum to it, those with the largest remainder rounded up."""
    exact = [round(n * fraction, 9) for fraction in fractions]
    parts = [int(part) for part in exact]
    by_remainder = sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[: n - sum(parts)]:
        parts[place] += 1
    return parts


def _advice(encounters: Sequence[Encounter], groups: Groups, names: Sequence[str]) -> str:
    """What to do if the encounters cannot be split."""
    refusal = (
        f"expected at least {len(names)} groups of encounters that have nothing in common, one for "
        f"each of {', '.join(names)}, got {groups}.\n"
        "A test on copies of training encounters, or on patients of training, says nothing.\n"
    )
    if len(encounters) < len(names):
        return f"{refusal}Bring at least {len(names)} encounters."
    patients = {encounter.meta.get(PATIENT) for encounter in encounters}
    if None not in patients and len(patients) < len(names):
        return (
            f"{refusal}The file names {len(patients)} of the {len(names)} patients that it takes: "
            "bring encounters of more, or leave the column out if it names no patients."
        )
    tried = [find_groups(encounters, step) for step in _LADDER if step > groups.threshold]
    if tried:
        steps = (f"{each.threshold:g}: {each.n_grouped} in {each.count}" for each in tried)
        refusal += (
            "How many would belong to a group of more than one, in how many groups in all, "
            f"by near_duplicate: {'; '.join(steps)}.\n"
        )
    for each in tried:
        if len(each.sizes) >= len(names):
            return (
                f"{refusal}If they share a template and are no copies of each other, set "
                f"01_data.near_duplicate (now {groups.threshold:g}) to {each.threshold:g}: the "
                "Jaccard of five-word shingles, above 0 to 1, from which dialogues count as "
                "copies; at 1 only those equal word for word do."
            )
    return (
        f"{refusal}No value of 01_data.near_duplicate (a Jaccard from above 0 to 1) separates "
        "them: bring encounters that differ."
    )
