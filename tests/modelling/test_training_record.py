"""The record beside checkpoints and adapter: what it holds, and what it refuses."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import pytest
import small_model

from medisum_utils.modelling import training_record
from medisum_utils.modelling.model import base_digest
from medisum_utils.runs import sha256_file, write_json

SETTINGS = {"learning_rate": 0.001, "lora_rank": 16, "batch_size": 8, "bf16": False}


@pytest.fixture
def processed(project: Path) -> Path:
    """A base and what 01 and 02 leave, as far as the record looks at it."""
    small_model.make_tokenizer(project / "models" / "base")
    (project / "models" / "base" / "config.json").write_text("{}")
    (project / "models" / "base" / "model.safetensors").write_bytes(b"weights")
    folder = project / "data" / "processed" / "small"
    (folder / "rendered").mkdir(parents=True)
    for name in ("train.jsonl", "valid.jsonl", "rendered/train.jsonl", "rendered/valid.jsonl"):
        (folder / name).write_text(f'"{name}"\n')
    (folder / "rendered" / "prompt.json").write_text("{}\n")
    small_model.leave_splits(folder, {"mts-dialog": 3})
    return folder


@pytest.fixture
def record(processed: Path) -> dict:
    return training_record.describe("models/base", processed, SETTINGS)


@pytest.fixture
def adapter(project: Path, processed: Path, record: dict) -> Path:
    """A finished adapter with its record; its files are only looked at as bytes."""
    folder = project / "models" / "small"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 16}')
    (folder / "adapter_model.safetensors").write_bytes(b"matrices")
    (folder / "prompt.json").write_bytes((processed / "rendered" / "prompt.json").read_bytes())
    write_json(folder / "training.json", training_record.with_adapter(record, folder))
    return folder


def check(adapter: Path, processed: Path) -> dict:
    return training_record.check_adapter(
        adapter,
        base_sha256=base_digest("models/base"),
        data=training_record.data_digests(processed),
    )


def test_the_record_holds_what_the_weights_depend_on(record, processed):
    assert record["base"] == "models/base"
    assert record["base_sha256"] == base_digest("models/base")
    assert record["prompt_sha256"] == sha256_file(processed / "rendered" / "prompt.json")
    names = ("rendered/train.jsonl", "rendered/valid.jsonl", "train.jsonl", "valid.jsonl")
    assert record["data"] == {name: sha256_file(processed / name) for name in names}
    assert record["sources"] == {"mts-dialog": 3}
    assert record["settings"] == SETTINGS
    assert set(record["versions"]) == {"torch", "transformers", "peft", "trl", "bitsandbytes"}
    (processed / "valid.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"valid\.jsonl is missing; notebook 01_data"):
        training_record.describe("models/base", processed, SETTINGS)


def test_a_record_is_read_as_it_was_written(record, tmp_path):
    write_json(tmp_path / "training.json", record)
    assert training_record.read_record(tmp_path) == record


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no JSON"),
        ('{"base": "models/ba', "is no JSON"),
        ("[]", 'expected "base" as str, got NoneType'),
        ('{"base": 3}', 'expected "base" as str, got int'),
        ('{"base": "b", "base_sha256": "a"}', 'expected "prompt_sha256" as str, got NoneType'),
        ("\udcff", "is no JSON"),
    ],
)
def test_a_broken_record_is_named(project, content, says):
    path = project / "models" / "small" / "training.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=rf"^models/small/training\.json.*{says}.*03_qlora_train"):
        training_record.read_record("models/small")


def test_a_missing_record_says_which_notebook_makes_it(project):
    with pytest.raises(FileNotFoundError, match=r"models/small/training\.json.*03_qlora_train"):
        training_record.read_record("models/small")


CHANGES = [
    ("settings", "learning_rate", 0.002, r"learning_rate was 0\.001 and is 0\.002"),
    ("settings", "lora_rank", 8, "lora_rank was 16 and is 8"),
    ("settings", "bf16", True, "bf16 was False and is True"),
    ("settings", "sampling", "random", "sampling was not there and is 'random'"),
    ("data", "train.jsonl", "d" * 64, r"train\.jsonl was [0-9a-f]{12}\.\.\. and is dddddddddddd"),
    (
        "data",
        "rendered/more.jsonl",
        "d" * 64,
        r"rendered/more\.jsonl was not there and is d",
    ),
    (None, "base_sha256", "d" * 64, r"base was [0-9a-f]{12}\.\.\. and is dddddddddddd\.\.\."),
    (None, "prompt_sha256", "d" * 64, r"rendered/prompt\.json was [0-9a-f]{12}\.\.\. and is ddd"),
]


@pytest.mark.parametrize(("part", "name", "value", "says"), CHANGES)
def test_resuming_with_anything_else_is_refused_with_both_values(record, part, name, value, says):
    new = copy.deepcopy(record)
    (new[part] if part else new)[name] = value
    for one, other in ((record, new), (new, record)):
        with pytest.raises(ValueError, match="resume: false"):
            training_record.check_resume(one, other)
    with pytest.raises(ValueError, match=rf"trained with something else.*: {says}.*Change it back"):
        training_record.check_resume(record, new)


def test_every_difference_is_named_at_once(record):
    new = {**record, "settings": {**SETTINGS, "learning_rate": 1, "batch_size": 2}}
    with pytest.raises(ValueError, match=r"learning_rate was .*; batch_size was 8 and is 2"):
        training_record.check_resume(record, new)


def test_the_same_run_may_go_on_and_other_versions_give_a_warning(record):
    stored = json.loads(json.dumps(record))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training_record.check_resume(stored, record)
        training_record.check_resume(stored, {**record, "base": "owner/the-same-by-another-name"})
    new = {**record, "versions": {**record["versions"], "peft": "0.0"}}
    with pytest.warns(UserWarning, match=r"peft was '.*' and is '0\.0'"):
        training_record.check_resume(stored, new)


def test_an_adapter_with_what_it_was_trained_with_is_accepted(adapter, processed, record):
    assert check(adapter, processed) == training_record.with_adapter(record, adapter)
    assert training_record.check_adapter("models/small", base_sha256=record["base_sha256"])


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "prompt.json"]
)
def test_a_file_beside_the_adapter_that_changed_is_named(adapter, processed, name):
    (adapter / name).write_text('{"r": 32}')
    with pytest.raises(ValueError, match=rf"models/small: {name} changed.*Run 03_qlora_train"):
        check(adapter, processed)
    (adapter / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}.*03_qlora_train"):
        check(adapter, processed)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_base_under_the_same_name_is_refused(adapter, processed, project, name):
    path = project / "models" / "base" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=r"another base than this.*Put the base back, or run 03"):
        check(adapter, processed)


def test_other_data_are_refused(adapter, processed):
    for name in ("train.jsonl", "rendered/valid.jsonl"):
        path = processed / name
        before = path.read_text()
        path.write_text("another\n")
        with pytest.raises(ValueError, match=rf"other data than are here.*: {name} was .* and is"):
            check(adapter, processed)
        path.write_text(before)
    check(adapter, processed)


def test_the_record_of_checkpoints_vouches_for_no_adapter(adapter, processed, record):
    write_json(adapter / "training.json", record)  # without the hashes of the adapter's files
    with pytest.raises(ValueError, match=r"_config\.json and adapter_model\.safetensors changed"):
        check(adapter, processed)


def test_the_settings_are_read_from_what_trains():
    """Their names and values are those of the records that older adapters have."""
    from peft import LoraConfig

    from medisum_utils.modelling import training

    lora = LoraConfig(r=16, lora_alpha=64, target_modules="all-linear", lora_dropout=0.0)
    choices = {
        "max_steps": 540,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "learning_rate": 2.0e-3,
        "lr_scheduler_type": "linear",
        "warmup_steps": 27,
        "max_grad_norm": 0.5,
        "weight_decay": 0.0,
        "train_sampling_strategy": "random",
        "bf16": False,
        "seed": 5,
    }
    config = training.default_sft_config("nowhere", "cpu", **choices)
    parameters = {
        "n_epochs": 1.0,
        "batch_tokens": 0,
        "n_validations": 2,
        "n_valid": 16,
        "device": "cpu",
        "keep": "lowest_loss",
        "adapter_dtype": "float32",
        "initial_adapter": "",
    }
    settings = training_record.settings_of(parameters, lora, config, "float32")
    assert json.loads(json.dumps(settings)) == {
        "seed": 5,
        "lora_rank": 16,
        "lora_alpha": 64,
        "lora_targets": "all-linear",
        "lora_dropout": 0.0,
        "learning_rate": 0.002,
        "n_epochs": 1.0,
        "batch_size": 2,
        "n_accumulation": 3,
        "n_validations": 2,
        "n_valid": 16,
        "n_steps": 540,
        "sampling": "random",
        "bf16": False,
        "dtype": "float32",
        "warmup_steps": 27,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 0.5,
        "weight_decay": 0.0,
    }
    assert list(settings)[-2:] == ["max_grad_norm", "weight_decay"]
    in_tokens = training_record.settings_of(
        {**parameters, "batch_tokens": 2048}, lora, config, "float32"
    )
    assert in_tokens == {**settings, "batch_tokens": 2048}
    last = training_record.settings_of({**parameters, "keep": "last"}, lora, config, "float32")
    assert last == {**settings, "keep": "last"}
    with pytest.raises(ValueError, match="expected keep to be one of .* got 'best'"):
        training_record.settings_of({**parameters, "keep": "best"}, lora, config, "float32")
    with pytest.raises(ValueError, match="adapter_dtype to be one of .* got 'int8'"):
        training_record.settings_of(
            {**parameters, "adapter_dtype": "int8"}, lora, config, "float32"
        )
    with pytest.raises(FileNotFoundError, match="nowhere lacks adapter_config.json"):
        training_record.settings_of(
            {**parameters, "initial_adapter": "models/nowhere"}, lora, config, "float32"
        )
