"""Probes whether the model looks back and copies: exact answers, on names not in training."""

from __future__ import annotations

import numpy as np
import torch

from medisum_utils.pretraining.copying import copy_batch
from medisum_utils.pretraining.documents import Block

# Probe blocks are numbered from here; training runs never reach these numbers. All their names are
# new, so none was seen in training.
FIRST_PROBE_BLOCK = 2**30


def span_exact(predicted: torch.Tensor, ids: torch.Tensor, spans: torch.Tensor) -> float:
    """Share of answers with every token predicted; all arguments: (rows, length).

    A span that is right token by token under teacher forcing is also what greedy decoding gives.

    Raises: ValueError for rows without answers.
    """
    wrong = (predicted != ids) & (spans > 0)
    asked = torch.unique(spans[spans > 0])
    if not len(asked):
        raise ValueError("expected answers to check, got rows without any")
    failed = torch.unique(spans[wrong])
    return 1.0 - len(failed) / len(asked)


def answers_right(
    model: torch.nn.Module, block: Block, n_rows: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of right answers and of all answers, for each row of a block.

    The model processes `n_rows` rows at once, on its device.
    """
    ids = torch.from_numpy(block.ids.astype(np.int64))
    predicted = predict(model, ids.to(model.device), n_rows).cpu().numpy()
    wrong = (predicted != block.ids) & (block.spans > 0)
    asked = np.array([len(np.unique(row[row > 0])) for row in block.spans])
    failed = np.array(
        [len(np.unique(row[bad])) for row, bad in zip(block.spans, wrong, strict=True)]
    )
    return asked - failed, asked


@torch.no_grad()
def predict(model: torch.nn.Module, ids: torch.Tensor, n_rows: int = 16) -> torch.Tensor:
    """The most likely token at each position, given all previous ones: (rows, length)."""
    predicted = [model(input_ids=rows).logits.argmax(-1) for rows in ids.split(n_rows)]
    predicted = torch.cat(predicted)
    return torch.cat([ids[:, :1], predicted[:, :-1]], dim=1)


def document_exact(model: torch.nn.Module, block: Block, device: str) -> float:
    """Share of answers in a block that match exactly."""
    ids = torch.from_numpy(block.ids.astype(np.int64)).to(device)
    spans = torch.from_numpy(block.spans.astype(np.int64)).to(device)
    return span_exact(predict(model, ids), ids, spans)


def copy_exact(
    model: torch.nn.Module, length: int, n_symbols: int, symbols: torch.Tensor, seed: int
) -> float:
    """Share of copied spans that match exactly in new rows; `symbols` on the model's device."""
    generator = torch.Generator(symbols.device).manual_seed(seed)
    ids, mask = copy_batch(128, length, n_symbols, symbols, generator)
    # An unmasked first token separates neighbouring spans: number the runs of the mask.
    starts = mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    spans = starts.flatten().cumsum(0).view_as(ids) * mask
    return span_exact(predict(model, ids, n_rows=128), ids, spans)
