"""The base model: its digest, loading it in NF4, and merging an adapter into it without loss.

Loading quantises to 4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314,
section 3). Merging goes through fp32, since adding an adapter to 4-bit weights would round it.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.modelling.adapter import attach_lora, read_adapter, require_adapter
from medisum_utils.runs import check_gpu, sha256_file, shown_path
from medisum_utils.runs.hub import TOKENIZER_FILES, find_base

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_INDEX = "model.safetensors.index.json"  # of weights in several files
_NAMED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
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
    """Whether matrix products run in bfloat16: "bf16", "fp32", or "auto" for the faster of the two.

    A GPU has units for it, and so have CPUs with AVX512-BF16; others emulate it, many times slower.

    Raises: ValueError for another name.
    """
    from bitsandbytes.functional import has_avx512bf16

    if arithmetic not in ("auto", "bf16", "fp32"):
        raise ValueError(f"expected auto, bf16 or fp32, got {arithmetic!r}")
    if arithmetic == "auto":
        return device == "cuda" or has_avx512bf16()
    return arithmetic == "bf16"


def base_digest(base: str) -> str:
    """The SHA-256 over names and contents of a base's configuration, tokenizer and weights.

    A hub model, as it lies in the local cache, and a copy of it in a folder have the same digest.
    `*.bin` count only where there is no `*.safetensors`: otherwise they are not loaded.

    Raises: FileNotFoundError for weights that are not there, or not all; see also `find_base`.
    """
    folder = Path(find_base(base))
    if not folder.is_dir():
        folder = _snapshot(base)
    weights = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    present = {path.name for path in weights if path.is_file()}
    needed: set[str] = set()
    if (folder / _INDEX).is_file() and "model.safetensors" not in present:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        needed = set(index["weight_map"].values())
    if not present or needed - present:
        raise FileNotFoundError(
            f"the weights of {shown_path(base)} are not all there: expected "
            f"{', '.join(sorted(needed - present)) or '*.safetensors or *.bin'}; restore the "
            "folder, or let notebook 03_qlora_train load the model from the hub once"
        )
    files = sorted(path for path in (*weights, *(folder / n for n in _NAMED)) if path.is_file())
    lines = ""
    for path in files:
        stat = path.stat()
        digest = _file_digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        lines += f"{digest}  {path.name}\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*_NAMED, _INDEX, "*.safetensors", "*.bin"]
    return Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    """Cached, since a base may have 16 GB; a file of another size or time is read again."""
    return sha256_file(path)


def weights_gib(config: PreTrainedConfig, dtype: str) -> float:
    """The size of a model's weights with NF4 linear layers and the rest in `dtype`, in GiB.

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
    bits = (
        n_quantised * (4 + 8 / 64 + 32 / (64 * 256)) + n_rest * getattr(torch, dtype).itemsize * 8
    )
    return bits / 8 / 2**30


def load_config(name_or_path: str) -> PreTrainedConfig:
    """The configuration of a base model, without its weights; see `find_base`."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(find_base(name_or_path))


def check_positions(name_or_path: str, max_tokens: int) -> None:
    """Checks that a base has a position for each token of the longest example.

    Raises: ValueError with both numbers; see also `find_base`.
    """
    n_positions = load_config(name_or_path).max_position_embeddings
    if max_tokens > n_positions:
        raise ValueError(
            f"max_tokens: expected at most {n_positions}, the positions of "
            f"{shown_path(name_or_path)}, got {max_tokens}"
        )


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model; see `find_base` for what it raises, also without tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_base(name_or_path, holding=TOKENIZER_FILES))


def load_base(
    name_or_path: str, *, device: str = "cpu", quantize: bool = True, dtype: str = "float32"
) -> PreTrainedModel:
    """A base model on `device`, its linear layers in NF4 with double quantisation.

    `dtype` is that of what stays unquantised (embeddings, norms, head) and of the arithmetic.

    Raises: ValueError for a base without linear layers to quantise; see also `find_base`.
    Source: bitsandbytes 0.50.2, nn/modules.py, `Linear4bit.forward`.
    """
    import torch
    from bitsandbytes.nn import Linear4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

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
    # A base may ship a repetition penalty or the like; a run decodes by its own record alone.
    model.generation_config = GenerationConfig()
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    if quantize and not layers:
        raise ValueError(
            f"expected linear layers in NF4, got none in {shown_path(name_or_path)}; "
            "is it a language model with torch.nn.Linear layers?"
        )
    for layer in layers:
        # At the first forward in `eval()` on a CPU with AVX512-BF16, bitsandbytes would repack the
        # weights for a kernel without autograd, and all later gradients would be wrong.
        layer.support_avx512bf16_for_cpu = False
    return model


def merge(base: str, adapter_dir: str | os.PathLike, device: str = "cpu") -> PreTrainedModel:
    """Base and adapter as one plain model: W + (alpha / r) B A, which is scored and served.

    W are the NF4 weights that the adapter was trained on, dequantised. The sum is computed in fp32
    on the CPU: the fp32 weights of an 8B model do not fit beside each other on its GPU. The model
    comes in its device's `WRITING_DTYPES`; float32 adds no rounding.

    Raises: ValueError for a base with NaN; see also `find_base` and `attach_lora`.
    """
    import torch

    read_adapter(require_adapter(adapter_dir))  # before minutes of loading
    model = load_base(base).dequantize(dtype=torch.float32)
    broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:  # peft's own check, of the sum, would blame the adapter
        raise ValueError(
            f"the base {shown_path(base)}: expected numbers as weights, got NaN or infinity, first "
            f"in {broken[0]}; restore the base, the adapter holds none"
        )
    merged = attach_lora(model, adapter_dir).merge_and_unload(safe_merge=True)
    merged.requires_grad_(False)
    return merged.to(getattr(torch, WRITING_DTYPES[device])).to(device).eval()
