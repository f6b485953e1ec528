"""Variety: every measure against a case that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas
import pytest

from medisum_utils import evaluation
from medisum_utils.data import variety
from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.evaluation import systems
from medisum_utils.synthesis.encounters import generate, generate_tests

ROOT = Path(__file__).resolve().parents[2]


def encounter(said: str, note: str = "", id: str = "a") -> Encounter:
    turns = tuple(Turn("doctor", line) for line in said.split("\n"))
    return Encounter(id, "own", "train", turns, (NoteSection("Plan", "plan", note),))


def test_words_are_those_of_rouge() -> None:
    assert variety.words("Don't take 2.5 mg, Élan!") == ["don", "t", "take", "2", "5", "mg", "lan"]


def test_distinct_share_counts_ngrams_within_a_text_only() -> None:
    texts = [["a", "b", "a", "b"], ["b", "b"]]
    assert variety.distinct_share(texts, 1) == 2 / 6
    # a b, b a, a b | b b: three different of four; b b across the two texts would make a fifth
    assert variety.distinct_share(texts, 2) == 3 / 4
    assert variety.distinct_share(texts, 3) == 1.0


def test_distinct_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 words"):
        variety.distinct_share([["a"]], 2)


def test_a_sample_has_the_words_that_were_asked_for() -> None:
    encounters = [encounter("one two three", id=str(i)) for i in range(10)]
    sample = variety.sample_words(encounters, 20, seed=1)
    assert sum(map(len, sample)) == 20
    with pytest.raises(ValueError, match="expected dialogues of 31 words, got 30"):
        variety.sample_words(encounters, 31)


def test_a_sample_is_the_same_for_a_seed_and_another_for_another() -> None:
    encounters = [encounter(f"w{i}", id=str(i)) for i in range(50)]
    first, again, other = (variety.sample_words(encounters, 20, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_vocabulary_grows_as_words_are_met() -> None:
    growth = variety.vocabulary_growth([["a"] * 1000, [f"w{i}" for i in range(1000)]])
    assert growth["n_words"].iloc[-1] == 2000
    assert growth["n_distinct"].iloc[-1] == 1001
    early = growth[growth["n_words"] <= 1000]
    assert set(early["n_distinct"]) == {1}
    late = growth[growth["n_words"] > 1000]
    assert ((late["n_words"] - late["n_distinct"]) == 999).all()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_heaps_exponent_of_an_exact_power_law(exponent: float) -> None:
    n_words = [10, 100, 1000]
    growth = pandas.DataFrame(
        {"n_words": n_words, "n_distinct": [3 * n**exponent for n in n_words]}
    )
    assert variety.heaps_exponent(growth) == pytest.approx(exponent, abs=1e-12)


def test_lengths_leave_speakers_and_headers_out() -> None:
    table = variety.lengths([encounter("How are you?\nFine.", "Rest at home.", id="x")])
    assert table.loc["x"].to_dict() == {
        "n_turns": 2,
        "dialogue_words": 4,
        "note_words": 3,
        "words_per_turn": 2.0,
    }


def test_extractive_share_counts_every_word_of_the_note() -> None:
    assert variety.extractiveness(encounter("take rest", "Rest rest now doctor")) == 0.5
    assert math.isnan(variety.extractiveness(encounter("take rest", "...")))


def test_the_nearest_dialogue_is_the_one_that_shares_rare_words() -> None:
    train = [encounter("the knee hurts", id="k"), encounter("the ear rings", id="e")]
    found = variety.nearest(train, [encounter("my ear is bad"), encounter("the knee hurts")])
    assert found.index.tolist() == [1, 0]
    assert found.cosine[1] == pytest.approx(1.0)
    assert 0 < found.cosine[0] < 1


def test_nearest_agrees_with_a_cosine_by_hand() -> None:
    train = [encounter("a a b"), encounter("b c")]
    idf = {"a": math.log(3 / 2) + 1, "b": 1.0, "c": math.log(3 / 2) + 1}
    first = {"a": (1 + math.log(2)) * idf["a"], "b": idf["b"]}
    query = {"a": idf["a"], "b": idf["b"]}  # "z" is unknown and weighs nothing
    dot = sum(first[word] * query[word] for word in query)
    norms = math.hypot(*first.values()) * math.hypot(*query.values())
    found = variety.nearest(train, [encounter("a b z")])
    assert found.index.tolist() == [0]
    assert found.cosine[0] == pytest.approx(dot / norms)


def test_a_query_without_a_known_word_is_near_to_nothing() -> None:
    assert variety.nearest([encounter("a")], [encounter("b")]).cosine.tolist() == [0.0]


def test_nearest_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="got 0 to search, 1 queries"):
        variety.nearest([], [encounter("a")])


def test_a_copied_note_scores_one() -> None:
    train = [encounter("knee", "Rest."), encounter("ear", "Ear drops twice daily.")]
    queries = [encounter("ear", "Ear drops twice daily."), encounter("knee", "Surgery.")]
    found = variety.nearest(train, queries)
    assert variety.nearest_note_rouge1(train, queries, found) == [1.0, 0.0]  # "Plan" is no word


def test_a_soap_note_is_scored_with_its_headers() -> None:
    def visit(note: str) -> Encounter:
        parts = NoteSection("Assessment", "assessment", note), NoteSection("Plan", "plan", "Rest.")
        return dataclasses.replace(encounter("knee"), note=parts)

    train, queries = [visit("Sprain.")], [visit("Fracture.")]
    found = variety.nearest(train, queries)
    # Assessment, Plan and Rest agree, one word of four does not
    assert variety.nearest_note_rouge1(train, queries, found) == [pytest.approx(0.75)]


def corpus_like(i: int) -> Encounter:
    """A visit as MTS-Dialog has them: one section under a corpus header."""
    return encounter(f"any pain\nin knee {i} and {i % 3}", f"Pain in knee {i}.", id=str(i))


@pytest.mark.parametrize("kind", ["generated", "one section"])
def test_01_and_04_show_the_same_nearest_note(kind: str) -> None:
    """Each by the calls of its own notebook, which are looked up here too."""
    if kind == "generated":
        train = list(generate(40, seed=5, split="train"))
        test = list(generate_tests(9, seed=5, split="test"))
    else:
        train, test = [corpus_like(i) for i in range(20)], [corpus_like(i) for i in range(50, 57)]
    found = variety.nearest(train, test)
    in_01 = variety.nearest_note_rouge1(train, test, found)
    notes, cosine = systems.baselines(train, test)
    in_04 = evaluation.score_split(test, notes).systems["nearest"].rouge["rouge1"]
    assert in_01 == in_04
    assert 0 < sum(in_01) < len(in_01)
    assert found.cosine.tolist() == cosine
    calls = {
        "01_data": ("variety.nearest(", "variety.nearest_note_rouge1("),
        "04_eval": ("systems.baselines(", "evaluation.score_split("),
    }
    for notebook, expected in calls.items():
        code = (ROOT / "notebooks" / f"{notebook}.py").read_text(encoding="utf-8")
        assert all(call in code for call in expected), notebook


def test_a_row_of_the_table_has_every_measure() -> None:
    train = [encounter(f"patient number {i} has a cough", "cough", id=str(i)) for i in range(40)]
    row = variety.variety(train, train[:3], n_words=200)
    assert row["encounters"] == 40
    assert row["distinct-1"] < row["distinct-2"] <= row["distinct-3"] <= 1
    assert row["extractive share"] == 1
    assert row["nearest dialogue (cosine)"] == pytest.approx(1)
    assert row["nearest note (ROUGE-1)"] == 1
    assert all(math.isfinite(value) for value in row.values())


def test_data_sets_are_compared_on_as_many_words_as_each_has() -> None:
    many = [encounter("one two three four", "one", id=str(i)) for i in range(30)]
    few = many[:10]
    assert variety.n_comparable_words({"many": many, "few": few}, 50_000) == 40
    assert variety.n_comparable_words({"many": many, "few": few}, 30) == 30
    table = variety.comparison({"many": (many, few), "few": (few, few)}, n_words=40, seed=3)
    assert list(table) == ["many", "few"]
    assert table.loc["encounters"].tolist() == [30, 10]
    assert table["few"].to_dict() == variety.variety(few, few, n_words=40, seed=3)
