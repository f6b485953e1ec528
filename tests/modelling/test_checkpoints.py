"""Which checkpoints are complete, however they were broken, and what becomes of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import small_model
import torch
from test_training import N_STEPS, SAVED_AT, build_trainer

from medisum_utils.modelling import checkpoints, training_record
from medisum_utils.modelling.model import load_tokenizer, merge
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.runs import sha256_file, write_json

NEEDED = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
)


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer = build_trainer(base, folder, load_best_model_at_end=True)
    trainer.train()
    return trainer, folder


@pytest.fixture
def two(run, tmp_path) -> Path:
    """A copy of the run's two checkpoints, with a record."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(run[1], folder)
    write_json(folder / "training.json", RECORD)
    return folder


RECORD = {
    "base": "models/base",
    "base_sha256": "a" * 64,
    "prompt_sha256": "b" * 64,
    "data": {"train.jsonl": "c" * 64},
    "settings": {"learning_rate": 0.005},
    "versions": {"torch": "2.0"},
}


def test_the_newest_complete_checkpoint_is_taken(two, tmp_path):
    assert checkpoints.newest_complete_checkpoint(tmp_path / "nowhere") is None
    assert checkpoints.newest_complete_checkpoint(tmp_path) is None
    newest, before = two / f"checkpoint-{N_STEPS}", two / f"checkpoint-{SAVED_AT}"
    assert checkpoints.newest_complete_checkpoint(two) == newest
    shutil.copytree(newest, two / "checkpoint-30")  # of another step than its name says
    (two / "checkpoint-last").mkdir()
    assert checkpoints.newest_complete_checkpoint(two) == newest
    shutil.copytree(before, two / "checkpoint-10")  # not by the alphabet
    state = json.loads((before / "trainer_state.json").read_text())
    whole = json.dumps({**state, "global_step": 10})
    (two / "checkpoint-10" / "trainer_state.json").write_text(whole)
    assert checkpoints.newest_complete_checkpoint(two) == two / "checkpoint-10"


@pytest.mark.parametrize("name", NEEDED)
def test_a_file_that_is_missing_or_cut_off_anywhere_makes_a_checkpoint_incomplete(two, name):
    newest, before = two / f"checkpoint-{N_STEPS}", two / f"checkpoint-{SAVED_AT}"
    path = newest / name
    whole = path.read_bytes()
    n = len(whole.rstrip())  # a last line feed may go
    for length in sorted({0, 1, 8, 30, n // 4, n // 2, 3 * n // 4, n - 100, n - 22, n - 2, n - 1}):
        path.write_bytes(whole[:length])
        assert checkpoints.newest_complete_checkpoint(two) == before, length
        assert checkpoints.what_is_missing(newest) == f"{name} is cut off or damaged"
    path.unlink()
    assert checkpoints.newest_complete_checkpoint(two) == before
    assert checkpoints.what_is_missing(newest) == f"{name} is missing"
    path.write_bytes(whole)
    assert checkpoints.newest_complete_checkpoint(two) == newest


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_file_with_a_stretch_of_zeros_makes_a_checkpoint_incomplete(two, name):
    path = two / f"checkpoint-{N_STEPS}" / name  # its length as it was: a disk that filled up
    whole = path.read_bytes()
    for start in range(0, len(whole) - 64, len(whole) // 7):
        path.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
        if path.read_bytes() != whole and any(whole[start : start + 64]):
            found = checkpoints.newest_complete_checkpoint(two)
            if found != two / f"checkpoint-{SAVED_AT}":  # between two entries of the archive
                assert same_content(path, whole, two / "whole.pt"), start


def same_content(path: Path, whole: bytes, other: Path) -> bool:
    """Whether torch reads the same from a file and from the bytes that it had."""
    other.write_bytes(whole)
    loaded = [torch.load(each, weights_only=False) for each in (path, other)]
    return repr(loaded[0]) == repr(loaded[1])


def test_incomplete_checkpoints_are_set_aside_and_nothing_is_deleted(two):
    newest = two / f"checkpoint-{N_STEPS}"
    (newest / "scheduler.pt").write_bytes(b"PK")
    (two / "checkpoint-9").mkdir()
    (two / "incomplete-checkpoint-9.1").mkdir()  # of an earlier time
    files = sorted(path.read_bytes() for path in two.rglob("*") if path.is_file())
    said = checkpoints.set_incomplete_aside(two)
    assert said == [
        "checkpoint-9 is not complete (adapter_config.json is missing): set aside as "
        "incomplete-checkpoint-9.2.",
        f"checkpoint-{N_STEPS} is not complete (scheduler.pt is cut off or damaged): set aside as "
        f"incomplete-checkpoint-{N_STEPS}.1.",
    ]
    assert sorted(path.name for path in two.glob("checkpoint-*")) == [f"checkpoint-{SAVED_AT}"]
    assert sorted(path.read_bytes() for path in two.rglob("*") if path.is_file()) == files
    assert checkpoints.set_incomplete_aside(two) == []


def test_a_run_goes_on_only_from_checkpoints_of_its_own(two, tmp_path):
    newest = two / f"checkpoint-{N_STEPS}"
    assert checkpoints.checkpoint_to_resume(two, RECORD) == newest
    assert checkpoints.checkpoint_to_resume(tmp_path / "nowhere", RECORD) is None
    other = {**RECORD, "settings": {"learning_rate": 0.1}}
    with pytest.raises(ValueError, match=r"learning_rate was 0\.005 and is 0\.1"):
        checkpoints.checkpoint_to_resume(two, other)
    (two / "training.json").write_text("{")
    with pytest.raises(ValueError, match=r"training\.json is no JSON"):
        checkpoints.checkpoint_to_resume(two, RECORD)
    (two / "training.json").unlink()
    with pytest.raises(ValueError, match=r"without training\.json.*resume: false"):
        checkpoints.checkpoint_to_resume(two, RECORD)


def test_a_broken_best_checkpoint_is_said_before_training(two):
    newest = two / f"checkpoint-{N_STEPS}"
    state = json.loads((newest / "trainer_state.json").read_text())
    state["best_global_step"] = SAVED_AT
    (newest / "trainer_state.json").write_text(json.dumps(state))
    assert checkpoints.checkpoint_to_resume(two, RECORD) == newest
    path = two / f"checkpoint-{SAVED_AT}" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    for use in (
        lambda: checkpoints.checkpoint_to_resume(two, RECORD),
        lambda: checkpoints.best_checkpoint(two, checkpoints.load_state(newest)),
    ):
        with pytest.raises(
            ValueError, match=rf"checkpoint-{SAVED_AT} has .*adapter_model\.safetensors is cut off"
        ):
            use()


def test_the_profile_says_which_checkpoint_is_kept(two):
    newest = two / f"checkpoint-{N_STEPS}"
    state = checkpoints.load_state(newest)
    state.best_global_step = SAVED_AT
    kept = {keep: checkpoints.kept_checkpoint(two, state, keep) for keep in training_record.KEEP}
    assert kept == {"lowest_loss": two / f"checkpoint-{SAVED_AT}", "last": newest}
    (newest / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"checkpoint-{N_STEPS} is the last one, but .* missing"):
        checkpoints.kept_checkpoint(two, state, "last")


def test_the_best_checkpoint_is_the_adapter_that_is_saved(run, base, tmp_path):
    from safetensors.torch import load_file

    trainer, folder = run
    best = checkpoints.best_checkpoint(folder, trainer.state)
    losses = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    assert best.name == f"checkpoint-{min(losses, key=losses.get)}"

    renderer = Renderer(load_tokenizer(base), small_model.INSTRUCTION)
    prompt = renderer.save(tmp_path / "rendered")
    record = {**RECORD, "base": "models/base", "prompt_sha256": sha256_file(prompt)}
    adapter, log = tmp_path / "adapter", trainer.state.log_history
    files = checkpoints.save_adapter(best, adapter, prompt, record, log)
    assert sorted(files) == sorted(adapter.iterdir())
    assert sorted(path.name for path in files) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "prompt.json",
        "train_log.jsonl",
        "training.json",
    ]
    ours = load_file(adapter / "adapter_model.safetensors")
    for name, weight in load_file(best / "adapter_model.safetensors").items():
        assert torch.equal(weight, ours[name])
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/base"
    assert config["target_modules"] == sorted(config["target_modules"])  # the same in each process
    ids = torch.tensor([renderer.prompt_ids("Patient: It hurts.")])
    with torch.no_grad():
        apart, merged = trainer.model.eval()(ids).logits, merge(base, adapter)(ids).logits
    torch.testing.assert_close(merged, apart, atol=1e-3, rtol=1e-3)
    training_record.check_adapter(adapter, base_sha256=record["base_sha256"])


def test_an_adapter_is_not_saved_beside_another_prompt(run, base, tmp_path):
    trainer, folder = run
    best, log = checkpoints.best_checkpoint(folder, trainer.state), trainer.state.log_history
    prompt = Renderer(load_tokenizer(base), small_model.INSTRUCTION).save(tmp_path / "rendered")
    record = {**RECORD, "prompt_sha256": sha256_file(prompt)}
    prompt.write_text("{}")
    with pytest.raises(ValueError, match=r"prompt\.json changed while"):
        checkpoints.save_adapter(best, tmp_path / "adapter", prompt, record, log)
    assert not (tmp_path / "adapter").exists()
