"""The leak check finds what it must, shows ids only, and the manifest agrees with the files."""

import hashlib
import json
import random
import time

import pytest

from medisum_utils.encounter import Encounter, NoteSection, Turn, write_jsonl
from medisum_utils.splits import (
    NOTE_WORDS,
    LeakError,
    check_leaks,
    find_leaks,
    normalise,
    remove_leaks,
    split_encounters,
    split_manifest,
)

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "prstvwxz"]


def words(seed: int, n: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n)


def encounter(name: str, dialogue: str, note: str = "Rest.", speaker: str = "doctor") -> Encounter:
    turns = (Turn(speaker, dialogue),)
    return Encounter(name, "made up", "", turns, (NoteSection("Plan", "plan", note),))


def unrelated(prefix: str, n: int, n_words: int = 60) -> list[Encounter]:
    texts = (" ".join(words(hash_of(prefix, i), n_words)) for i in range(n))
    return [encounter(f"{prefix}{i}", text) for i, text in enumerate(texts)]


def hash_of(*parts) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16)


def test_unrelated_splits_pass_and_the_table_says_what_was_compared():
    table = check_leaks(
        {"train": unrelated("a", 30), "valid": unrelated("b", 5), "test": unrelated("c", 7)}
    )
    assert list(table["n_pairs"]) == [150, 210, 35]
    assert (table["highest_jaccard"] < 0.2).all()


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text.replace(" ", "\n  "),
        lambda text: "... " + text.replace(" ", ", ") + "!",
        lambda text: text,
    ],
)
def test_case_space_and_punctuation_do_not_hide_a_copy(change):
    text = " ".join(words(1, 40))
    splits = {
        "train": [*unrelated("a", 3), encounter("copy", change(text), speaker="patient")],
        "test": [encounter("original", text), *unrelated("b", 3)],
    }
    (leak,) = find_leaks(splits)
    assert (leak.kind, leak.id, leak.other_id) == ("exact", "copy", "original")


def test_a_short_exact_copy_is_found_and_a_short_different_one_is_not():
    one, other = encounter("a", "Any allergies? No."), encounter("b", "any allergies no")
    assert [leak.kind for leak in find_leaks({"train": [one], "test": [other]})] == ["exact"]
    assert not find_leaks({"train": [one], "test": [encounter("c", "Any fever? No.")]})


def test_near_duplicates_are_found_up_to_about_one_word_in_thirteen():
    text = words(2, 390)
    light, heavy = list(text), list(text)
    for place in range(5, 390, 30):
        light[place] = "changed"
    for place in range(5, 390, 6):
        heavy[place] = "changed"
    test = [encounter("original", " ".join(text))]
    (leak,) = find_leaks({"train": [encounter("light", " ".join(light))], "test": test})
    # 13 changes spoil 5 shingles each: 65 of 386 are lost on either side.
    assert leak.kind == "near"
    assert leak.jaccard == pytest.approx((386 - 65) / (386 + 65))
    assert not find_leaks({"train": [encounter("heavy", " ".join(heavy))], "test": test})


def test_jaccard_agrees_with_python_sets():
    pool = words(3, 12)
    rng = random.Random(4)
    one, other = (
        [encounter(f"{side}{i}", " ".join(rng.choices(pool[:3], k=30))) for i in range(20)]
        for side in "ab"
    )

    def shingles(item):
        parts = normalise(item.turns[0].text).split()
        return {tuple(parts[i : i + 5]) for i in range(len(parts) - 4)}

    def jaccard(x, y):
        return len(shingles(x) & shingles(y)) / len(shingles(x) | shingles(y))

    expected = {(x.id, y.id): jaccard(x, y) for x in one for y in other if jaccard(x, y) >= 0.02}
    found = find_leaks({"train": one, "test": other}, threshold=0.02)
    assert {(leak.id, leak.other_id): leak.jaccard for leak in found} == pytest.approx(expected)
    assert len(expected) > 10


def test_the_same_long_note_under_another_dialogue_is_a_leak_and_a_short_one_is_not():
    long_note = " ".join(words(5, NOTE_WORDS))
    a, b = unrelated("a", 1)[0].turns[0].text, unrelated("b", 1)[0].turns[0].text
    splits = {
        "train": [encounter("x", a, long_note.upper())],
        "test": [encounter("y", b, long_note + ".")],
    }
    assert [leak.kind for leak in find_leaks(splits)] == ["note"]
    short = " ".join(words(5, NOTE_WORDS - 1))
    assert not find_leaks({"train": [encounter("x", a, short)], "test": [encounter("y", b, short)]})


def test_the_same_id_is_a_leak():
    a, b = unrelated("a", 1)[0].turns[0].text, unrelated("b", 1)[0].turns[0].text
    splits = {"train": [encounter("one", a)], "test": [encounter("one", b)]}
    assert [leak.kind for leak in find_leaks(splits)] == ["id"]


def test_the_error_lists_ids_and_never_text():
    secret = " ".join(f"secret{i}" for i in range(50))
    splits = {
        "train": [encounter(f"t{i}", secret) for i in range(30)],
        "test": [encounter("held-out", secret)],
    }
    with pytest.raises(LeakError) as caught:
        check_leaks(splits)
    message = str(caught.value)
    assert len(caught.value.leaks) == 30
    assert "30 leaks" in message
    assert "train/t0 = test/held-out (exact)" in message
    assert "and 10 more" in message
    assert "secret" not in message


def test_removing_leaks_drops_the_earlier_copy_and_then_the_check_passes():
    text = " ".join(words(7, 50))
    splits = {
        "train": [encounter("copy", text), *unrelated("a", 4)],
        "valid": unrelated("b", 3),
        "test": [encounter("original", text.upper())],
    }
    clean, leaks = remove_leaks(splits)
    assert [item.id for item in clean["train"]] == ["a0", "a1", "a2", "a3"]
    assert (clean["valid"], clean["test"]) == (splits["valid"], splits["test"])
    assert [leak.id for leak in leaks] == ["copy"]
    check_leaks(clean)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ValueError, match="expected encounters in split test, got none"):
        check_leaks({"train": unrelated("a", 2), "test": []})
    with pytest.raises(ValueError, match="1 ids more than once, first a0"):
        check_leaks({"train": [*unrelated("a", 2), *unrelated("a", 1)], "test": unrelated("b", 1)})
    with pytest.raises(ValueError, match="threshold above 0"):
        find_leaks({"train": unrelated("a", 1), "test": unrelated("b", 1)}, threshold=0.0)


@pytest.mark.slow
def test_ten_thousand_against_five_hundred_takes_seconds():
    train, test = unrelated("a", 10_000, 400), unrelated("b", 500, 400)
    train[1234] = encounter("copy", test[42].turns[0].text + " and more")
    start = time.process_time()
    leaks = find_leaks({"train": train, "test": test})
    seconds = time.process_time() - start
    assert [(leak.id, leak.other_id) for leak in leaks] == [("copy", "b42")]
    assert seconds < 30


def test_the_manifest_agrees_with_the_written_files(tmp_path):
    splits = {"train": unrelated("é", 3), "test": unrelated("b", 2)}
    manifest = json.loads(json.dumps(split_manifest(splits)))
    for name, encounters in splits.items():
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, encounters)
        assert manifest[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert manifest[name]["n"] == len(encounters)
        assert manifest[name]["ids"] == [item.id for item in encounters]
        assert manifest[name]["sources"] == {"made up": len(encounters)}


def test_splitting_is_seeded_and_loses_nothing():
    items = unrelated("a", 101)
    fractions = {"train": 0.8, "valid": 0.1, "test": 0.1}
    parts = split_encounters(items, fractions, seed=17)
    assert [len(part) for part in parts.values()] == [81, 10, 10]
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in items)
    assert parts == split_encounters(items, fractions, seed=17)
    assert parts != split_encounters(items, fractions, seed=18)
    with pytest.raises(ValueError, match="sum to 1"):
        split_encounters(items, {"train": 0.8, "test": 0.1}, seed=17)
    with pytest.raises(ValueError, match="split test, got none"):
        split_encounters(items[:2], {"train": 0.9, "test": 0.1}, seed=17)
