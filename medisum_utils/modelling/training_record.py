"""What an adapter was trained with: the record beside checkpoints and adapter, and its checks.

The record holds hashes of base, prompt and data, every setting that changes the weights, and the
versions of the libraries; beside the finished adapter also the hashes of its two files.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.modelling.adapter import ADAPTER_FILES, read_record_file, require_adapter
from medisum_utils.modelling.model import base_digest
from medisum_utils.modelling.prompt import PROMPT_FILE
from medisum_utils.runs import (
    read_split_manifest,
    require,
    resolve,
    sha256_file,
    shown_path,
    versions,
)
from medisum_utils.runs.hub import base_source

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import SFTConfig

RECORD_FILE = "training.json"
LOWEST_LOSS, LAST = KEEP = ("lowest_loss", "last")  # the checkpoint that becomes the adapter
ADAPTER_DTYPES = ("float32", "bfloat16")  # in which its matrices are stored

_NOTEBOOK = "03_qlora_train"
_REMEDY = f"notebook {_NOTEBOOK} writes it: train anew with resume: false"
_PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes")
_FIELDS = {
    "base": str,
    "base_sha256": str,
    "prompt_sha256": str,
    "data": dict,
    "settings": dict,
    "versions": dict,
}
# In a record beside an adapter: the field with the hash of each of its files.
_ADAPTER_FIELDS = {
    "adapter_config_sha256": ADAPTER_FILES[0],
    "adapter_sha256": ADAPTER_FILES[1],
}


def describe(base: str, processed: str | os.PathLike, settings: Mapping[str, Any]) -> dict:
    """The record of a training run that is about to begin; of a fetched base also its source.

    `base` is the name that the profile gives, `processed` the folder of the splits, `settings`
    everything else that the weights depend on.

    Raises: FileNotFoundError for data that are not there; see also `base_digest`.
    """
    installed, source = versions(), base_source(base)
    return {
        "base": base,
        "base_sha256": base_digest(base),
        **({"base_source": source} if source else {}),
        "prompt_sha256": sha256_file(_required(processed, f"rendered/{PROMPT_FILE}", "02_format")),
        "data": data_digests(processed),
        "sources": _sources(processed),
        "settings": dict(settings),
        "versions": {name: installed[name] for name in _PACKAGES if name in installed},
    }


def settings_of(
    parameters: Mapping[str, Any], lora: LoraConfig, config: SFTConfig, dtype: str
) -> dict[str, Any]:
    """Every setting that the weights depend on, read from the very objects that train.

    `parameters` are those of 03, `dtype` that of what is not quantised. `device` may change as long
    as `dtype` stays, and `checkpoint_activations` changes no weight: both are left out.

    Raises: ValueError for an unknown `keep` or `adapter_dtype`; FileNotFoundError for a missing
    initial adapter.
    """
    batch_tokens, keep = parameters["batch_tokens"], parameters["keep"]
    if keep not in KEEP:
        raise ValueError(f"expected keep to be one of {KEEP}, got {keep!r}")
    if (adapter_dtype := parameters["adapter_dtype"]) not in ADAPTER_DTYPES:
        raise ValueError(
            f"expected adapter_dtype to be one of {ADAPTER_DTYPES}, got {adapter_dtype!r}"
        )
    # Left out where they are as they always were, so that the records of older adapters compare.
    rarely = {"batch_tokens": batch_tokens} if batch_tokens else {}
    if keep != LOWEST_LOSS:
        rarely["keep"] = keep
    if adapter_dtype != ADAPTER_DTYPES[0]:
        rarely["adapter_dtype"] = adapter_dtype
    if initial := parameters["initial_adapter"]:
        rarely["initial_adapter"] = initial
        rarely["initial_adapter_sha256"] = sha256_file(require_adapter(initial) / ADAPTER_FILES[1])
    return {
        "seed": config.seed,
        "lora_rank": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_targets": lora.target_modules,
        "lora_dropout": lora.lora_dropout,
        "learning_rate": config.learning_rate,
        "n_epochs": parameters["n_epochs"],
        "batch_size": config.per_device_train_batch_size,
        **rarely,
        "n_accumulation": config.gradient_accumulation_steps,
        "n_validations": parameters["n_validations"],
        "n_valid": parameters["n_valid"],
        "n_steps": config.max_steps,
        "sampling": config.train_sampling_strategy,
        "bf16": config.bf16,
        "dtype": dtype,
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_type": config.lr_scheduler_type.value,
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": config.weight_decay,
    }


def data_digests(processed: str | os.PathLike) -> dict[str, str]:
    """The SHA-256 of each file that training depends on, by its path below `processed`.

    Raises: FileNotFoundError that names the notebook that makes the missing file.
    """
    made_by = {
        "rendered/train.jsonl": "02_format",
        "rendered/valid.jsonl": "02_format",
        "train.jsonl": "01_data",
        "valid.jsonl": "01_data",
    }
    folder = resolve(processed)
    return {name: sha256_file(_required(folder, name, step)) for name, step in made_by.items()}


def _sources(processed: str | os.PathLike) -> dict[str, int]:
    """How many training encounters each source gave, by 01's manifest of the splits."""
    return read_split_manifest(resolve(processed).name)["splits"]["train"]["sources"]


def _required(folder: str | os.PathLike, name: str, made_by: str) -> Path:
    """A file of a profile's folder, which is named after the profile."""
    return require(Path(folder) / name, made_by, Path(folder).name)


def with_adapter(record: Mapping[str, Any], folder: str | os.PathLike) -> dict[str, Any]:
    """The record completed by the hashes of the adapter's files in `folder`."""
    hashes = {field: sha256_file(resolve(folder) / name) for field, name in _ADAPTER_FIELDS.items()}
    return {**record, **hashes}


def read_record(folder: str | os.PathLike) -> dict[str, Any]:
    """The content of `training.json` in `folder`.

    Raises: FileNotFoundError that says which notebook makes it; ValueError for a broken one.
    """
    return read_record_file(resolve(folder) / RECORD_FILE, _FIELDS, _REMEDY)


def check_resume(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Checks that a run with the record `new` may resume from checkpoints with the record `old`.

    Other versions of the libraries only give a warning.

    Raises: ValueError that names each difference with both values and says what to do.
    """
    new = json.loads(json.dumps(new))  # as it would come from a file
    differing = "; ".join(
        (
            *_differing(old["settings"], new["settings"]),
            *_differing(_hashes(old), _hashes(new)),
        )
    )
    if differing:
        raise ValueError(
            "the checkpoints were trained with something else, and resuming would mix the two: "
            f"{differing}. Change it back (a base: put it back; data and prompt: run "
            f"01_data and 02_format as they were), or train anew with resume: false in {_NOTEBOOK}"
        )
    other_versions = "; ".join(_differing(old["versions"], new["versions"]))
    if other_versions:
        warnings.warn(
            "the checkpoints were made with other versions, so the losses may differ from those "
            f"of one whole run: {other_versions}",
            stacklevel=2,
        )


def check_adapter(
    folder: str | os.PathLike,
    *,
    base_sha256: str,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Checks that the adapter in `folder` is the one of its record, and returns the record.

    Its files, its `prompt.json`, the base's digest and, where `data` are given, the `data_digests`
    must be those of training.

    Raises: FileNotFoundError for a missing adapter, prompt or record; ValueError that names what
    differs and the step to run again.
    """
    folder = require_adapter(folder)
    record = read_record(folder)
    fields = {**_ADAPTER_FIELDS, "prompt_sha256": PROMPT_FILE}
    expected = {name: record.get(field) for field, name in fields.items()}
    present = {name: sha256_file(_required(folder, name, _NOTEBOOK)) for name in expected}
    changed = [name for name in present if present[name] != expected[name]]
    if changed:
        raise ValueError(
            f"{shown_path(folder)}: {' and '.join(changed)} changed since {_NOTEBOOK} wrote the "
            f"adapter: {'; '.join(_differing(expected, present))}. Run {_NOTEBOOK} again (where "
            "its checkpoints are still there, resume: true takes the adapter from them)"
        )
    trained = f"the adapter in {shown_path(folder)} was trained"
    difference = "; ".join(_differing({"base": record["base_sha256"]}, {"base": base_sha256}))
    if difference:
        raise ValueError(
            f"{trained} on another base than this one ({shown_path(record['base'])} as it was "
            f"then): {difference}. Put the base back, or run {_NOTEBOOK} again"
        )
    differing = "; ".join(_differing(record["data"], data)) if data is not None else ""
    if differing:
        raise ValueError(
            f"{trained} on other data than are here now: {differing}. Run {_NOTEBOOK} again, or "
            "01_data and 02_format as they were"
        )
    return record


def _hashes(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "base": record["base_sha256"],
        f"rendered/{PROMPT_FILE}": record["prompt_sha256"],
        **record["data"],
    }


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """A clause for each name whose values differ or that one side lacks."""
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new or old[name] != new[name]:
            then, now = (_shown(values, name) for values in (old, new))
            yield f"{name} was {then} and is {now}"


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "not there"
    value = values[name]
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)
