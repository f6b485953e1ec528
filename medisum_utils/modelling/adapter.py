"""A trained adapter: its files, whether they are whole, and its place on a base."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.runs import resolve, shown_path

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def require_adapter(folder: str | os.PathLike) -> Path:
    """The folder of a complete adapter.

    Raises: FileNotFoundError that says which notebook makes it.
    """
    folder = resolve(folder)
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the adapter in {shown_path(folder)} lacks {' and '.join(missing)}; "
            "notebook 03_qlora_train makes it"
        )
    return folder


def read_record_file(path: Path, fields: Mapping[str, type], remedy: str) -> dict[str, Any]:
    """The JSON object in a file beside an adapter, which has `fields` of these types.

    Raises: FileNotFoundError where it is missing, ValueError where it is broken; both end in
    `remedy`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{shown_path(path)} is missing; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{shown_path(path)} is no JSON ({type(error).__name__}); {remedy}"
        ) from None
    for name, kind in fields.items():
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, kind):
            raise ValueError(
                f'{shown_path(path)}: expected "{name}" as {kind.__name__}, got '
                f"{type(value).__name__}; {remedy}"
            )
    return content


def trained_base(folder: Path) -> str:
    """The base model that an adapter's configuration names.

    Raises: see `read_record_file`.
    """
    return _configuration(folder, "say which with base_model")["base_model_name_or_path"]


def _configuration(folder: Path, remedy: str) -> dict[str, Any]:
    fields = {"peft_type": str, "base_model_name_or_path": str}
    return read_record_file(folder / ADAPTER_FILES[0], fields, remedy)


def read_adapter(folder: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The name of the base that an adapter was trained on, and its matrices by their names.

    Raises: ValueError that names the file that is broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    configuration, weights = (folder / name for name in ADAPTER_FILES)
    remedy = "make it anew with notebook 03_qlora_train"
    config = _configuration(folder, remedy)
    if config["peft_type"] != "LORA":
        raise ValueError(
            f"{shown_path(configuration)}: expected a LoRA, got {config['peft_type']!r}; {remedy}"
        )
    try:
        stored = load_file(weights)
    except SafetensorError as error:
        raise ValueError(
            f"{shown_path(weights)} is cut off or damaged ({error}); {remedy}"
        ) from error
    broken = [name for name, matrix in stored.items() if not matrix.isfinite().all()]
    if broken:
        raise ValueError(
            f"{shown_path(weights)}: expected numbers, got NaN or infinity in {len(broken)} of "
            f"{len(stored)} matrices, first in {broken[0]}; {remedy}"
        )
    return config["base_model_name_or_path"], stored


def attach_lora(model: PreTrainedModel, adapter_dir: str | os.PathLike) -> PeftModel:
    """The model with a trained adapter on it, for inference.

    Raises: FileNotFoundError for a missing adapter; ValueError for a broken one, for one that does
    not belong to this base (other layers or sizes), or that would change nothing.
    """
    import torch
    from peft import PeftModel

    folder = require_adapter(adapter_dir)
    trained_on, stored = read_adapter(folder)
    if not any(bool(matrix.any()) for name, matrix in stored.items() if "lora_B" in name):
        raise ValueError(
            f"the adapter in {shown_path(folder)} changes nothing: its B matrices are all zero; "
            "train it with notebook 03_qlora_train"
        )
    misfit = (
        f"the adapter in {shown_path(folder)} was trained on "
        f"{shown_path(trained_on)}, which is not this base model: "
    )
    names = {name.partition(".lora_")[0].rpartition(".")[2] for name in stored if ".lora_" in name}
    n_layers = sum(
        isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in names
        for name, module in model.named_modules()
    )
    n_expected = 2 * n_layers  # A and B; peft passes over layers without any
    n_stored = sum("lora_" in name for name in stored)
    if n_stored != n_expected:
        raise ValueError(f"{misfit}expected {n_expected} LoRA matrices for it, got {n_stored}")
    try:
        attached = PeftModel.from_pretrained(model, str(folder))
    except RuntimeError as error:
        raise ValueError(f"{misfit}the matrices have other sizes") from error
    return attached.eval()
