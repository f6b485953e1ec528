"""Trials on a real corpus: what each changes, what is read, and the record and table of real runs.

Where the corpora are not at hand, made-up encounters take the place of their splits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import small_model
import torch
from typer.testing import CliRunner

from medisum_utils.__main__ import app
from medisum_utils.data.corpora import ACI_BENCH, MTS_DIALOG
from medisum_utils.data.corpora_fetch import corpora_sources
from medisum_utils.data.leaks import find_leaks
from medisum_utils.data.sources import ACI, MTS, SYNTHETIC
from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.evaluation import page
from medisum_utils.notes.parts import BY_DIVISION, SECTION, WHOLE
from medisum_utils.pretraining import corpus_ablation, corpus_trials
from medisum_utils.pretraining.ablation_record import (
    ABLATION,
    corpus_table,
    described_corpus,
    read_ablation,
    show_trials,
)
from medisum_utils.pretraining.corpus_ablation import write_corpus_ablation
from medisum_utils.pretraining.corpus_trials import (
    ADDED,
    CORPUS_TRIALS,
    EXACT,
    GENERATED,
    NF4,
    TRANSLATIONS,
    WITH_GENERATED,
    CorpusTrial,
    training_examples,
)
from medisum_utils.pretraining.stacked import SCALE
from medisum_utils.runs import profiles
from medisum_utils.scoring.rouge import ROUGE_NAMES

SEEDS = (3, 4)
SHORT = CorpusTrial("nothing", MTS, SECTION, n_passes=2, batch_tokens=400, rank=4)
TRIALS = (
    SHORT,
    replace(SHORT, change="twice the rank", rank=8),
    replace(SHORT, change="exact weights", base=EXACT),
    replace(SHORT, change="half the data", share=0.5),
    replace(SHORT, change="written whole", parts=WHOLE),
    replace(SHORT, change="all weights", base=EXACT, rank=0),
)


def section_of(visit: Encounter) -> Encounter:
    """A made-up visit with one section, as MTS-Dialog has them."""
    return replace(visit, note=(NoteSection("Plan", "plan", visit.note[-1].text),))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    return str(small_model.make_base(folder, max_position_embeddings=1024))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small splits in the corpora's place; short notes."""
    splits = [small_model.encounters(n, seed=n, split=s) for n, s in ((10, "train"), (4, "valid"))]
    sections = [[section_of(visit) for visit in part] for part in splits]
    by_corpus = {MTS: sections, ACI: splits}
    for module in (corpus_trials, corpus_ablation):
        monkeypatch.setattr(module, "read_corpus", by_corpus.__getitem__)
    monkeypatch.setattr(corpus_trials, "read_translations", lambda: sections[0])
    monkeypatch.setattr(corpus_trials, "LONGEST_PART", {MTS: 8, ACI: 8})
    monkeypatch.setattr(corpus_trials, "LONGEST_NOTE", {MTS: 12, ACI: 12})
    corpus_trials._rendered.cache_clear()
    yield
    corpus_trials._rendered.cache_clear()


# --- the trials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", CORPUS_TRIALS)
def test_every_trial_changes_the_default_in_its_own_way(corpus: str) -> None:
    default, *others = CORPUS_TRIALS[corpus]
    assert (default.base, default.rank, default.share) == (NF4, 16, 1.0)
    changes = [
        {name for name, value in trial.settings.items() if value != default.settings[name]}
        for trial in others
    ]
    assert all(1 <= len(changed) <= 3 for changed in changes)
    settings = [json.dumps(trial.settings) for trial in CORPUS_TRIALS[corpus]]
    assert len(set(settings)) == len({t.change for t in CORPUS_TRIALS[corpus]}) == len(settings)
    asked = {"base", "rank", "share", "parts", "auxiliary"}
    assert asked <= set().union(*changes)
    assert {trial.rank for trial in CORPUS_TRIALS[corpus]} == {0, 8, 16, 64}


@pytest.mark.parametrize(("corpus", "profile"), [(MTS, "mts"), (ACI, "aci")])
def test_the_profile_has_the_settings_of_a_trial(corpus: str, profile: str) -> None:
    content = profiles.load_profile(profiles.find_profile(profile)[1])
    training, default = content["03_qlora_train"], CORPUS_TRIALS[corpus][0]
    data = content["01_data"]
    if (
        corpus == ACI
    ):  # the profile is the trial that validation chose: one generated for each visit
        assert replace(default, **WITH_GENERATED) in CORPUS_TRIALS[ACI]
        assert data["source"] == f"{ACI}+{SYNTHETIC}"
        assert data["n_train"] == ADDED[ACI, GENERATED] * ACI_BENCH["train"][1]
        assert data["exchanged_share"] == 0
    else:
        assert data["source"] == corpus
    assert content["02_format"]["parts"] == default.parts
    assert training["learning_rate"] == default.learning_rate
    assert training["lora_alpha"] == SCALE * default.rank
    assert training["batch_tokens"] == default.batch_tokens
    assert training.get("initial_adapter", "") == ("models/mts" if default.start else "")
    assert content["04_eval"]["max_new_tokens"] == default.longest_answer
    n_passes = {MTS: 3, ACI: training["n_epochs"]}  # MTS-Dialog's are fewer, to save time
    assert default.n_passes == n_passes[corpus]


def test_trials_on_aci_bench_go_on_from_the_same_trial_on_mts_dialog() -> None:
    known = [trial.settings for trial in CORPUS_TRIALS[MTS]]
    for trial in CORPUS_TRIALS[ACI]:
        if trial.start:
            assert trial.beginning.settings in known
            assert trial.beginning.rank == trial.rank
            assert trial.beginning.base == trial.base
        else:
            assert trial.beginning is None
    assert sum(not trial.start for trial in CORPUS_TRIALS[ACI]) == 1


@pytest.mark.usefixtures("made_up")
def test_seeds_draw_what_is_learnt_from(base: str) -> None:
    def drawn(seed: int, **change) -> list[str]:
        return [e.id for e in training_examples(replace(SHORT, **change), base, seed)]

    everything = drawn(3)
    assert everything == drawn(4)
    assert len(everything) == 10
    halves = drawn(3, share=0.5), drawn(4, share=0.5)
    assert halves[0] != halves[1]
    for half in halves:
        assert len(set(half)) == 5
        assert set(half) < set(everything)
    with_translations = drawn(3, auxiliary=TRANSLATIONS)
    assert len(with_translations) == 20
    generated = drawn(3, auxiliary=GENERATED)
    assert generated[:10] == everything
    assert [name.startswith("train-3-") for name in generated[10:]] == [True, True]


# --- what is read --------------------------------------------------------------------------------


def test_only_training_and_validation_are_read(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = [
        (row["repository"], row["path"])
        for row in corpora_sources().to_dict("records")
        if row["corpus"] == "mts-dialog-translated"
        or row["path"]
        in [listed[s][0] for listed in (ACI_BENCH, MTS_DIALOG) for s in ("train", "valid")]
    ]
    assert len(needed) == 5
    for repository, path in needed:
        place = tmp_path / repository / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(corpora / repository / path, place)
    monkeypatch.setenv("MEDISUM_CORPORA", str(tmp_path))
    caches = (corpus_trials.read_corpus, corpus_trials.read_translations)
    for cache in caches:
        cache.cache_clear()
    counts = {name: [len(part) for part in corpus_trials.read_corpus(name)] for name in (MTS, ACI)}
    assert counts == {MTS: [1195, 100], ACI: [67, 20]}
    translated = corpus_trials.read_translations()
    assert len(translated) == 3447
    for name, valid in (
        ("mts", corpus_trials.read_corpus(MTS)),
        ("aci", corpus_trials.read_corpus(ACI)),
    ):
        assert not find_leaks({"train": valid[0], "valid": valid[1]}), name
    assert not find_leaks({"translated": translated, "valid": corpus_trials.read_corpus(MTS)[1]})
    assert {each.note[0].header for each in translated} <= {
        "Subjective", "Objective", "Assessment", "Plan"
    }  # fmt: skip
    for cache in caches:
        cache.cache_clear()


# --- the record ----------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, int]]]:
    """The stacks that are trained, as (corpus and change, seed)."""
    stacks, train = [], corpus_ablation._train

    def noted(runs: list, place) -> list:
        stacks.append([(f"{run.trial.corpus}: {run.trial.change}", run.seed) for run in runs])
        return train(runs, place)

    monkeypatch.setattr(corpus_ablation, "_train", noted)
    return stacks


@pytest.fixture
def write(base: str, tmp_path: Path, made_up: None) -> Callable[..., dict]:
    def run(trials, seeds=SEEDS, name: str = "a.json", folder: str = "work") -> dict:
        where = {"device": "cpu", "folder": tmp_path / folder}
        write_corpus_ablation(tmp_path / name, base, trials, seeds=seeds, **where)
        (group,) = read_ablation(tmp_path / name)
        return group

    return run


@pytest.mark.slow
def test_runs_are_recorded_and_shown(write: Callable[..., dict], trained: list) -> None:
    group = write(TRIALS)
    assert group["validation"] == {"split": "valid", "corpus": MTS, "n": 4}
    assert [trial["change"] for trial in group["trials"]] == [trial.change for trial in TRIALS]
    assert [len(stack) for stack in trained] == [6, 2, 2, 2]
    for trial in group["trials"]:
        assert [run["seed"] for run in trial["runs"]] == list(SEEDS)
        for run in trial["runs"]:
            assert set(run["scores"]) == set(run["per_note"]) == set(ROUGE_NAMES)
            for name, scores in run["per_note"].items():
                assert len(scores) == 4
                assert sum(scores) / 4 == pytest.approx(run["scores"][name], abs=1e-4)
            assert run["n_examples"] == (5 if trial["share"] < 1 else 10)
            assert run["versions"]["torch"]
            assert run["machine"]
    losses = [run["loss"] for trial in group["trials"] for run in trial["runs"]]
    assert len(set(losses)) == len(losses)
    table = corpus_table(group)
    assert list(table.index) == [trial.change for trial in TRIALS]
    assert list(table["examples"]) == [10, 10, 10, 5, 10, 10]
    assert list(table["seeds"]) == [2] * len(TRIALS)
    assert table["change, ROUGE-1"].iloc[0] == "–"
    means = [sum(run["scores"]["rouge1"] for run in t["runs"]) / 2 for t in group["trials"]]
    for cell, mean in zip(table["ROUGE-1"], means, strict=True):
        assert float(cell.partition("<br>")[0]) == pytest.approx(mean, abs=1e-3)
    words = described_corpus(group)
    assert "4 encounters of `valid`" in words
    assert "seeds 3, 4," in words
    assert "12 trainings" in words


@pytest.mark.slow
def test_a_report_shows_the_trials_beside_it(
    write: Callable[..., dict], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = write(TRIALS[:2])
    reports = project / "reports" / "mts"
    reports.mkdir(parents=True)
    (project / "a.json").rename(reports / ABLATION)
    shown: list = []
    monkeypatch.setattr(page, "display", shown.append)
    show_trials("aci")
    assert shown == []
    show_trials("mts")
    words, table = (each.data for each in shown)
    assert words == described_corpus(group)
    assert all(trial.change in table for trial in TRIALS[:2])
    assert "ROUGE-Lsum" in table


@pytest.mark.slow
def test_what_was_run_is_not_run_again(
    write: Callable[..., dict], trained: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = write(TRIALS[:1], seeds=SEEDS[:1])
    assert trained == [[(f"{MTS}: nothing", 3)]]
    with_another = write(TRIALS[1:2], seeds=SEEDS[:1])
    twice = write(TRIALS[:2])
    assert trained[1:] == [
        [(f"{MTS}: twice the rank", 3)],
        [(f"{MTS}: nothing", 4), (f"{MTS}: twice the rank", 4)],
    ]
    assert [trial["change"] for trial in twice["trials"]] == ["nothing", "twice the rank"]
    for trial, before in zip(twice["trials"], with_another["trials"], strict=True):
        assert [run["seed"] for run in trial["runs"]] == list(SEEDS)
        assert trial["runs"][0] == before["runs"][0]
    assert with_another["trials"][0] == once["trials"][0]
    without = write(TRIALS[1:2], seeds=SEEDS[:1], name="c.json")
    assert "change, ROUGE-1" not in corpus_table(without)
    assert "default" not in described_corpus(without)

    def killed(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(corpus_ablation, "scored", killed)
        with pytest.raises(KeyboardInterrupt):
            write(TRIALS[4:5], name="b.json")
    n = len(trained)
    group = write(TRIALS[4:5], name="b.json")
    assert len(trained) == n  # what was learnt before the kill was kept
    assert [run["seed"] for run in group["trials"][0]["runs"]] == list(SEEDS)


@pytest.mark.slow
def test_a_stack_that_does_not_fit_is_halved(
    write: Callable[..., dict], trained: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(TRIALS[:2])

    def with_room_for(most: int, do: Callable) -> Callable:
        def limited(runs: list, place) -> list:
            if len(runs) > most:
                raise torch.OutOfMemoryError(f"{len(runs)} runs")
            return do(runs, place)

        return limited

    for name in ("_train", "scored"):
        monkeypatch.setattr(corpus_ablation, name, with_room_for(2, getattr(corpus_ablation, name)))
    halves = write(TRIALS[:2], name="b.json", folder="other")
    assert [len(stack) for stack in trained] == [4, 2, 2]
    for one, other in zip(whole["trials"], halves["trials"], strict=True):
        assert [run["per_note"] for run in one["runs"]] == [r["per_note"] for r in other["runs"]]
    monkeypatch.setattr(corpus_ablation, "_train", with_room_for(0, corpus_ablation._train))
    with pytest.raises(torch.OutOfMemoryError, match="1 runs"):
        write(TRIALS[:1], name="c.json", folder="third")


@pytest.mark.slow
def test_training_goes_on_from_another_corpus(
    write: Callable[..., dict], trained: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(CORPUS_TRIALS[MTS][0], n_passes=1, batch_tokens=400)
    monkeypatch.setitem(CORPUS_TRIALS, MTS, (first,))
    aci = CorpusTrial("nothing", ACI, BY_DIVISION, n_passes=1, batch_tokens=400, start=MTS, rank=4)
    group = write([aci, replace(aci, change="from the base", start="")])
    assert trained == [
        [(f"{MTS}: ", 3), (f"{MTS}: ", 4)],
        [(f"{ACI}: {change}", seed) for change in ("nothing", "from the base") for seed in SEEDS],
    ]
    with_start, without = ([run["loss"] for run in trial["runs"]] for trial in group["trials"])
    assert all(own < base for own, base in zip(with_start, without, strict=True))
    assert f"after training on {MTS}" in described_corpus(group)
    with pytest.raises(ValueError, match="trials on one corpus"):
        write([aci, SHORT])
    with pytest.raises(ValueError, match="validation"):
        write([SHORT])


def test_the_command_takes_a_corpus(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        corpus_ablation, "write_corpus_ablation", lambda *args, **named: asked.append((args, named))
    )
    out = tmp_path / "a.json"
    options = ["ablate", "--base", base, "--out", str(out), "--device", "cpu", "--corpus"]
    result = CliRunner().invoke(app, [*options, ACI, "--seeds", "3,4"])
    assert result.exit_code == 0, result.output
    args, named = asked[0]
    assert args == (out, base, CORPUS_TRIALS[ACI])
    assert named == {"seeds": (3, 4), "device": "cpu", "folder": tmp_path / "a.work"}
    assert CliRunner().invoke(app, [*options, MTS, "--trials", "QLoRA, rank 8"]).exit_code == 0
    assert [trial.change for trial in asked[1][0][2]] == ["nothing: QLoRA, rank 16", "rank 8"]
    for wrong in (["primock57"], [MTS, "--trials", "rank 7"], [MTS, "--trials", "rank 8,"]):
        assert CliRunner().invoke(app, [*options, *wrong]).exit_code == 2
    assert len(asked) == 2
