"""Checkpoints: which are complete, from which a run may go on, and which becomes the adapter.

A run that is killed goes on from the newest complete checkpoint as if nothing had happened. Nothing
is deleted here; what is broken is set aside under another name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.modelling.adapter import ADAPTER_FILES
from medisum_utils.modelling.prompt import PROMPT_FILE
from medisum_utils.modelling.training_record import (
    LAST,
    RECORD_FILE,
    check_resume,
    read_record,
    with_adapter,
)
from medisum_utils.runs import sha256_file, shown_path, write_json
from medisum_utils.runs.files import write_json_lines

if TYPE_CHECKING:
    from transformers import TrainerState

LOG_FILE = "train_log.jsonl"

# What `save_adapter` writes, the record last.
ADAPTER_AND_BESIDE = (*ADAPTER_FILES, PROMPT_FILE, LOG_FILE, RECORD_FILE)

_STATE = "trainer_state.json"  # written last
_TORCH_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")


def step_of(checkpoint: Path) -> int | None:
    """The step in the name of a checkpoint's folder, None for a folder of another name."""
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def _by_step(folder: str | os.PathLike) -> list[Path]:
    """The folders of checkpoints, complete or not, the newest first."""
    checkpoints = [path for path in Path(folder).glob("checkpoint-*") if step_of(path) is not None]
    return sorted(checkpoints, key=step_of, reverse=True)


def what_is_missing(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used, in a few words that name the file; None if it is complete.

    A kill leaves a checkpoint without its last files, a full disk one with files that are cut off.
    """
    for name in (*ADAPTER_FILES, *_TORCH_FILES, _STATE):
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if not _can_be_read(checkpoint / name):
            return f"{name} is cut off or damaged"
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    step = state.get("global_step") if isinstance(state, dict) else None
    if step != step_of(checkpoint):
        return f"{_STATE} is of step {step}"
    return None


def _can_be_read(path: Path) -> bool:
    """Whether a file is whole: JSON, safetensors, or a file of torch, which is a zip archive."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):  # compares the sizes in its head with the file's
                return True
        else:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None  # compares checksums
    except (
        ValueError,
        SafetensorError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        RuntimeError,  # a head that asks for a password or an unknown compression
    ):
        return False
    return True


def newest_complete_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The checkpoint with the highest step that can be read to its end, None if there is none."""
    return next((path for path in _by_step(folder) if what_is_missing(path) is None), None)


def checkpoint_to_resume(folder: str | os.PathLike, record: Mapping[str, Any]) -> Path | None:
    """The checkpoint from which the run that `record` describes may go on, None to start anew.

    Raises: ValueError if the checkpoints are of another run, if nothing says of which, or if the
    best of them is broken.
    """
    folder = Path(folder)
    newest = newest_complete_checkpoint(folder)
    if newest is None:
        return None
    if not (folder / RECORD_FILE).is_file():
        raise ValueError(
            f"{shown_path(folder)} holds checkpoints without {RECORD_FILE}, so that nothing says "
            "what they were trained with; train anew with resume: false"
        )
    check_resume(read_record(folder), record)
    best_checkpoint(folder, load_state(newest))
    return newest


def set_incomplete_aside(folder: str | os.PathLike) -> list[str]:
    """Renames checkpoints that are not complete; returns a sentence about each.

    Under their names they would be counted when old checkpoints make room, and a new one written
    over them could be taken for complete too early.
    """
    messages = []
    for path in _by_step(folder):
        reason = what_is_missing(path)
        if reason:
            number = 1
            while (aside := path.with_name(f"incomplete-{path.name}.{number}")).exists():
                number += 1
            path.rename(aside)
            messages.append(f"{path.name} is not complete ({reason}): set aside as {aside.name}.")
    return messages


def load_state(checkpoint: Path) -> TrainerState:
    """The trainer's state as it was saved in a complete checkpoint."""
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoint / _STATE))


def kept_checkpoint(folder: str | os.PathLike, state: TrainerState, keep: str) -> Path:
    """The checkpoint that becomes the adapter: `keep` is one of `training_record.KEEP`.

    Raises: ValueError if it is not complete.
    """
    if keep == LAST:
        checkpoint = Path(folder) / f"checkpoint-{state.global_step}"
        if reason := what_is_missing(checkpoint):
            raise ValueError(
                f"{shown_path(checkpoint)} is the last one, but {reason}; train anew with resume: "
                "false in 03_qlora_train"
            )
        return checkpoint
    return best_checkpoint(folder, state)


def best_checkpoint(folder: str | os.PathLike, state: TrainerState) -> Path:
    """The checkpoint with the lowest validation loss.

    Raises: ValueError if it is not complete.
    """
    checkpoint = Path(folder) / f"checkpoint-{state.best_global_step}"
    reason = what_is_missing(checkpoint)
    if reason:
        raise ValueError(
            f"{shown_path(checkpoint)} has the lowest validation loss, but {reason}; train anew "
            "with resume: false in 03_qlora_train"
        )
    return checkpoint


def save_adapter(
    checkpoint: Path,
    folder: str | os.PathLike,
    prompt: Path,
    record: Mapping[str, Any],
    log: Iterable[Mapping[str, Any]],
) -> list[Path]:
    """Puts the adapter of a checkpoint into `folder`, with `prompt`, log and record beside it.

    Its matrices are stored in the `adapter_dtype` of the record's settings, float32 where there is
    none. The base is named as in the record; what the libraries would add (a card with this
    machine's paths) is left out. Returns the files, the record last.

    Raises: ValueError if the prompt is no longer the one of the record.
    """
    if sha256_file(prompt) != record["prompt_sha256"]:
        raise ValueError(
            f"{shown_path(prompt)} changed while the adapter was trained; put it back and run "
            "03_qlora_train with resume: true, or train anew"
        )
    folder = Path(folder)
    config = json.loads((checkpoint / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = record["base"]
    config["target_modules"].sort()  # peft keeps a set: another order in every process
    write_json(folder / ADAPTER_FILES[0], config)
    weights = folder / ADAPTER_FILES[1]
    shutil.copyfile(checkpoint / ADAPTER_FILES[1], weights)
    if dtype := record["settings"].get("adapter_dtype"):
        _store_as(weights, dtype)
    shutil.copyfile(prompt, folder / PROMPT_FILE)
    write_json_lines(folder / LOG_FILE, log)
    write_json(folder / RECORD_FILE, with_adapter(record, folder))
    return [folder / name for name in ADAPTER_AND_BESIDE]


def _store_as(weights: Path, dtype: str) -> None:
    """Rounds the matrices in a file of an adapter."""
    import torch
    from safetensors.torch import load_file, save_file

    rounded = {name: m.to(getattr(torch, dtype)) for name, m in load_file(weights).items()}
    save_file(rounded, weights, metadata={"format": "pt"})
