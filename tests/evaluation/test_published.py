"""ACI-Bench by its published evaluator: who is compared, and that the figures are the paper's."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from medisum_utils import evaluation
from medisum_utils.data.corpora import load_aci_bench
from medisum_utils.data.corpora_fetch import corpora_sources
from medisum_utils.data.sources import joined_corpora
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation import published, real_text as sentences, systems
from medisum_utils.notes.divisions import ACI_DIVISIONS, ACI_MISSING, aci_divisions
from medisum_utils.notes.parts import BY_DIVISION, NOT_DISCUSSED, join_parts, parts_of
from medisum_utils.scoring.rouge import rouge_scores

SCHEMA = json.loads(evaluation.SCHEMA_FILE.read_text(encoding="utf-8"))
TEST1 = Path("wyim/aci-bench/data/challenge_data/clinicalnlp_taskB_test1.csv")
OUTPUTS = Path("wyim/aci-bench/baselines/predictions")
TRANSCRIPT = "transcript_clinicalnlp_taskB_test1.csv"


def first_test(split: str, n: int = 40) -> list[Encounter]:
    """Encounters with nothing but the names of ACI-Bench's first test."""
    ids = sorted(published.TEST1_IDS)[:n]
    return [Encounter(id, "aci-bench", split, (), ()) for id in ids]


@pytest.mark.parametrize("split", ["test1", "aci_test1", "test"])
@pytest.mark.parametrize("n", [40, 20, 1])
def test_the_first_aci_test_is_known_under_any_split_name(split, n):
    assert published.is_aci_test1(first_test(split, n))
    assert published.is_aci_test1(first_test(split, n)[::-1])


@pytest.mark.parametrize("split", ["test1", "aci_test1"])
def test_other_encounters_are_not_the_first_aci_test(split):
    visits = first_test(split)
    for change in ({"id": "aci-D2N087"}, {"id": "aci-D2N128"}, {"source": "own"}):
        assert not published.is_aci_test1([dataclasses.replace(visits[0], **change), *visits[1:]])
    assert not published.is_aci_test1([*visits, visits[0]])
    assert not published.is_aci_test1([])


def test_without_the_corpus_nothing_is_compared(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDISUM_CORPORA", str(tmp_path))
    assert published.released_files() == {}
    assert not published.is_aci_test(first_test("test1"))


def test_each_released_system_has_a_pinned_file():
    wanted = pd.read_csv(published.SYSTEMS_FILE)["file"]
    table = corpora_sources()
    pinned = table[table["corpus"] == published.RELEASED]["path"]
    assert sorted(pinned) == sorted(f"baselines/predictions/{name}" for name in wanted)


@pytest.mark.corpus
@pytest.mark.parametrize("load", [load_aci_bench, joined_corpora])
def test_only_the_first_aci_test_is_taken_for_it(corpora, load):
    """Under the names of either way to read the corpora; the others are ACI-Bench's, too."""
    splits = load()
    found = [name for name, part in splits.items() if published.is_aci_test1(part)]
    assert found in (["test1"], ["aci_test1"])
    assert {one.id for one in splits[found[0]]} == published.TEST1_IDS
    tests = [name for name, part in splits.items() if published.is_aci_test(part)]
    names = set(splits) if load is load_aci_bench else {f"aci_test{i}" for i in (1, 2, 3)}
    assert set(tests) == names


# --- the figures of the paper --------------------------------------------------------------------


@pytest.fixture(scope="module")
def visits(corpora) -> list[Encounter]:
    """The first test in another order: notes must be matched by encounter."""
    return joined_corpora()["aci_test1"][::-1]


@pytest.fixture(scope="module")
def official(corpora, visits) -> dict:
    own = {
        "copy": systems.copied(visits),
        "finetuned": [join_parts(answers(visit)) for visit in visits],
    }
    return published.official_scores(visits, own, seed=17)


def answers(visit: Encounter) -> list[str]:
    """The parts of the reference as a model would have to write them."""
    return [part.answer or "" for part in parts_of(visit, BY_DIVISION)]


def percents(entry: dict) -> list[float]:
    return [100 * entry[rouge]["mean"] for rouge in published.ROUGES]


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("transcript copied", [32.84, 12.53, 30.61]),
        ("nearest training note (UMLS)", [43.87, 17.55, 40.47]),
        ("BART+SAMSum by division", [53.46, 25.08, 48.62]),
        ("GPT-4", [51.76, 22.58, 45.97]),
    ],
)
def test_released_systems_come_out_as_published(official, system, expected):
    """Figures that the ACI-Bench paper prints, in percent; 40 notes each."""
    assert official["n"] == 40
    assert percents(official["released"][system]) == pytest.approx(expected, abs=0.01)


@pytest.mark.corpus
@pytest.mark.slow
def test_gpt_4_by_division_comes_out_as_published(official):
    divisions = official["released"]["GPT-4"]["divisions"]
    rouge1 = [100 * divisions[name]["rouge1"]["mean"] for name in ACI_DIVISIONS]
    assert rouge1 == pytest.approx([41.20, 50.11, 37.65, 38.16], abs=0.01)
    table = published.division_table(official, "rouge1")
    shown = table.loc[("released", "GPT-4")]
    columns = ["subjective", "physical examination", "results", "assessment and plan"]
    assert [shown[name][:5] for name in columns] == ["0.412", "0.501", "0.377", "0.382"]


@pytest.mark.corpus
@pytest.mark.slow
def test_own_notes_stand_beside_them_by_the_same_protocol(official):
    """The copied dialogue is the released transcript, the reference by parts nearly the note."""
    copied, ours = (official["systems"][name] for name in ("copy", "finetuned"))
    released = official["released"]["transcript copied"]
    assert percents(copied)[:1] == pytest.approx(percents(released)[:1], abs=0.2)
    assert ours["rouge1"]["mean"] > 0.97
    assert min(part["rouge1"]["mean"] for part in ours["divisions"].values()) > 0.97
    gap = official["released"]["GPT-4"]["ours_minus"]["rouge1"]
    theirs = official["released"]["GPT-4"]["rouge1"]["mean"]
    assert gap["mean"] == pytest.approx(ours["rouge1"]["mean"] - theirs)
    assert gap["low"] < gap["mean"] < gap["high"]
    table = published.whole_table(official)
    assert table.index[-1] == ("this run", "fine-tuned")
    assert len(table) == 13
    jsonschema.validate(official, {**SCHEMA, **SCHEMA["$defs"]["official"], "required": []})


@pytest.mark.corpus
@pytest.mark.slow
def test_the_sentences_name_the_best_released_system_and_the_divisions(official):
    said = sentences.official("test1", official)
    assert said.startswith("## `test1` by the corpus's own evaluator")
    assert "is better than the best released system, BART+SAMSum by division (0.535;" in said
    assert published.lacking_divisions(official)[0] == 160
    assert "of 160 in all" in said
    alone = {name: each for name, each in official.items() if name != "released"}
    short = sentences.in_short({"aci_test1": {"official": official}, "test2": {}}, {}, 17)
    assert short.startswith("On `aci_test1`, with ROUGE-1 ")
    assert "the best released system, BART+SAMSum by division (0.535;" in short
    assert sentences.in_short({"test2": {"official": alone}}, {}, 17) == ""
    said = sentences.official("test2", alone, is_first=False)
    assert "this run's systems alone" in said
    assert "released" not in said
    assert "placeholder" not in said  # how it is scored was said before
    said = sentences.official("test1", {**alone, "released": {}})
    assert "could not be fetched" in said
    assert "placeholder" in said


@pytest.mark.corpus
def test_a_part_of_the_first_test_is_compared_on_that_part(corpora, visits):
    part = visits[5:12]
    entry = published.official_scores(part, {"finetuned": systems.copied(part)}, seed=17)
    assert entry["n"] == 7
    spoken, truth = (
        pd.read_csv(corpora / path).set_index("encounter_id")["note"]
        for path in (OUTPUTS / TRANSCRIPT, TEST1)
    )
    ids = [visit.id.removeprefix("aci-") for visit in part]
    expected = rouge_scores(truth[ids].tolist(), spoken[ids].tolist())["rouge1"]
    found = entry["released"]["transcript copied"]["rouge1"]["mean"]
    assert found == pytest.approx(np.mean(expected))


@pytest.mark.corpus
def test_the_other_tests_have_this_run_alone(corpora):
    for name in ("test2", "test3"):
        part = load_aci_bench()[name][:3]
        notes = [visit.note_text for visit in part]
        entry = published.official_scores(part, {"finetuned": notes}, seed=17)
        assert "released" not in entry
        assert entry["systems"]["finetuned"]["rouge1"]["mean"] > 0.95


@pytest.mark.corpus
def test_notes_that_are_not_there_are_an_error(corpora, visits, tmp_path, monkeypatch):
    stranger = dataclasses.replace(visits[0], id="aci-D2N999")
    with pytest.raises(ValueError, match=r"aci-bench: expected a note .*'D2N999'"):
        published.official_scores([stranger], {}, seed=0)
    fewer = {"base": ["A note."], "finetuned": ["A note."] * len(visits)}
    monkeypatch.setattr(published, "released_files", dict)
    entry = published.official_scores(visits, fewer, seed=0)
    assert set(entry["systems"]) == {"finetuned"}
    assert entry["released"] == {}
    path = Path(shutil.copy(corpora / OUTPUTS / TRANSCRIPT, tmp_path))
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    monkeypatch.setattr(published, "released_files", lambda: {TRANSCRIPT: path})
    with pytest.raises(ValueError, match=rf"{TRANSCRIPT}: expected a note .*'D2N088'"):
        published.official_scores(visits, {}, seed=0)


# --- notes written by division -------------------------------------------------------------------


@pytest.mark.corpus
def test_references_joined_from_their_parts_split_back_into_them(corpora):
    """So that a model that writes them so is scored by division on what it wrote there."""
    for part in load_aci_bench().values():
        for visit in part:
            wanted = answers(visit)
            split = aci_divisions(join_parts(wanted)).values()
            found = ["" if text == ACI_MISSING else text for text in split]
            kept = ["" if text == NOT_DISCUSSED else text for text in wanted]
            assert [words(text) for text in found] == [words(text) for text in kept], visit.id


def words(text: str) -> list[str]:
    return text.replace("__lf1__", " ").split()
