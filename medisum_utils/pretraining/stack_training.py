"""Trains the models of a stack: batches that meet in one step, and AdamW for each model."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.token_batches import group_by_tokens
from medisum_utils.pretraining.ablation import rate_factor
from medisum_utils.pretraining.stacked import Stack

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
HIGHEST_NORM = 1.0  # of the gradient of one model
LIKE = 0.05  # the share by which lengths may differ and count as the same


class Learner(NamedTuple):
    """What one model of a stack learns from, how fast, and the seed of its order."""

    examples: Sequence[RenderedExample]
    learning_rate: float
    seed: int


def train_stack(
    stack: Stack, learners: Sequence[Learner], *, n_passes: int, batch_tokens: int
) -> list[list[float]]:
    """AdamW with linear decay for every model by itself; returns each step's loss of each model.

    Losses are in nats a token. What is learnt is in `stack.weights`.

    Raises: ValueError for models with different numbers of examples; FloatingPointError for a loss
    that is not finite.
    """
    stack.model.train()
    weights, device = stack.weights.requires_grad_(), stack.weights.device
    rates = torch.tensor([[learner.learning_rate] for learner in learners], device=device)
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    prepared = {id(e): _prepared(e) for learner in learners for e in learner.examples}
    steps, losses = [], []
    for batches in plan_batches(learners, n_passes, batch_tokens):
        *tensors, counts = _batch([[prepared[id(e)] for e in own] for own in batches])
        steps.append(([tensor.to(device) for tensor in tensors], counts))  # a copy would be a wait
    for number, (tensors, counts) in enumerate(steps):
        stack.use(weights)
        loss = stack.losses(*tensors, counts)
        loss.sum().backward()
        with torch.no_grad():
            gradient = weights.grad
            norm = gradient.norm(dim=1, keepdim=True)  # (models, 1)
            gradient *= (HIGHEST_NORM / (norm + 1e-6)).clamp(max=1)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            root = (second / (1 - BETAS[1] ** (number + 1))).sqrt_().add_(EPSILON)
            step = (first / (1 - BETAS[0] ** (number + 1))).div_(root)
            weights -= step.mul_(rates * rate_factor(number, len(steps)))
        weights.grad = None
        losses.append(loss.detach())
    weights.requires_grad_(False)
    told = torch.stack(losses).tolist()  # one wait for the GPU, at the end
    if not torch.tensor(told).isfinite().all():
        raise FloatingPointError("expected finite losses, got one that is not; lower the rate")
    return told


def plan_batches(
    learners: Sequence[Learner], n_passes: int, batch_tokens: int
) -> Iterator[list[list[RenderedExample]]]:
    """The batches of each step: one for every model, of at most `batch_tokens` tokens each.

    Examples of like length share a batch: of about the same length, within `LIKE`, since seed and
    pass draw who comes first. They draw the order of the batches as well, the first model's for all
    of them: in each step all models have examples of like length.

    Raises: ValueError for models with different numbers of examples.
    """
    numbers = sorted({len(learner.examples) for learner in learners})
    if len(numbers) != 1:
        raise ValueError(f"expected equally many examples for each model, got {numbers}")
    for number in range(n_passes):
        ranked = [_by_length(learner, number) for learner in learners]
        widest = [max(len(e.input_ids) for e in met) for met in zip(*ranked, strict=True)]
        groups = group_by_tokens(widest, batch_tokens)
        random.Random(f"{learners[0].seed}, batches of pass {number}").shuffle(groups)
        for group in groups:
            yield [[own[at] for at in group] for own in ranked]


def _by_length(learner: Learner, number: int) -> list[RenderedExample]:
    """A model's examples for a pass, the longest first, each a little longer or shorter by draw."""
    rng = random.Random(f"{learner.seed}, pass {number}")
    keys = [len(e.input_ids) * (1 + rng.uniform(-LIKE, LIKE)) for e in learner.examples]
    order = sorted(range(len(keys)), key=lambda at: -keys[at])
    return [learner.examples[at] for at in order]


def _prepared(example: RenderedExample) -> tuple[torch.Tensor, torch.Tensor]:
    """An example's tokens, and the positions of those that predict a supervised one."""
    supervised = torch.tensor(example.completion_mask).nonzero().flatten()
    return torch.tensor(example.input_ids), supervised - 1


def _batch(
    batches: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """What `Stack.losses` takes, of the prepared batch of each model, all with as many rows.

    Padding follows an example's last token, so that no token sees it, and bears no label.
    """
    rows = [row for own in batches for row in own]
    ids = pad_sequence([tokens for tokens, _ in rows], batch_first=True)  # (rows, tokens)
    width = ids.shape[1]
    places = torch.cat([number * width + places for number, (_, places) in enumerate(rows)])
    counts = [sum(len(places) for _, places in own) for own in batches]
    return ids, places, ids.flatten()[places + 1], counts
