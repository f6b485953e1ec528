"""Notebook 03 as a whole: killed and resumed, resumed when done, and refused, with files untouched.

It runs on a small random base in a project of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import small_model
import test_training
import train_notebook
from train_notebook import PROFILE, run_notebook

from medisum_utils import runs
from medisum_utils.modelling import training, training_record
from medisum_utils.modelling.model import base_digest

N_STEPS, SAVED_AT, KILLED_AT = 6, 4, 5  # 12 examples in steps of 2, saved at 2, 4 and 6
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "prompt.json", "training.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project in which 03 ran once, without interruption."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISUM_HOME", str(home))
        train_notebook.prepare()
        run_notebook()
    return home


@pytest.fixture
def home(finished, tmp_path, monkeypatch) -> Path:
    """A copy of it, in another folder: the paths in old checkpoints lead nowhere."""
    shutil.copytree(finished, tmp_path / "home")
    shutil.move(finished, finished.with_name("away"))
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    shutil.move(finished.with_name("away"), finished)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Each file's bytes and time of change, by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def losses(home: Path) -> list[tuple]:
    log = (home / "models" / PROFILE / "train_log.jsonl").read_text().splitlines()
    return test_training.losses(map(json.loads, log))


def assert_same_adapter(home: Path, finished: Path) -> None:
    ours, theirs = (each / "models" / PROFILE for each in (home, finished.with_name("away")))
    for name in ADAPTER:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    assert losses(home) == losses(finished.with_name("away"))


def entry(home: Path) -> dict:
    manifest = json.loads((home / "reports" / PROFILE / "run.json").read_text())
    return manifest["steps"]["03_qlora_train"]


def test_a_run_leaves_its_record_beside_checkpoints_and_adapter(home):
    folder = home / "models" / PROFILE
    processed = runs.processed_dir(PROFILE)
    record = training_record.check_adapter(
        folder,
        base_sha256=base_digest("models/base"),
        data=training_record.data_digests(processed),
    )
    beside = training_record.read_record(folder / "checkpoints")
    assert training_record.with_adapter(beside, folder) == record
    parameters = entry(home)["parameters"]
    # arithmetic is recorded as what follows from it, bf16
    of_no_weight = {"device", "checkpoint_activations", "resume", "arithmetic"}
    where_chosen = {
        "batch_tokens",
        "keep",
        "adapter_dtype",
        "initial_adapter",
    }  # other than as they always were
    assert set(parameters) - of_no_weight - where_chosen <= set(record["settings"])
    assert all(parameters[name] == record["settings"][name] for name in ("seed", "learning_rate"))
    assert record["settings"]["n_steps"] == N_STEPS
    assert f"models/{PROFILE}/training.json" in entry(home)["outputs"]
    assert f"models/{PROFILE}/README.md" in entry(home)["outputs"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "has not been scored yet" in card
    assert f"`{record['base_sha256']}`" in card
    assert [each[:2] for each in losses(home) if each[1] == "eval_loss"] == [
        (step, "eval_loss") for step in (2, 4, 6)
    ]


def test_its_report_shows_numbers_as_they_are(home):
    said = run_notebook(n_validations=1, n_epochs=0.2)  # one step: the least there can be
    assert "RemovableHandle" not in said
    assert "nan" not in said.lower()
    assert re.search(r"layers +2\n", said)  # no 2.00
    assert "1 of 1\n" in said


def test_resuming_a_finished_run_trains_nothing_and_changes_nothing(home, finished):
    before = contents(home / "models")
    said = run_notebook(resume=True)
    assert_same_adapter(home, finished)
    after = contents(home / "models")
    assert set(after) == set(before)
    changed = {name for name in before if before[name][0] != after[name][0]}
    assert changed <= {f"{PROFILE}/train_log.jsonl"}  # it has no line about this session's time
    assert "nothing is left to train" in said
    assert "nothing was left to train in this one" in said
    assert f"0 of {N_STEPS}" in said
    assert "nan" not in said.lower()
    assert entry(home)["resumed_from"] == f"checkpoint-{N_STEPS}"
    assert (entry(home)["tokens_per_s"], entry(home)["training_s"]) == (None, 0.0)


def test_a_run_killed_before_its_adapter_was_written_only_writes_it(home, finished):
    for name in (*ADAPTER, "train_log.jsonl"):
        (home / "models" / PROFILE / name).unlink()
    assert "nothing is left to train" in run_notebook(resume=True)
    assert_same_adapter(home, finished)


def train_until_killed() -> None:
    """Runs in a process of its own, which ends itself as the system would."""
    on_step_end = training.StepClock.on_step_end

    def kill(self, args, state, control, **more) -> None:
        on_step_end(self, args, state, control, **more)
        if state.global_step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    training.StepClock.on_step_end = kill
    run_notebook()


@pytest.mark.slow  # a second process with its own torch
def test_a_killed_run_that_resumes_equals_one_that_was_not(home, finished):
    old = contents(home / "models" / PROFILE)
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = home / "models" / PROFILE
    now = contents(folder)
    assert {name for name in old if "/" not in name} == {name for name in now if "/" not in name}
    assert all(now[name] == old[name] for name in now if "/" not in name)  # the old adapter stays
    assert not (folder / "checkpoints" / f"checkpoint-{N_STEPS}").exists()
    half = folder / "checkpoints" / f"checkpoint-{N_STEPS}"
    half.mkdir()
    (half / "adapter_config.json").write_text("{")

    for name in ADAPTER:
        (folder / name).unlink()
    said = run_notebook(resume=True)
    assert f"Training goes on from checkpoint-{SAVED_AT}, of {N_STEPS} steps." in said
    assert f"checkpoint-{N_STEPS} is not complete" in said
    assert f"{N_STEPS - SAVED_AT} of {N_STEPS}" in said
    assert_same_adapter(home, finished)
    assert entry(home)["resumed_from"] == f"checkpoint-{SAVED_AT}"


def test_a_run_goes_on_from_the_last_checkpoint_that_is_whole(home, finished):
    newest = home / "models" / PROFILE / "checkpoints" / f"checkpoint-{N_STEPS}"
    path = newest / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-7])
    said = run_notebook(resume=True, checkpoint_activations=True)  # which changes no weight
    assert "optimizer.pt is cut off or damaged" in said
    assert f"goes on from checkpoint-{SAVED_AT}" in said
    assert_same_adapter(home, finished)
    assert (newest.with_name(f"incomplete-checkpoint-{N_STEPS}.1") / "optimizer.pt").exists()


def test_batches_in_tokens_go_on_in_the_middle_of_a_pass(home):
    """What a run killed in its second pass resumes is the run that was not killed."""
    in_tokens = {"batch_tokens": 300, "n_epochs": 2.0, "n_validations": 3}
    run_notebook(**in_tokens)
    folder = home / "models" / PROFILE
    whole = {name: (folder / name).read_bytes() for name in ADAPTER}
    all_losses = losses(home)
    n_steps = entry(home)["n_steps"]
    assert entry(home)["parameters"]["batch_tokens"] == 300
    saved_at, n_in_pass = 2 * n_steps // 3, n_steps // 2
    assert n_in_pass < saved_at < n_steps  # in the second pass, after its first batch
    shutil.rmtree(folder / "checkpoints" / f"checkpoint-{n_steps}")
    for name in ADAPTER:
        (folder / name).unlink()
    assert f"goes on from checkpoint-{saved_at}" in run_notebook(resume=True, **in_tokens)
    assert {name: (folder / name).read_bytes() for name in ADAPTER} == whole
    assert losses(home) == all_losses


def test_without_a_complete_checkpoint_training_starts_anew_and_says_so(home, finished):
    for path in (home / "models" / PROFILE / "checkpoints").glob("checkpoint-*/scheduler.pt"):
        path.unlink()
    said = run_notebook(resume=True)
    assert "no complete checkpoint to go on from: training starts anew" in said
    assert f"{N_STEPS} of {N_STEPS}" in said
    assert_same_adapter(home, finished)
    shutil.rmtree(home / "models" / PROFILE)
    assert "training starts anew" in run_notebook(resume=True)
    assert_same_adapter(home, finished)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"seed": 6}, "seed was 5 and is 6"),
        ({"learning_rate": 1.0e-3}, r"learning_rate was 0\.005 and is 0\.001"),
        ({"lora_rank": 8}, "lora_rank was 4 and is 8"),
        ({"lora_alpha": 16}, "lora_alpha was 8 and is 16"),
        ({"batch_size": 4}, "batch_size was 2 and is 4"),
        ({"n_accumulation": 2}, "n_accumulation was 1 and is 2"),
        ({"n_epochs": 2.0}, r"n_epochs was 1\.0 and is 2\.0"),
        ({"n_validations": 2}, "n_validations was 3 and is 2"),
        ({"n_valid": 2}, "n_valid was 4 and is 2"),
        ({"batch_tokens": 300}, "batch_tokens was not there and is 300"),
        ({"arithmetic": "bf16"}, "bf16 was False and is True"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_resuming_with_another_setting_is_refused_and_touches_nothing(home, parameters, says):
    before = contents(home / "models")
    with pytest.raises(ValueError, match=rf"{says}.*resume: false"):
        run_notebook(resume=True, **parameters)
    assert contents(home / "models") == before


@pytest.mark.parametrize("what", ["train", "prompt", "base"])
def test_resuming_with_other_data_prompt_or_base_is_refused(home, what):
    if what == "train":
        train_notebook.write_data(seed=3)
        train_notebook.render()
        says = r"rendered/train\.jsonl was [0-9a-f]{12}\.\.\. and is.* train\.jsonl was "
    elif what == "prompt":
        train_notebook.render("Write another note.")
        says = r"rendered/prompt\.json was [0-9a-f]{12}\.\.\. and is"
    else:
        small_model.make_base(home / "models" / "base", seed=1)
        says = r"trained with something else.*base was [0-9a-f]{12}\.\.\. and is"
    before = contents(home / "models")
    with pytest.raises(ValueError, match=says):
        run_notebook(resume=True)
    assert contents(home / "models") == before


def test_rendered_data_that_were_edited_are_not_trained_on(home):
    path = runs.processed_dir(PROFILE) / "rendered" / "train.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1] + lines[:1]))
    before = contents(home / "models")
    with pytest.raises(ValueError, match=r"rendered/train\.jsonl is not the one that 02_format"):
        run_notebook(resume=True)
    assert contents(home / "models") == before


def test_a_run_that_fails_leaves_the_adapter_of_the_one_before(home, monkeypatch):
    before = contents(home / "models")
    with monkeypatch.context() as patch:
        patch.setattr(training, "check_supervision", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_notebook(seed=6)
    assert contents(home / "models") == before  # the checkpoints too

    with pytest.raises(FloatingPointError, match="at step"):
        run_notebook(learning_rate=1.0e30)
    after = contents(home / "models")
    assert {name: file for name, file in after.items() if "checkpoints" not in name} == {
        name: file for name, file in before.items() if "checkpoints" not in name
    }
