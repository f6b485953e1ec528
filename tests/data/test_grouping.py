"""Own data is parted by whole groups: no patient and no copy stands in two splits."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from medisum_utils.data.grouping import PATIENT, REASONS, Groups, find_groups, split_encounters
from medisum_utils.data.leaks import NEAR_DUPLICATE, check_leaks, find_leaks
from medisum_utils.encounter import Encounter, NoteSection, Turn

FRACTIONS = {"train": 0.8, "valid": 0.1, "test": 0.1}
WORDS = [f"{a}{b}{c}um" for a in "bdfgklmn" for b in "aeiou" for c in "prstvwxz"]


def words(seed: object, n: int) -> list[str]:
    return random.Random(str(seed)).choices(WORDS, k=n)


def changed(text: str, seed: object, n: int) -> str:
    """The text with `n` of its words replaced."""
    parts, rng = text.split(), random.Random(str(seed))
    for place in rng.sample(range(len(parts)), n):
        parts[place] = f"other{rng.randrange(10**6)}"
    return " ".join(parts)


def visit(name: object, dialogue: str | None = None, note: str = "Rest.", **meta) -> Encounter:
    """A visit whose dialogue is its own unless one is given."""
    turns = (Turn("doctor", dialogue or " ".join(words(name, 60))),)
    return Encounter(str(name), "own", "own", turns, (NoteSection("Note", "", note),), meta=meta)


def visits(n: int, **meta) -> list[Encounter]:
    return [visit(number, **meta) for number in range(n)]


def templated(n: int, n_changed: int) -> list[Encounter]:
    """Visits that fill the same form."""
    form = " ".join(words("form", 100))
    return [visit(number, changed(form, number, n_changed)) for number in range(n)]


def sizes(parts: dict[str, list[Encounter]]) -> list[int]:
    return [len(part) for part in parts.values()]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(3, [1, 1, 1]), (8, [6, 1, 1]), (10, [8, 1, 1]), (30, [24, 3, 3]), (101, [81, 10, 10])],
)
def test_different_visits_are_parted_by_the_fractions(n: int, expected: list[int]) -> None:
    parts, groups = split_encounters(visits(n), FRACTIONS, seed=17)
    assert sizes(parts) == expected
    assert sorted(one.id for part in parts.values() for one in part) == sorted(map(str, range(n)))
    assert (len(groups.sizes), groups.n_grouped, set(groups.reasons.values())) == (n, 0, {0})


def test_splitting_follows_from_the_seed() -> None:
    parts, _ = split_encounters(visits(40), FRACTIONS, seed=17)
    assert split_encounters(visits(40), FRACTIONS, seed=17)[0] == parts
    assert split_encounters(visits(40), FRACTIONS, seed=18)[0] != parts


@pytest.mark.parametrize("fractions", [{"train": 0.8, "test": 0.1}, {"train": 1.0, "test": 0.0}])
def test_fractions_that_are_none_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive fractions that sum to 1"):
        split_encounters(visits(10), fractions, seed=17)


def test_what_belongs_together_is_grouped_and_says_why() -> None:
    dialogue, note = " ".join(words("d", 60)), " ".join(words("n", 40))
    encounters = [
        visit("alone"),
        visit("a", dialogue),
        visit("b", dialogue.upper()),
        visit("c", changed(dialogue, 1, 2)),
        visit("p1", **{PATIENT: "Anna"}),
        visit("p2", note=note, **{PATIENT: "Anna"}),
        visit("q", note=changed(note, 2, 3)),  # through its note it belongs to both of Anna's
        visit("short1", note="No known allergies."),
        visit("short2", note="No known allergies."),
        visit("r", **{PATIENT: "Ben"}),
    ]
    groups = find_groups(encounters)
    assert groups.labels == (0, 1, 1, 1, 2, 2, 2, 3, 4, 5)
    assert groups.reasons == dict(zip(REASONS, (2, 3, 2), strict=True))
    assert (groups.sizes, groups.n_grouped) == ([1, 3, 3, 1, 1, 1], 6)
    assert str(groups) == (
        "10 encounters in 6 groups, the largest of 3; 6 belong to a group of more than one "
        "(the same patient 2, equal or near-equal dialogues 3, equal or near-equal long notes 2, "
        "near-equal from a Jaccard of 0.5)"
    )


def random_visits(rng: random.Random) -> list[Encounter]:
    """Visits of which many are copies of others, by a dialogue, a note or a patient."""
    made: list[Encounter] = []
    for number in range(rng.randint(12, 40)):
        one = visit((rng.random(), number), note=" ".join(words((number, rng.random()), 40)))
        other = rng.choice(made) if made else one
        match rng.randrange(8):
            case 0:
                one = replace(one, turns=other.turns)
            case 1:
                text = changed(other.turns[0].text, number, rng.randint(1, 6))
                one = replace(one, turns=(Turn("patient", text),))
            case 2:
                one = replace(one, note=other.note)
            case 3:
                text = changed(other.note[0].text, number, rng.randint(1, 4))
                one = replace(one, note=(NoteSection("Plan", "plan", text),))
            case 4:
                one = replace(one, meta={PATIENT: str(rng.randrange(5))})
        made.append(one)
    return made


@pytest.mark.parametrize("seed", range(25))
def test_no_group_is_ever_torn_and_every_encounter_lands_once(seed: int) -> None:
    rng = random.Random(seed)
    encounters = random_visits(rng)
    threshold = rng.choice([0.3, NEAR_DUPLICATE, 0.8, 1.0])
    parts, groups = split_encounters(encounters, FRACTIONS, seed=seed, threshold=threshold)
    landed = [one.id for part in parts.values() for one in part]
    assert sorted(landed) == sorted(one.id for one in encounters)
    assert min(sizes(parts)) > 0
    split_of = {one.id: name for name, part in parts.items() for one in part}
    split_of_group = {
        (label, split_of[one.id]) for one, label in zip(encounters, groups.labels, strict=True)
    }
    assert len(split_of_group) == len(groups.sizes)
    check_leaks(parts, threshold)
    patients = Counter(
        patient for part in parts.values() for patient in {one.meta.get(PATIENT) for one in part}
    )
    assert all(n == 1 for patient, n in patients.items() if patient)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_those_that_a_check_of_every_pair_finds(seed: int) -> None:
    encounters = random_visits(random.Random(f"pairs {seed}"))
    groups = find_groups(encounters)
    reached = {one.id: {one.id} for one in encounters}
    for one, other in itertools.combinations(encounters, 2):
        patients = [each.meta.get(PATIENT, each.id) for each in (one, other)]
        if patients[0] == patients[1] or find_leaks({"one": [one], "other": [other]}):
            both = reached[one.id] | reached[other.id]
            reached |= dict.fromkeys(both, both)
    labels = {one.id: label for one, label in zip(encounters, groups.labels, strict=True)}
    for identifier, together in reached.items():
        same = {key for key, label in labels.items() if label == labels[identifier]}
        assert same == together


def best_deviation(group_sizes: Sequence[int], wanted: Sequence[int]) -> int:
    """How near the wanted sizes any assignment of groups comes that leaves no split empty."""
    deviations = []
    for places in itertools.product(range(3), repeat=len(group_sizes)):
        totals = [0, 0, 0]
        for place, size in zip(places, group_sizes, strict=True):
            totals[place] += size
        if min(totals):
            deviations.append(sum(abs(a - b) for a, b in zip(totals, wanted, strict=True)))
    return min(deviations)


@pytest.mark.parametrize("seed", range(30))
def test_sizes_come_as_near_the_fractions_as_groups_allow_but_for_one_encounter(seed: int) -> None:
    rng = random.Random(seed)
    group_sizes = [rng.randint(1, rng.choice([2, 9])) for _ in range(rng.randint(3, 7))]
    encounters = [
        visit((patient, number), **{PATIENT: str(patient)})
        for patient, n in enumerate(group_sizes)
        for number in range(n)
    ]
    plain, _ = split_encounters(visits(len(encounters)), FRACTIONS, seed=0)
    parts, groups = split_encounters(encounters, FRACTIONS, seed=seed)
    assert groups.sizes == group_sizes
    got = sum(abs(a - b) for a, b in zip(sizes(parts), sizes(plain), strict=True))
    assert got <= best_deviation(group_sizes, sizes(plain)) + 2  # one more here is one less there


def test_large_groups_can_land_in_any_split() -> None:
    encounters = [visit((p, n), **{PATIENT: str(p)}) for p in range(20) for n in range(1 + p % 3)]
    found = {name: set() for name in FRACTIONS}
    for seed in range(20):
        parts, _ = split_encounters(encounters, FRACTIONS, seed=seed)
        for name, part in parts.items():
            found[name] |= set(Counter(one.meta[PATIENT] for one in part).values())
    assert all(group_sizes == {1, 2, 3} for group_sizes in found.values())


def refusal(encounters: list[Encounter], threshold: float = NEAR_DUPLICATE) -> str:
    with pytest.raises(ValueError, match="expected at least 3 groups") as caught:
        split_encounters(encounters, FRACTIONS, seed=17, threshold=threshold)
    assert not set(str(caught.value).split()) & {*WORDS, "Anna", "Ben"}
    return str(caught.value)


def test_templated_visits_get_advice_that_works() -> None:
    encounters = templated(30, n_changed=4)
    message = refusal(encounters)
    assert "got 30 encounters in 1 group, the largest of 30" in message
    assert "equal or near-equal dialogues 30" in message
    assert "says nothing" in message
    advised = float(message.split("01_data.near_duplicate (now 0.5) to ")[1].split(":")[0])
    parts, groups = split_encounters(encounters, FRACTIONS, seed=17, threshold=advised)
    assert min(sizes(parts)) > 0
    check_leaks(parts, advised)
    assert f" {advised:g}: {groups.n_grouped} in {len(groups.sizes)} group" in message
    assert sizes(split_encounters(encounters, FRACTIONS, seed=17, threshold=1.0)[0]) == [24, 3, 3]


def test_templated_notes_can_be_parted_too() -> None:
    form = " ".join(words("form", 60))
    encounters = [visit(i, note=changed(form, i, 2)) for i in range(10)]
    assert "equal or near-equal long notes 10" in refusal(encounters)
    assert sizes(split_encounters(encounters, FRACTIONS, seed=17, threshold=1.0)[0]) == [8, 1, 1]


def test_equal_visits_cannot_be_parted_by_any_threshold() -> None:
    message = refusal([visit(i, "is it sore yes it is") for i in range(10)])
    assert "No value of 01_data.near_duplicate" in message
    assert "No value" in refusal([visit(i, "is it sore") for i in range(10)], threshold=1.0)


def test_too_few_patients_or_visits_are_named_as_the_reason() -> None:
    one_patient = refusal(visits(30, **{PATIENT: "Anna"}))
    assert "the same patient 30" in one_patient
    assert "The file names 1 of the 3 patients that it takes" in one_patient
    assert "near_duplicate" not in one_patient
    assert "Bring at least 3 encounters." in refusal(visits(2))


def test_one_large_group_goes_to_training() -> None:
    encounters = [
        *visits(28, **{PATIENT: "Anna"}),
        visit("x", patient="B"),
        visit("y", patient="C"),
    ]
    parts, groups = split_encounters(encounters, FRACTIONS, seed=17)
    assert sizes(parts) == [28, 1, 1]
    assert max(groups.sizes) == 28


def test_no_encounter_and_no_threshold_are_refused() -> None:
    with pytest.raises(ValueError, match="expected encounters in split own, got none"):
        find_groups([])
    with pytest.raises(ValueError, match="threshold above 0"):
        find_groups(visits(3), threshold=1.5)
    assert Groups((0, 0, 1), {}, 0.5).sizes == [2, 1]
