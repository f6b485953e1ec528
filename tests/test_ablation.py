"""Trials differ in what they say they change, and in nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import small_model
import torch

from medisum_utils import ablation, profiles
from medisum_utils.ablation import (
    TRIALS,
    Trial,
    _batches,
    _padded,
    _trainable,
    ablation_table,
    write_ablation,
)
from medisum_utils.model import load_tokenizer
from medisum_utils.prompt import Renderer
from medisum_utils.synthesis.encounters import generate


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(small_model.make_base(tmp_path_factory.mktemp("base")))


def examples(base: str, n: int) -> list:
    renderer = Renderer(load_tokenizer(base), ablation.INSTRUCTION)
    return [renderer.example(e) for e in generate(n, seed=2, split="train")]


def test_every_trial_changes_the_default_in_its_own_way() -> None:
    default = asdict(TRIALS[0])
    assert default == asdict(Trial(TRIALS[0].change))
    changes = [
        {key: value for key, value in asdict(trial).items() if value != default[key]}
        for trial in TRIALS
    ]
    assert changes[0] == {}
    settings = [json.dumps({k: v for k, v in c.items() if k != "change"}) for c in changes]
    assert len(set(settings)) == len(TRIALS)
    assert all(len(c) <= 3 for c in changes)  # the words, the setting, its learning rate


def test_the_default_is_that_of_the_profile_tiny() -> None:
    content = profiles.load_profile(profiles.find_profile("tiny")[1])
    data, training = content["01_data"], content["03_qlora_train"]
    default = TRIALS[0]
    assert (default.n_train, default.exchanged_share) == (data["n_train"], data["exchanged_share"])
    assert default.batch_size == training["batch_size"]
    assert default.learning_rate == training["learning_rate"]
    assert default.rank * ablation.ALPHA_PER_RANK == training["lora_alpha"]
    assert default.n_epochs == training.get("n_epochs", 1.0)


def test_each_example_comes_once_before_any_comes_again() -> None:
    batches = list(_batches(list(range(12)), 3, 8, seed=1))
    assert Counter(x for batch in batches[:4] for x in batch) == Counter(range(12))
    assert Counter(x for batch in batches[4:] for x in batch) == Counter(range(12))
    assert batches[:4] != batches[4:]


def test_labels_are_the_notes_and_nothing_else(base: str) -> None:
    batch = examples(base, 3)
    ids, labels = _padded(batch)
    for row, example in enumerate(batch):
        supervised = labels[row] != ablation.IGNORED
        assert int(supervised.sum()) == example.n_completion_tokens
        assert torch.equal(labels[row][supervised], ids[row][supervised])
        assert tuple(ids[row][: len(example.input_ids)].tolist()) == example.input_ids


def test_an_adapter_leaves_the_base_alone_and_full_training_does_not(base: str) -> None:
    from transformers import LlamaForCausalLM

    def trained(full: bool) -> set[str]:
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = _trainable(model, Trial("", full=full, rank=4))
        return {name for name, weight in model.named_parameters() if weight.requires_grad}

    assert all("lora_" in name for name in trained(False))
    assert not any("lora_" in name for name in trained(True))
    assert any("embed_tokens" in name for name in trained(True))


@pytest.mark.slow
def test_trials_are_scored_and_written_one_by_one(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "LONGEST_NOTE", 24)
    trials = [Trial("none", n_train=6, rank=4), Trial("two passes", n_train=6, rank=4, n_epochs=2)]
    path = write_ablation(tmp_path / "a.json", base, trials, n_test=2, seed=3, device="cpu")
    (written,) = json.loads(path.read_text())["groups"]
    table = ablation_table(written)
    assert list(table.index) == ["none", "two passes"]
    assert list(table["steps"]) == [3, 6]
    assert [trial["n_steps"] for trial in written["trials"]] == [3, 6]
    for trial in written["trials"]:
        assert trial["loss"] > 0
        for split in ("test", "test_unseen"):
            scores = trial["splits"][split]
            assert scores["n"] == 2
            assert 0 <= scores["rouge1"]["mean"] <= 1
            assert 0 <= scores["facts_f1"]["mean"] <= 1
    again = write_ablation(tmp_path / "b.json", base, trials[:1], n_test=2, seed=3, device="cpu")
    assert (
        json.loads(again.read_text())["groups"][0]["trials"][0]["loss"]
        == written["trials"][0]["loss"]
    )
