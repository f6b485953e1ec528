"""Attention for prompts of different length and for candidates that share one.

A batch of prompts is padded on the left. Given that as a mask, the CPU's kernel computes every
product, those that the mask forbids too; row by row it needs no mask and skips the half above the
diagonal. Later, when candidates look back at their prompt, its keys are read once for all
candidates and all query heads that share them. What is written is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NAME = "medisum_rows"  # as `AttentionInterface` knows it


@contextmanager
def attention_by_row(model: PreTrainedModel) -> Iterator[None]:
    """Lets a Llama use `row_attention`; another model, with sliding windows, say, keeps its own."""
    used = model.config._attn_implementation
    if model.config.model_type != "llama" or used != "sdpa":
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, row_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(used)


def row_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by the interface of transformers: (batch, tokens, heads, head size), no weights.

    `query` is (batch, heads, n, head size), `key` and `value` are (batch, key heads, keys, head
    size), `attention_mask` is (batch, 1, n, keys), true where a query may look. With as many keys
    as queries, these are prompts padded on the left, and the output of padding is 0 on a CPU.
    With more keys, the queries continue what was read before, under any mask.

    Source: transformers 5.23, integrations/sdpa_attention.py, `sdpa_attention_forward`.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    n, n_keys = query.shape[2], key.shape[2]
    if attention_mask is not None and n < n_keys:
        output = _by_key_head(query, key, value, attention_mask, scaling)
    elif attention_mask is not None and query.device.type == "cpu":
        output = _by_row(query, key, value, attention_mask, scaling)
    else:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    return output.transpose(1, 2).contiguous(), None


def _by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Causal attention of each prompt without its padding, (batch, heads, n, head size)."""
    from torch.nn.functional import scaled_dot_product_attention

    # The last query of a row may look at all of its prompt: the first token seen ends the padding.
    firsts = attention_mask[:, 0, -1].int().argmax(dim=-1).tolist()
    output = query.new_zeros(query.shape)
    for row, first in enumerate(firsts):
        read = (slice(row, row + 1), slice(None), slice(first, None))
        output[read] = scaled_dot_product_attention(
            query[read], key[read], value[read], is_causal=True, scale=scaling, enable_gqa=True
        )
    return output


def _by_key_head(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Masked attention without a copy of the keys for each query head that shares them."""
    from torch.nn.functional import scaled_dot_product_attention

    (batch, n_heads, n, size), n_key_heads = query.shape, key.shape[1]
    n_sharing = n_heads // n_key_heads
    output = scaled_dot_product_attention(
        query.reshape(batch, n_key_heads, n_sharing * n, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, n_sharing, 1),
        scale=scaling,
    )
    return output.reshape(query.shape)
