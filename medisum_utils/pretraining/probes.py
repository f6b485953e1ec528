"""Copy tasks, and probes whether the model looks back and copies: exact answers, new names."""

from __future__ import annotations

import numpy as np
import torch

from medisum_utils.pretraining.documents import Block

# Probe blocks are numbered from here; training runs never reach these numbers. All their names are
# new, so none was seen in training.
FIRST_PROBE_BLOCK = 2**30


def copy_batch(
    n_rows: int, length: int, n_symbols: int, symbols: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws rows of random symbols, each followed by spans of itself, of 4 to 16 tokens.

    `symbols`: 1-D tensor of token ids, of which the first `n_symbols` are drawn, without
    repetition where a row can, so that the first token of a span identifies it.
    `generator` lives on the device of `symbols`; `length` is at least 8.
    Returns ids (n_rows, up to `length`) and a mask of the same shape, True on tokens that the
    prefix determines: every span's tokens after its first.
    """
    options = {"generator": generator, "device": symbols.device}
    n_prefix = length // 2
    span = int(torch.randint(4, max(5, min(17, n_prefix)), (1,), **options))
    n_spans = (length - n_prefix) // span
    n_symbols = min(n_symbols, len(symbols))
    order = torch.rand(n_rows, n_symbols, **options).argsort(dim=1)[:, :n_prefix]
    if n_symbols < n_prefix:
        extra = torch.randint(0, n_symbols, (n_rows, n_prefix - n_symbols), **options)
        order = torch.cat([order, extra], dim=1)
    prefix = symbols[order]
    starts = torch.randint(0, n_prefix - span + 1, (n_rows, n_spans, 1), **options)
    within = torch.arange(span, device=symbols.device)
    ids = torch.cat([prefix, prefix.gather(1, (starts + within).flatten(1))], dim=1)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, n_prefix:] = (within > 0).repeat(n_spans)
    return ids, mask


def answers_right(
    model: torch.nn.Module, ids: torch.Tensor, spans: np.ndarray, n_rows: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of right answers and of all answers, for each row of `ids`, (rows, length).

    `spans` has the number of the answer that each token belongs to, 0 outside of answers; an answer
    is right if each of its tokens is the most likely one after all previous ones, which is what
    greedy decoding gives. The model processes `n_rows` rows at once.
    """
    with torch.no_grad():
        predicted = [model(input_ids=rows).logits.argmax(-1) for rows in ids.split(n_rows)]
    wrong = torch.zeros_like(ids, dtype=torch.bool)
    wrong[:, 1:] = torch.cat(predicted)[:, :-1] != ids[:, 1:]
    wrong = wrong.cpu().numpy() & (spans > 0)
    asked, failed = (
        np.array([len(np.unique(row[chosen])) for row, chosen in zip(spans, rows, strict=True)])
        for rows in (spans > 0, wrong)
    )
    return asked - failed, asked


def block_answers(
    model: torch.nn.Module, block: Block, device: torch.device | str, n_rows: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """`answers_right` of a block of documents."""
    ids = torch.from_numpy(block.ids.astype(np.int64)).to(device)
    return answers_right(model, ids, block.spans, n_rows)


def copy_answers(
    model: torch.nn.Module, length: int, n_symbols: int, symbols: torch.Tensor, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """`answers_right` of new copy tasks; `symbols` are on the model's device."""
    generator = torch.Generator(symbols.device).manual_seed(seed)
    ids, mask = copy_batch(128, length, n_symbols, symbols, generator)
    # An unmasked first token separates neighbouring spans: number the runs of the mask.
    starts = mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    spans = starts.flatten().cumsum(0).view_as(ids) * mask
    return answers_right(model, ids, spans.cpu().numpy(), n_rows=128)


def exact_share(right: np.ndarray, asked: np.ndarray) -> float:
    """The share of answers that match exactly.

    Raises: ValueError if there are none.
    """
    if not asked.sum():
        raise ValueError("expected answers to check, got none")
    return 1.0 - float((asked - right).sum() / asked.sum())


def exact_interval(right: np.ndarray, asked: np.ndarray, *, seed: int) -> dict[str, float]:
    """The share of right answers and its 95% interval, which draws whole rows anew.

    Answers about one dialogue are not independent. Percentile bootstrap, 2,000 draws.
    """
    draws = np.random.default_rng(seed).integers(0, len(asked), (2000, len(asked)))
    shares = right[draws].sum(1) / asked[draws].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"mean": right.sum() / asked.sum(), "low": low, "high": high}
