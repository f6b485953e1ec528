"""Training that goes on from a finished adapter, with notebook 03 run as a whole."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import small_model
import torch
import train_notebook
from safetensors.torch import load_file
from train_notebook import PROFILE, run_notebook

from medisum_utils import runs
from medisum_utils.runs import sha256_file

FIRST = "models/first"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A project with an adapter on its data, under another name than the profile's."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISUM_HOME", str(home))
        train_notebook.prepare()
        run_notebook(keep="last")
        (home / "models" / PROFILE).rename(home / FIRST)
    return home


@pytest.fixture
def home(trained, monkeypatch) -> Path:
    monkeypatch.setenv("MEDISUM_HOME", str(trained))
    yield trained
    shutil.rmtree(trained / "models" / PROFILE, ignore_errors=True)
    small_model.leave_splits(runs.processed_dir(PROFILE), {"typed": 12}, tested_on="elsewhere")


def entry(home: Path) -> dict:
    manifest = json.loads((home / "reports" / PROFILE / "run.json").read_text())
    return manifest["steps"]["03_qlora_train"]


def last_loss(folder: Path) -> float:
    lines = map(json.loads, (folder / "train_log.jsonl").read_text().splitlines())
    return [line["eval_loss"] for line in lines if "eval_loss" in line][-1]


def test_training_begins_where_the_first_adapter_ended(home):
    said = run_notebook(initial_adapter=FIRST, keep="last")
    assert entry(home)["loss_before"] == pytest.approx(last_loss(home / FIRST), abs=1e-6)
    assert f"the base with `{FIRST}`: **{last_loss(home / FIRST):.3f}**" in said
    settings = json.loads((home / "models" / PROFILE / "training.json").read_text())["settings"]
    assert settings["initial_adapter"] == FIRST
    assert settings["initial_adapter_sha256"] == sha256_file(
        home / FIRST / "adapter_model.safetensors"
    )
    assert f"went on from the adapter\n`{FIRST}`" in (
        home / "models" / PROFILE / "README.md"
    ).read_text(encoding="utf-8")
    first, second = (
        load_file(home / folder / "adapter_model.safetensors")
        for folder in (FIRST, f"models/{PROFILE}")
    )
    assert all(not matrix.equal(second[name]) for name, matrix in first.items())


def test_an_adapter_in_bfloat16_is_rounded_and_half_the_size(home):
    run_notebook(adapter_dtype="bfloat16", keep="last")
    name = "adapter_model.safetensors"  # of the same training as the first, in float32
    exact, rounded = (home / folder / name for folder in (FIRST, f"models/{PROFILE}"))
    assert all(
        matrix.to(torch.bfloat16).equal(load_file(rounded)[key])
        for key, matrix in load_file(exact).items()
    )
    assert rounded.stat().st_size < 0.7 * exact.stat().st_size
    run_notebook(initial_adapter=f"models/{PROFILE}", keep="last")  # goes on in float32
    assert {matrix.dtype for matrix in load_file(rounded).values()} == {torch.float32}


def test_an_adapter_that_knows_the_tests_is_refused(home):
    small_model.leave_splits(runs.processed_dir(PROFILE), {"other": 12}, tested_on="typed")
    with pytest.raises(ValueError, match="models/first was trained on typed, where this profile's"):
        run_notebook(initial_adapter=FIRST)


def test_an_adapter_that_does_not_say_what_it_knows_is_refused(home, tmp_path):
    silent = home / "models" / "silent"
    shutil.copytree(home / FIRST, silent)
    record = json.loads((silent / "training.json").read_text())
    del record["sources"]
    (silent / "training.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="models/silent does not say which sources"):
        run_notebook(initial_adapter="models/silent")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"lora_rank": 8, "lora_alpha": 16}, r"of rank 8 with alpha / r of 2, got \d+ of rank 4"),
        ({"lora_alpha": 4}, r"of rank 4 with alpha / r of 1, got \d+ of rank 4 with 2"),
    ],
)
def test_an_adapter_of_another_rank_or_scale_is_refused(home, choice, expected):
    with pytest.raises(ValueError, match=expected):
        run_notebook(initial_adapter=FIRST, **choice)


def test_an_adapter_of_another_base_is_refused(home):
    weights = home / "models" / "base" / "model.safetensors"
    before = weights.read_bytes()
    small_model.make_base(home / "models" / "base", seed=3)
    try:
        with pytest.raises(ValueError, match="trained on another base than this one") as refused:
            run_notebook(initial_adapter=FIRST)
    finally:
        weights.write_bytes(before)
    assert re.search(r"base was [0-9a-f]{12}", str(refused.value))
