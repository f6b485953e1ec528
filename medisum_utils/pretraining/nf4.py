"""NF4 rounding during training, so that the finished base loses nothing when quantised.

Four-bit weights harm a small model more than a large one. Therefore each step of the last stage
uses rounded weights and updates the exact ones (straight-through estimator).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

BLOCK = 64  # weights per scale, bitsandbytes' default
# Source: appendix E of QLoRA, arXiv:2305.14314.
LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def round_nf4(weight: torch.Tensor) -> torch.Tensor:
    """The weight as NF4 stores it, with scales in full precision; its size is a multiple of 64."""
    levels = torch.tensor(LEVELS, device=weight.device, dtype=weight.dtype)
    blocks = weight.reshape(-1, BLOCK)
    scale = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    edges = (levels[1:] + levels[:-1]) / 2
    return (levels[torch.bucketize(blocks / scale, edges)] * scale).view_as(weight)


def quantised_weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """The matrices that QLoRA quantises: all linear layers except the head."""
    return [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    ]


@contextmanager
def rounded(model: torch.nn.Module, *, enabled: bool = True) -> Iterator[None]:
    """Runs its body with NF4-rounded weights and restores the exact ones afterwards."""
    if not enabled:
        yield
        return
    weights = quantised_weights(model)
    # Sizes are multiples of BLOCK, so that no block spans two weights.
    sizes = [weight.numel() for weight in weights]
    with torch.no_grad():
        exact = torch.cat([weight.flatten() for weight in weights])
        _assign(weights, round_nf4(exact).split(sizes))
    try:
        yield
    finally:
        _assign(weights, exact.split(sizes))


@torch.no_grad()
def _assign(weights: list[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value.view_as(weight))
