"""Base model and adapter: loaded in NF4, attached, merged without loss.

Loading quantises to 4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314,
section 3). Merging goes through fp32, since adding an adapter to 4-bit weights would round it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from medisum_utils.modelling.adapter import attach_lora, read_adapter, require_adapter
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
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
# What a device writes notes in; in fp32 a note does not depend on its batch.
WRITING_DTYPES = {"cpu": "float32", "cuda": "bfloat16"}


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

    read_adapter(require_adapter(adapter_dir))  # before minutes of loading
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


def merged_for_writing(base: str, adapter_dir: str | os.PathLike, device: str) -> PreTrainedModel:
    """The merge on `device`, in its `WRITING_DTYPES`: what is scored and what is served.

    It is made on the CPU: the fp32 weights of an 8B model do not fit beside each other on its GPU.

    Raises: as `merge`.
    """
    return merge(base, adapter_dir, dtype=WRITING_DTYPES[device]).to(device)


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"expected a dtype of {DTYPES}, got {name!r}")
    return getattr(torch, name)
