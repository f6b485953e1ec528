"""Figures of others stand beside this run's for the same test and protocol, with their source."""

from __future__ import annotations

import dataclasses

import pytest

from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.evaluation import quoted, score_split, split_metrics


def mts(test: str, n: int = 4) -> list[Encounter]:
    """Short visits under the ids of one of MTS-Dialog's tests."""
    turns = (Turn("doctor", "Any fever?"), Turn("patient", "No fever, and aspirin for gout."))
    note = (NoteSection("Subjective", "subjective", "Denies fever. Takes aspirin."),)
    return [Encounter(f"mts-{test}-{i}", "mts-dialog", test, turns, note) for i in range(n)]


def beside(encounters: dict[str, list[Encounter]]):
    entries = {}
    for name, part in encounters.items():
        notes = {"nearest": ["Denies pain."] * len(part), "base": ["Fever."]}
        notes["finetuned"] = [visit.note[0].text for visit in part]
        entries[name] = split_metrics(score_split(part, notes), None, "0" * 64, 17)
    return quoted.beside_figures(entries, encounters)


def test_every_figure_is_a_fraction_with_a_source():
    figures = quoted.quoted_figures()
    assert set(figures["test"]) == set(quoted.TESTS)
    assert set(figures["header"]) == {"predicted", "given"}
    for row in figures.to_dict("records"):
        values = [float(row[rouge]) for rouge in quoted.ROUGES if row[rouge]]
        assert values
        assert all(0 < value < 1 for value in values)
        assert row["source"]


@pytest.mark.parametrize("prefix", ["", "mts_"])
def test_each_protocol_stands_beside_its_own_figures(prefix):
    splits = {f"{prefix}{test}{end}": mts(test) for test in quoted.TESTS for end in ("", "_named")}
    table = beside(splits)
    assert list(dict.fromkeys(table.index.get_level_values("test"))) == [
        "test1, header predicted",
        "test2, header given",
    ]
    ours = table[table["whose figure"] == quoted.HERE]
    assert len(ours) == 4  # the base wrote one note alone
    assert ours.loc[("test2, header given", "fine-tuned"), "ROUGE-1"].startswith("1.000")
    others = table.drop(ours.index)
    assert len(others) == len(quoted.quoted_figures())
    assert others["whose figure"].str.startswith("quoted: ").all()
    assert others.loc[("test2, header given", "best of MEDIQA-Sum 2023"), "ROUGE-1"] == "0.43"


def test_nothing_is_quoted_beside_other_data_or_a_note_asked_for_whole():
    own = [dataclasses.replace(visit, source="own") for visit in mts("test1")]
    for splits in ({"test1": own, "test1_named": own}, {"test1": mts("test1")}):
        assert beside(splits).empty
    mixed = [*mts("test1"), *mts("test2")]
    assert quoted.mts_test(mixed) == quoted.mts_test([]) == ""
    assert quoted.mts_test(mts("test2")) == "test2"


@pytest.mark.corpus
def test_the_tests_are_known_by_their_ids(corpora):
    from medisum_utils.data.sources import joined_corpora, load_source

    alone = load_source("mts-dialog", seed=17, sizes={}, own_shares={})
    for splits, prefix in ((alone, ""), (joined_corpora(), "mts_")):
        found = {name: quoted.mts_test(part) for name, part in splits.items()}
        assert {name: test for name, test in found.items() if test} == {
            f"{prefix}{test}": test for test in quoted.TESTS
        }
