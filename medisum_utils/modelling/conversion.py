"""A GGUF file made into a base: weights in safetensors, and a tokenizer as in pretraining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.runs import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# GGUF's names for how texts are cut before byte pairs are merged, those that cut each digit off.
# transformers 5.23 does not read them. Source: llama.cpp, src/llama-vocab.cpp.
DIGITS_ONE_BY_ONE = ("smollm",)


def convert_gguf(weights: Path, folder: Path) -> None:
    """Saves what a GGUF file holds as a base in bfloat16, with its tokenizer.

    transformers refuses to save a model that it loaded from GGUF, so a fresh one of the same
    configuration takes over its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": weights.name}
    loaded = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **where)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        _drop(folder / name, "transformers_version")
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, **where)
    _split_digits(tokenizer, weights)
    save_tokenizer(tokenizer, folder)


def _split_digits(tokenizer: PreTrainedTokenizerBase, weights: Path) -> None:
    """Cuts texts as the GGUF file asks for: each digit for itself, the rest as GPT-2 does.

    Raises: ValueError for a file that asks for anything else.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(weights).get_field("tokenizer.ggml.pre")
    name = field.contents() if field else None
    if name not in DIGITS_ONE_BY_ONE:
        raise ValueError(
            f"{weights.name}: expected tokenizer.ggml.pre as {' or '.join(DIGITS_ONE_BY_ONE)}, "
            f"got {name!r}"
        )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Saves a tokenizer that gives text back as it was, spaces before punctuation included.

    Raises: ValueError for one without a chat template or without the tokens that a base needs.
    """
    needed = ("chat_template", "bos_token", "eos_token", "pad_token")
    missing = [name for name in needed if getattr(tokenizer, name) is None]
    if missing:
        raise ValueError(f"the tokenizer lacks {' and '.join(missing)}; it is no base for chat")
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.init_kwargs["clean_up_tokenization_spaces"] = False
    tokenizer.save_pretrained(folder)
    _drop(folder / "tokenizer_config.json", "is_local", "local_files_only")


def _drop(path: Path, *names: str) -> None:
    """Leaves out what depends on this machine: the same base shall have the same digest."""
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {name: value for name, value in content.items() if name not in names})
