"""Copy tasks on random tokens: repeat a span of the prefix, given its first token.

They start short, with few symbols, and grow step by step; on long sequences from the start, copying
is not learned within the budget of a small machine.
"""

from __future__ import annotations

import torch


def copy_batch(
    n_rows: int,
    length: int,
    n_symbols: int,
    symbols: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws rows of random symbols, each followed by spans of itself.

    `symbols`: 1-D tensor of token ids, of which the first `n_symbols` are drawn, without
    repetition where a row can, so that the first token of a span identifies it.
    `generator` lives on the device of `symbols`.
    Returns ids (n_rows, length) and a mask of the same shape, True on tokens that the prefix
    determines: every span's tokens after its first.
    Raises: ValueError for a length below 8.
    """
    if length < 8:
        raise ValueError(f"expected a length of at least 8, got {length}")
    device = symbols.device
    # Half of the row is prefix; the rest is spans of 4 to 16 tokens.
    n_prefix = length // 2
    longest = max(5, min(17, n_prefix))
    span = int(torch.randint(4, longest, (1,), generator=generator, device=device))
    n_spans = (length - n_prefix) // span
    n_symbols = min(n_symbols, len(symbols))
    keys = torch.rand(n_rows, n_symbols, generator=generator, device=device)
    order = keys.argsort(dim=1)[:, :n_prefix]
    if n_symbols < n_prefix:
        shape = (n_rows, n_prefix - n_symbols)
        extra = torch.randint(0, n_symbols, shape, generator=generator, device=device)
        order = torch.cat([order, extra], dim=1)
    prefix = symbols[order]
    shape = (n_rows, n_spans, 1)
    starts = torch.randint(0, n_prefix - span + 1, shape, generator=generator, device=device)
    spans = prefix.gather(1, (starts + torch.arange(span, device=device)).flatten(1))
    ids = torch.cat([prefix, spans], dim=1)
    inner = (torch.arange(span, device=device) > 0).repeat(n_spans)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, n_prefix:] = inner
    return ids, mask
