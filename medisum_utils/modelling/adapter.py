"""A trained adapter: its files, whether they are whole, and its place on a base."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.runs import resolve, shown_path

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
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


def trained_base(folder: Path) -> str:
    """The base model that an adapter's configuration names.

    Raises: ValueError where it names none.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = config.get("base_model_name_or_path")
    if not base:
        raise ValueError("adapter_config.json names no base model; say which with base_model")
    return base


def read_adapter(folder: Path) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """The configuration and the matrices of an adapter, by their names.

    Raises: ValueError that names the file that is broken.
    """
    from peft import PeftConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    configuration, weights = (folder / name for name in ADAPTER_FILES)
    remedy = "make it anew with notebook 03_qlora_train"
    try:
        config = PeftConfig.from_pretrained(folder)
        if config.peft_type != "LORA" or not config.base_model_name_or_path:
            raise ValueError("no LoRA of a base that it names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{shown_path(configuration)}: expected the JSON of an adapter, got "
            f"{type(error).__name__}; {remedy}"
        ) from error
    try:
        stored = load_file(weights)
    except SafetensorError as error:
        raise ValueError(
            f"{shown_path(weights)} is cut off or damaged ({error}); {remedy}"
        ) from error
    odd = [name for name, matrix in stored.items() if not matrix.isfinite().all()]
    if odd:
        raise ValueError(
            f"{shown_path(weights)}: expected numbers, got NaN or infinity in {len(odd)} of "
            f"{len(stored)} matrices, first in {odd[0]}; {remedy}"
        )
    return config, stored


def attach_lora(model: PreTrainedModel, adapter_dir: str | os.PathLike) -> PeftModel:
    """The model with a trained adapter on it, for inference.

    Raises: FileNotFoundError for a missing adapter; ValueError for a broken one, for one that does
    not belong to this base (other layers or sizes), or that would change nothing.
    """
    from peft import PeftModel

    folder = require_adapter(adapter_dir)
    config, stored = read_adapter(folder)
    if not any(bool(matrix.any()) for name, matrix in stored.items() if "lora_B" in name):
        raise ValueError(
            f"the adapter in {shown_path(folder)} changes nothing: its B matrices are all zero; "
            "train it with notebook 03_qlora_train"
        )
    misfit = (
        f"the adapter in {shown_path(folder)} was trained on "
        f"{shown_path(config.base_model_name_or_path)}, which is not this base model: "
    )
    n_expected = 2 * _n_targets(model, stored)  # A and B; peft passes over layers without any
    n_stored = sum("lora_" in name for name in stored)
    if n_stored != n_expected:
        raise ValueError(f"{misfit}expected {n_expected} LoRA matrices for it, got {n_stored}")
    try:
        attached = PeftModel.from_pretrained(model, str(folder))
    except RuntimeError as error:
        raise ValueError(f"{misfit}the matrices have other sizes") from error
    return attached.eval()


def _n_targets(model: PreTrainedModel, stored: Iterable[str]) -> int:
    """How many linear layers bear the names, such as q_proj, that the adapter has matrices for."""
    import torch

    names = {name.partition(".lora_")[0].rpartition(".")[2] for name in stored if ".lora_" in name}
    modules = model.named_modules()
    return sum(isinstance(m, torch.nn.Linear) and n.rpartition(".")[2] in names for n, m in modules)
