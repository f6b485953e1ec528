"""Base model and adapter: loaded in NF4, attached, merged without loss.

Loading quantises to 4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314,
section 3). Merging goes through fp32, since adding an adapter to 4-bit weights would round it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.modelling.digests import base_digest as base_digest
from medisum_utils.runs import (
    check_free_disk,
    check_gpu,
    check_memory,
    resolve,
    shown_path,
)
from medisum_utils.runs.hub import find_base

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
DTYPES = ("float32", "bfloat16", "float16")


def pick_device(device: str = "auto") -> str:
    """The device to use, "cuda" or "cpu"; "auto" takes a GPU where there is one.

    Raises: ValueError for another name, RuntimeError if a GPU is asked for and there is none.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"expected auto, cpu or cuda, got {device!r}")
    if device == "cuda":
        check_gpu(0)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def use_bf16(arithmetic: str, device: str) -> bool:
    """Whether matrix products run in bfloat16: "bf16", "fp32", or "auto", where it is the faster.

    A GPU has units for it, and so have CPUs with AVX512-BF16; others emulate it, many times slower.

    Raises: ValueError for another name.
    """
    from bitsandbytes.functional import has_avx512bf16

    if arithmetic not in ("auto", "bf16", "fp32"):
        raise ValueError(f"expected auto, bf16 or fp32, got {arithmetic!r}")
    if arithmetic == "auto":
        return device == "cuda" or has_avx512bf16()
    return arithmetic == "bf16"


def check_resources(
    device: str,
    *,
    memory_gib: float = 0.0,
    gpu_memory_gib: float = 0.0,
    disk_gib: float = 0.0,
    path: str | os.PathLike = ".",
) -> None:
    """Makes sure, before any work, that device, memory and disk suffice.

    Raises: RuntimeError for the GPU, MemoryError, OSError for the disk: each names need and find.
    """
    if pick_device(device) == "cuda":
        check_gpu(gpu_memory_gib)
    check_memory(memory_gib)
    check_free_disk(resolve(path), disk_gib)


def weights_gib(config: PreTrainedConfig, *, dtype: str = "bfloat16") -> float:
    """The size of a model's weights with NF4 linear layers and the rest in `dtype`, in GiB.

    It is the floor of what loading needs: activations, gradients and the adapter come on top.
    A weight in NF4 takes 4 bits, and with double quantisation 0.127 for its scale (QLoRA,
    arXiv:2305.14314, section 3).
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    n_quantised = sum(module.weight.numel() for module in linear)
    n_rest = sum(weight.numel() for weight in model.parameters()) - n_quantised
    bits = n_quantised * (4 + 8 / 64 + 32 / (64 * 256)) + n_rest * _dtype(dtype).itemsize * 8
    return bits / 8 / 2**30


def load_config(name_or_path: str) -> PreTrainedConfig:
    """The configuration of a base model, without its weights; see `find_base`."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(find_base(name_or_path))


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model; see `find_base` for what it raises."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_base(name_or_path))


def load_base(
    name_or_path: str,
    *,
    device: str = "cpu",
    quantize: bool = True,
    dtype: str | torch.dtype = "float32",
) -> PreTrainedModel:
    """A base model on `device`, its linear layers in NF4 with double quantisation.

    `dtype` is that of what stays unquantised (embeddings, norms, head) and of the arithmetic.
    On a CPU every 4-bit layer is kept off the path that loses gradients, see
    `keep_differentiable_on_cpu`.

    Raises: ValueError for an unknown dtype; see also `find_base`.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    dtype = _dtype(dtype)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        find_base(name_or_path),
        dtype=dtype,
        device_map={"": torch.device(device)},
        **({"quantization_config": nf4} if quantize else {}),
    )
    # A base may bring a repetition penalty or the like; what a run decodes with is its own record.
    model.generation_config = GenerationConfig()
    if quantize and keep_differentiable_on_cpu(model) == 0:
        raise ValueError(
            f"expected linear layers in NF4, got none in {shown_path(name_or_path)}; "
            "is it a language model with torch.nn.Linear layers?"
        )
    return model


def keep_differentiable_on_cpu(model: torch.nn.Module) -> int:
    """Switches off bitsandbytes' repacking on AVX512-BF16 CPUs; returns how many layers are 4-bit.

    At the first forward in `eval()` bitsandbytes 0.50 repacks 4-bit weights for a kernel without
    autograd, and every later training step would silently get wrong gradients. No effect on GPUs.

    Raises: ValueError if a layer was repacked before.
    Source: bitsandbytes 0.50.2, nn/modules.py, `Linear4bit.forward`.
    """
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for layer in layers:
        if getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            raise ValueError("expected 4-bit weights before any forward, got repacked ones")
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


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


def attach_lora(model: PreTrainedModel, adapter_dir: str | os.PathLike) -> PeftModel:
    """The model with a trained adapter on it, for inference.

    Raises: FileNotFoundError for a missing adapter; ValueError for a broken one, for one that does
    not belong to this base (other layers or sizes), or that would change nothing.
    """
    from peft import PeftModel

    folder = require_adapter(adapter_dir)
    config, stored = _read_adapter(folder)
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


def _read_adapter(folder: Path) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """Configuration and matrices; ValueError names the file that is broken."""
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


def _n_targets(model: PreTrainedModel, stored: Iterable[str]) -> int:
    """How many linear layers bear the names, such as q_proj, that the adapter has matrices for."""
    import torch

    names = {name.partition(".lora_")[0].rpartition(".")[2] for name in stored if ".lora_" in name}
    modules = model.named_modules()
    return sum(isinstance(m, torch.nn.Linear) and n.rpartition(".")[2] in names for n, m in modules)


def merge(
    base: str,
    adapter_dir: str | os.PathLike,
    *,
    dtype: str | torch.dtype = "float32",
) -> PreTrainedModel:
    """Base and adapter as one plain model: W + (alpha / r) B A, computed in fp32 on the CPU.

    W are the NF4 weights that the adapter was trained on, dequantised. `dtype` is the result's;
    float32 adds no rounding.

    Raises: ValueError for a base with NaN; see also `find_base` and `attach_lora`.
    """
    import torch

    _read_adapter(require_adapter(adapter_dir))  # before minutes of loading
    model = load_base(base, device="cpu", dtype=torch.float32).dequantize(dtype=torch.float32)
    odd = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if odd:  # peft's own check, of the sum, would blame the adapter
        raise ValueError(
            f"the base {shown_path(base)}: expected numbers as weights, got NaN or infinity, first "
            f"in {odd[0]}; restore the base, the adapter holds none"
        )
    merged = attach_lora(model, adapter_dir).merge_and_unload(safe_merge=True)
    merged.requires_grad_(False)
    return merged.to(_dtype(dtype)).eval()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"expected a dtype of {DTYPES}, got {name!r}")
    return getattr(torch, name)
