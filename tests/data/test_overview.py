"""The tables of 01 against cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medisum_utils.data import overview
from medisum_utils.data.sources import MTS
from medisum_utils.data.variety import Nearest
from medisum_utils.encounter import Encounter, Fact, NoteSection, Turn
from medisum_utils.notes.headers import CORPUS_HEADER
from medisum_utils.synthesis.augmented import EXCHANGED


def encounter(number: int, split: str = "train", source: str = "own", **meta: str) -> Encounter:
    """A visit of three turns; a relative answers."""
    turns = (Turn("doctor", "How are you?"), Turn("relative", "Ill."), Turn("doctor", "Rest."))
    facts = (
        Fact("plan", "plan", "rest", turns=(2,)),
        Fact("symptom", "subjective", "ill", turns=(0, 1)),
    )
    note = (NoteSection("Plan", "plan", "Rest now."),)
    return Encounter(f"{split}-{number}", source, split, turns, note, facts, meta)


@pytest.fixture
def splits() -> dict[str, list[Encounter]]:
    problems = [("a", "cough"), ("a", "cold"), ("b", "gout")]
    train = [
        encounter(number, speciality=speciality, problem=problem)
        for number, (speciality, problem) in enumerate(problems)
    ]
    train.append(encounter(3, speciality="b", problem="made up", **{EXCHANGED: "yes"}))
    test = [encounter(0, "test", speciality="b", problem="gout")]
    unseen = [encounter(0, "test_unseen", speciality="a", problem="measles")]
    return {"train": train, "test": test, "test_unseen": unseen}


def test_lengths_are_means_and_counts_stay_whole(splits) -> None:
    table = overview.lengths_table(splits, {})
    assert list(table) == [
        "encounters", "exchanged names", "turns", "dialogue (words)", "note (words)",
        "words a turn",
    ]  # fmt: skip
    assert table.loc["train"].tolist() == [4, 1, 3.0, 5.0, 2.0, 1.7]
    assert [table[name].dtype.kind for name in table][:2] == ["i", "i"]


def test_columns_without_a_count_are_left_out(splits) -> None:
    plain = {"train": splits["test"], "test1": splits["test"]}
    assert "exchanged names" not in overview.lengths_table(plain, {})
    table = overview.lengths_table(plain, {"train": 7, "test1": 1})
    assert list(table)[:3] == ["encounters", "official count", "turns"]
    assert table["official count"].tolist() == [7, 1]


def test_generated_encounters_are_counted_by_speciality_and_problem(splits) -> None:
    table = overview.composition_table("synthetic", splits)
    assert list(table) == [
        "train", "test", "test_unseen", "problems in training", "unseen problems",
    ]  # fmt: skip
    assert table.index.name == "speciality"
    assert table.loc["a"].tolist() == [2, 0, 1, 2, 1]
    assert table.loc["b"].tolist() == [1, 1, 0, 1, 0]  # exchanged names are counted apart


def test_other_data_are_counted_by_subset_header_or_source() -> None:
    own = {"train": [encounter(0), encounter(1, subset="virtscribe")], "test": [encounter(2)]}
    table = overview.composition_table("mine.csv", own)
    assert table.loc["own"].tolist() == [1, 1]
    assert table.loc["virtscribe"].tolist() == [1, 0]
    mts = {"train": [encounter(0, source=MTS, **{CORPUS_HEADER: "ALLERGY"})]}
    table = overview.composition_table(MTS, mts)
    assert (table.index.name, table.index.tolist()) == (CORPUS_HEADER, ["ALLERGY"])


def test_headers_are_counted_only_where_the_corpus_is(splits) -> None:
    assert "train" not in overview.headers_in(splits)
    assert len(overview.headers_in(splits)) == 20
    notes = [encounter(number, source=MTS, **{CORPUS_HEADER: "ALLERGY"}) for number in range(2)]
    table = overview.headers_in({"train": notes, "test1": notes[:1]})
    assert table.loc["ALLERGY", ["train", "test1"]].tolist() == [2, 1]
    assert table["train"].sum() == 2


def test_facts_know_who_says_them_and_where(splits) -> None:
    facts = overview.facts_of(splits["test"])
    assert facts["position"].tolist() == [1.0, 0.0]
    assert facts["doctor"].tolist() == [True, False]
    assert facts["relative"].tolist() == [False, True]
    table = overview.facts_by_kind(facts, n_encounters=4)
    assert table.index.tolist() == [("subjective", "symptom"), ("plan", "plan")]  # the note's order
    assert table["facts an encounter"].tolist() == [0.25, 0.25]
    assert table["only the doctor says it"].tolist() == ["0%", "100%"]
    assert table["a relative says it"].tolist() == ["100%", "0%"]


def test_data_without_facts_give_an_empty_table() -> None:
    assert overview.facts_of([Encounter("a", "own", "train", (), ())]).empty


def test_measures_show_counts_whole_and_shares_exactly() -> None:
    measured = pd.DataFrame({"mine": {"encounters": 1540.0, "distinct-1": 0.12345, "turns": 33.25}})
    table = overview.measures_table(measured)
    assert table["mine"].tolist() == ["1,540", "0.123", "33.2"]
    small = overview.measures_table(pd.DataFrame({"mine": {"encounters": 2, "turns": 2.5}}))
    assert small["mine"].tolist() == ["2", "2.5"]


def test_the_nearest_dialogues_are_summed_up_for_each_test() -> None:
    near = Nearest(np.array([0, 1]), np.array([0.2, 0.6]))
    table = overview.nearest_table({"test": near}, {"test": [0.1, 0.5]})
    assert table.loc["test"].tolist() == pytest.approx([2, 0.4, 0.6, 0.3, 0.5])
    assert table["n"].dtype.kind == "i"
    assert table.loc["test", overview.ROUGE1_MEAN] == pytest.approx(0.3)


def test_what_was_written_is_shown_short(tmp_path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b" " * 2_340_000)
    paths = {"train": tmp_path / "train.jsonl"}
    table = overview.written_table(paths, {"train": {"n": 1540, "sha256": "ab" * 32}})
    assert table.loc["train"].tolist() == ["1,540", 2.3, "abababababab"]
