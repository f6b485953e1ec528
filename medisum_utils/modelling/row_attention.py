"""Attention for a CPU that reads the prompts of a batch one by one, each without its padding.

A batch of prompts is padded on the left, and its cache has room for the notes. Given that as a
mask, the CPU's kernel computes every product, those that the mask forbids too; row by row it needs
no mask and skips the half above the diagonal. What is written is the same.
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
def rows_on_cpu(model: PreTrainedModel) -> Iterator[None]:
    """Lets a Llama on a CPU read its prompts row by row; elsewhere nothing changes.

    Only for batches padded on the left whose mask hides the padding alone, which is true of a
    Llama; a model with sliding windows, say, keeps its own attention.
    """
    used = model.config._attn_implementation
    if model.device.type != "cpu" or model.config.model_type != "llama" or used != "sdpa":
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

    `query` is (batch, heads, n, head size), `key` and `value` are (batch, key heads, n or more,
    head size), `attention_mask` is (batch, 1, n, keys), true where a query may look. The output of
    padding is 0. A single query, one token of each note, goes to the attention of transformers.

    Source: transformers 5.23, integrations/sdpa_attention.py, `sdpa_attention_forward`.
    """
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    n = query.shape[2]
    if attention_mask is None or n == 1:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    # The last query of a row may look at all of its prompt: the first token seen ends the padding.
    firsts = attention_mask[:, 0, -1].int().argmax(dim=-1).tolist()
    output = query.new_zeros(query.shape)
    for row, first in enumerate(firsts):
        read = (slice(row, row + 1), slice(None), slice(first, n))
        output[read] = scaled_dot_product_attention(
            query[read], key[read], value[read], is_causal=True, scale=scaling, enable_gqa=True
        )
    return output.transpose(1, 2).contiguous(), None
