"""Sources: which splits a profile gets, and under which headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medisum_utils.data import overview, sources
from medisum_utils.data.grouping import PATIENT
from medisum_utils.data.leaks import LeakError, check_leaks
from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.notes.headers import CORPUS_HEADER, soap_of_headers
from medisum_utils.synthesis.augmented import EXCHANGED

SIZES = {"train": 6, "valid": 2, "test": 3, "test_unseen": 2}
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def load(source: str, **more: float) -> sources.Splits:
    return sources.load_source(source, seed=3, sizes=SIZES, own_shares=SHARES, **more)


def test_generated_splits_have_their_sizes_and_share_nothing() -> None:
    splits = load("synthetic")
    assert {name: len(encounters) for name, encounters in splits.items()} == SIZES
    assert all(one.split == name for name, part in splits.items() for one in part)
    check_leaks(splits)


def test_more_training_encounters_leave_the_tests_as_they_are() -> None:
    more = sources.synthetic({**SIZES, "train": 9}, seed=3)
    fewer = load("synthetic")
    assert more["train"][:6] == fewer["train"]
    assert more["test"] == fewer["test"]


@pytest.mark.parametrize("sizes", [{**SIZES, "test": 0}, {"train": 3}])
def test_a_split_without_encounters_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 encounter"):
        sources.synthetic(sizes, seed=0)


def test_an_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"aci-bench\+mts-dialog, or a path.*got 'mimic'"):
        load("mimic")


@pytest.fixture
def own_file(project: Path) -> Path:
    lines = [
        {
            "dialogue": f"Doctor: Visit {i} is about what?\nPatient: Pain number {i}.",
            "note": f"N {i}",
        }
        for i in range(20)
    ]
    path = project / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_own_data_is_parted_and_labelled_and_found_below_the_root(own_file: Path) -> None:
    splits = load("mine.jsonl")
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 12,
        "valid": 4,
        "test": 4,
    }
    assert all(one.split == name for name, part in splits.items() for one in part)
    assert sources.source_files("mine.jsonl") == [own_file]


def test_own_data_that_is_one_visit_again_and_again_is_refused(own_file: Path) -> None:
    twice = own_file.read_text().splitlines()[0]
    own_file.write_text("\n".join([twice] * 20))
    with pytest.raises(ValueError, match="expected at least 3 groups of encounters"):
        load("mine.jsonl")


def test_visits_of_one_patient_stand_in_one_split(own_file: Path) -> None:
    lines = [json.loads(line) for line in own_file.read_text().splitlines()]
    own_file.write_text(
        "\n".join(json.dumps(line | {"patient": i // 3}) for i, line in enumerate(lines))
    )
    splits = load("mine.jsonl")
    patients = [{one.meta[PATIENT] for one in part} for part in splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 7
    check_leaks(splits)


def test_templated_visits_are_parted_at_a_higher_near_duplicate(own_file: Path) -> None:
    form = " ".join(f"question{i}" for i in range(40))
    lines = [{"dialogue": f"Doctor: {form} answer{i}", "note": f"N {i}"} for i in range(20)]
    own_file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=r"set 01_data.near_duplicate \(now 0.5\) to 0.95: "):
        load("mine.jsonl")
    splits = load("mine.jsonl", near_duplicate=1.0)
    assert [len(part) for part in splits.values()] == [12, 4, 4]
    check_leaks(splits, 1.0)
    with pytest.raises(LeakError):
        check_leaks(splits)


def test_own_data_takes_nothing_that_is_meant_for_generated_data(own_file: Path) -> None:
    splits = load("mine.jsonl", exchanged_share=0.3)
    assert splits == load("mine.jsonl")
    assert {one.source for part in splits.values() for one in part} == {"own"}


def test_exchanged_names_are_for_generated_training_alone() -> None:
    exchanged, plain = load("synthetic", exchanged_share=0.5), load("synthetic")
    assert any(EXCHANGED in one.meta for one in exchanged.pop("train"))
    assert exchanged == {name: part for name, part in plain.items() if name != "train"}


@pytest.mark.corpus
def test_a_corpus_takes_nothing_that_is_meant_for_generated_data(corpora: Path) -> None:
    splits = load("aci-bench", exchanged_share=0.3, near_duplicate=1.0)
    assert {one.source for part in splits.values() for one in part} == {"aci-bench"}
    assert {n: len(part) for n, part in splits.items()} == sources.official_counts("aci-bench")


@pytest.mark.parametrize("call", [load, sources.source_files])
def test_an_own_file_that_is_not_there_says_where_it_was_looked_for(
    project: Path, call: Callable[[str], object]
) -> None:
    with pytest.raises(FileNotFoundError, match="01_data.source names") as caught:
        call("data/raw/visits.csv")
    assert f"{project / 'data/raw/visits.csv'}," in str(caught.value)
    assert "before 01_data" not in str(caught.value)
    (project / "folder.jsonl").mkdir()
    with pytest.raises(FileNotFoundError, match="got a folder"):
        call("folder.jsonl")
    with pytest.raises(ValueError, match="got 'mimic'"):
        call("mimic")


@pytest.mark.parametrize(
    ("source", "is_own", "is_generated"),
    [
        ("synthetic", False, True),
        ("mts-dialog", False, False),
        ("aci-bench+mts-dialog", False, False),
        ("synthetic+aci-bench+mts-dialog", False, False),
        ("visits.csv", True, False),
        ("/data/Visits.JSONL", True, False),
        ("synthetic.csv", True, False),
    ],
)
def test_a_source_is_known_by_its_name(source: str, is_own: bool, is_generated: bool) -> None:
    assert (sources.is_own(source), sources.is_generated(source)) == (is_own, is_generated)


@pytest.mark.corpus
def test_mts_notes_stand_under_soap_headers_with_their_text_untouched(corpora: Path) -> None:
    from medisum_utils.data.corpora import load_mts_dialog

    original, splits = load_mts_dialog(), load("mts-dialog")
    assert sources.official_counts("mts-dialog") == {n: len(p) for n, p in splits.items()} | {
        "train": 1201
    }
    counts = {name: len(part) for name, part in splits.items()}
    assert counts == {"train": 1181, "valid": 100, "test1": 200, "test2": 200}
    soap = soap_of_headers("mts-dialog")
    for name, part in splits.items():
        for one, before in zip(part, original[name], strict=True):
            (section,), (theirs,) = one.note, before.note
            assert section.text == theirs.text
            assert one.meta[CORPUS_HEADER] == theirs.header
            assert section.soap == soap[theirs.header]
            assert section.header.lower() == section.soap
            assert one.turns == before.turns


@pytest.mark.corpus
@pytest.mark.slow
def test_joined_corpora_keep_every_official_test_whole_and_apart(corpora: Path) -> None:
    splits = load("aci-bench+mts-dialog")
    counts = {name: len(part) for name, part in splits.items()}
    assert counts.pop("train") == 67 + 1181
    assert counts == {
        "valid": 120,
        "aci_test1": 40,
        "aci_test2": 40,
        "aci_test3": 40,
        "mts_test1": 200,
        "mts_test2": 200,
    }
    assert all(one.split == name for name, part in splits.items() for one in part)
    assert sources.official_counts("aci-bench+mts-dialog") == {**counts, "train": 67 + 1201}


@pytest.fixture
def small_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both corpora with a handful of encounters each, which no generated one resembles."""

    def encounters(corpus: str, split: str, n: int) -> list[Encounter]:
        words = [f"{corpus} {split} word{i} one two three four five {i * i + 3}" for i in range(n)]
        return [
            Encounter(
                id=f"{corpus}-{split}-{i}",
                source=corpus,
                split=split,
                turns=(Turn("doctor", text), Turn("patient", text)),
                note=(NoteSection("CC", "subjective", f"Note {i} {split}"),),
            )
            for i, text in enumerate(words)
        ]

    def splits(corpus: str, n_tests: int) -> sources.Splits:
        sizes = {"train": 4, "valid": 3, **{f"test{i + 1}": 2 for i in range(n_tests)}}
        return {split: encounters(corpus, split, n) for split, n in sizes.items()}

    monkeypatch.setattr(sources, "load_aci_bench", lambda: splits("aci-bench", 3))
    monkeypatch.setattr(sources, "mts_as_soap", lambda: splits("mts-dialog", 2))


def test_all_sources_train_one_adapter_and_keep_their_tests_apart(small_corpora: None) -> None:
    splits = load(sources.ALL, exchanged_share=0.5)
    alone = load("synthetic", exchanged_share=0.5)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 6 + 4 + 4,
        "valid": 2 + 3 + 3,
        "test": 3,
        "test_unseen": 2,
        **dict.fromkeys(("aci_test1", "aci_test2", "aci_test3", "mts_test1", "mts_test2"), 2),
    }
    assert splits["train"][:6] == alone["train"]
    assert (splits["test"], splits["test_unseen"]) == (alone["test"], alone["test_unseen"])
    assert all(one.split == name for name, part in splits.items() for one in part)
    for name, source in (("test", "synthetic"), ("aci_test", "aci-bench"), ("mts_", "mts-dialog")):
        tests = [one for split, part in splits.items() if split.startswith(name) for one in part]
        assert {one.source for one in tests} == {source}
    check_leaks(splits)


@pytest.mark.parametrize("source", [sources.ALL, sources.BOTH])
def test_the_first_validation_encounters_are_of_every_source_in_turn(
    small_corpora: None, source: str
) -> None:
    valid = [one.source for one in load(source)["valid"]]
    names = source.split("+")
    assert valid[: 2 * len(names)] == 2 * names
    assert valid[2 * len(names) :] == ["aci-bench", "mts-dialog"]  # the third of each


def test_sources_join_in_any_order_and_the_first_one_s_tests_come_first(
    small_corpora: None,
) -> None:
    splits = load("aci-bench+synthetic")
    assert list(splits)[2:] == ["aci_test1", "aci_test2", "aci_test3", "test", "test_unseen"]
    assert [one.source for one in splits["train"]] == ["aci-bench"] * 4 + ["synthetic"] * 6


@pytest.mark.parametrize("source", ["aci-bench+aci-bench", "aci-bench+", "aci-bench+primock57"])
@pytest.mark.parametrize("call", [load, sources.source_files])
def test_only_different_known_sources_join(call: Callable[[str], object], source: str) -> None:
    with pytest.raises(ValueError, match=r"expected synthetic, aci-bench, mts-dialog, a join"):
        call(source)


def test_a_join_of_all_sources_reads_their_files_and_counts_the_official_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "corpus_files", lambda corpus: {"a.csv": Path(corpus)})
    files = sources.source_files(sources.ALL)
    assert files == [sources.CASEBOOK, Path("aci-bench"), Path("mts-dialog")]
    counts = sources.official_counts(sources.BOTH)
    assert sources.official_counts(sources.ALL) == {
        name: n for name, n in counts.items() if name not in ("train", "valid")
    }
    assert sum(sources.official_counts(sources.ALL).values()) == 3 * 40 + 2 * 200


def test_the_table_of_lengths_leaves_out_counts_that_a_generated_split_cannot_have(
    small_corpora: None,
) -> None:
    table = overview.lengths_table(load(sources.ALL), sources.official_counts(sources.ALL))
    assert table["official count"].to_dict() == {
        **dict.fromkeys(("train", "valid", "test", "test_unseen"), "–"),
        **dict.fromkeys(("aci_test1", "aci_test2", "aci_test3"), 40),
        **dict.fromkeys(("mts_test1", "mts_test2"), 200),
    }


@pytest.mark.corpus
@pytest.mark.slow
def test_all_sources_keep_every_official_test_whole_and_share_nothing(corpora: Path) -> None:
    splits = load(sources.ALL)
    counts = {name: len(part) for name, part in splits.items()}
    assert (counts["train"], counts["valid"]) == (6 + 67 + 1181, 2 + 20 + 100)
    official = sources.official_counts(sources.ALL)
    assert official == {name: counts[name] for name in official}
    check_leaks(splits)


def test_generated_and_own_data_have_no_official_counts() -> None:
    assert sources.official_counts("synthetic") == sources.official_counts("mine.csv") == {}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("synthetic", "generated data"),
        ("/home/someone/visits.csv", "your own data"),
        ("mts-dialog", "mts-dialog"),
        ("aci-bench+mts-dialog", "aci-bench+mts-dialog"),
        (sources.ALL, "synthetic+aci-bench+mts-dialog"),
    ],
)
def test_a_report_names_no_file_of_a_user(source: str, name: str) -> None:
    assert sources.report_name(source) == name


def test_corpora_stand_beside_a_source_where_they_are_at_hand(monkeypatch) -> None:
    splits = {name: [f"{name} encounter"] for name in ("train", "valid", "test1", "test2")}
    monkeypatch.setattr(sources, "load_aci_bench", lambda: splits)
    monkeypatch.setattr(sources, "mts_as_soap", lambda: splits)
    at_hand = {"aci-bench"}
    monkeypatch.setattr(sources, "is_at_hand", at_hand.__contains__)
    aci = {"aci-bench": (splits["train"], splits["test1"])}
    assert sources.load_beside("synthetic") == aci
    assert sources.load_beside("aci-bench") == {}
    at_hand.add("mts-dialog")
    assert list(sources.load_beside("aci-bench+mts-dialog")) == ["aci-bench", "mts-dialog"]
    assert sources.load_beside("mts-dialog") == aci
