"""Batches of so many tokens instead of so many examples, for TRL's trainer.

A batch is as wide as its longest example, and the shorter ones are padded. Examples of like length
in one batch leave little to pad, and a bound on tokens lets short examples fill a batch that would
be too small, and keeps long ones from filling the memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transformers.trainer_pt_utils import BatchRebalanceSampler
from trl import SFTTrainer

from medisum_utils.modelling.example import IGNORED

if TYPE_CHECKING:
    import torch
    from datasets import Dataset


def group_by_tokens(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Divides examples of `lengths` tokens, padding included, into batches: their positions.

    The longest come first, equally long ones in the order given. Rows times the longest row are at
    most `batch_tokens`; a longer example is a batch of its own.
    """
    batches: list[list[int]] = []
    n_fitting = 0
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if not batches or len(batches[-1]) >= n_fitting:
            batches.append([])
            n_fitting = batch_tokens // lengths[at]
        batches[-1].append(at)
    return batches


def padded(lengths: Sequence[int], multiple: int | None) -> list[int]:
    """Lengths in tokens, rounded up to multiples of `multiple`; None leaves them as they are."""
    multiple = multiple or 1
    return [-(-length // multiple) * multiple for length in lengths]


def count_batches(
    lengths: Sequence[int], *, batch_size: int, batch_tokens: int, multiple: int | None
) -> int:
    """The number of batches in one pass over examples of `lengths` tokens without padding.

    They hold `batch_size` examples each or, where `batch_tokens` is not 0, so many tokens, padded
    to multiples of `multiple`.

    Raises: ValueError for a `batch_size` below 1 or `batch_tokens` below 0.
    """
    if batch_size < 1:
        raise ValueError(f"expected batch_size of at least 1, got {batch_size}")
    if batch_tokens < 0:
        raise ValueError(
            f"expected batch_tokens of at least 0, which stands for batch_size, got {batch_tokens}"
        )
    if batch_tokens:
        return len(group_by_tokens(padded(lengths, multiple), batch_tokens))
    return -(-len(lengths) // batch_size)


class TokenBatchSampler(BatchRebalanceSampler):
    """Batches of `group_by_tokens`, in an order drawn anew from `seed` for each pass.

    Who is in a batch with whom is drawn as well, among the equally long. Without a seed nothing is
    drawn. The number of batches is the same in every pass.

    Its parent is the only kind of sampler whose batches `Trainer` takes as they are; all that is
    inherited from it is `set_epoch`, which tells the pass, when resuming too.

    Source: transformers 5.23, trainer.py, `Trainer._get_dataloader` and `_run_epoch`.
    """

    def __init__(self, lengths: Sequence[int], batch_tokens: int, seed: int | None = None) -> None:
        self.lengths = list(lengths)
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(group_by_tokens(self.lengths, self.batch_tokens))

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self.lengths)))
        if self.seed is None:
            yield from group_by_tokens(self.lengths, self.batch_tokens)
            return
        # A generator of its own: a resumed run draws what the whole run drew.
        rng = random.Random(f"{self.seed}, pass {self.epoch}")
        rng.shuffle(order)
        groups = group_by_tokens([self.lengths[at] for at in order], self.batch_tokens)
        rng.shuffle(groups)
        for group in groups:
            yield [order[at] for at in group]


class TokenBatchTrainer(SFTTrainer):
    """TRL's trainer with batches of `batch_tokens` tokens; with 0 it is TRL's own.

    Both in training and in validation. The loss of a step is the mean over its label tokens, as
    always; the validation loss becomes the mean over all label tokens, where TRL's own takes the
    mean of the batches, however many tokens each has. For one process.
    """

    def __init__(self, *args: Any, batch_tokens: int = 0, **named: Any) -> None:
        self.batch_tokens = batch_tokens
        super().__init__(*args, **named)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if not self.batch_tokens:
            return super()._get_train_sampler(train_dataset)
        return self._sampler(train_dataset or self.train_dataset, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Any:
        if not self.batch_tokens:
            return super()._get_eval_sampler(eval_dataset)
        return self._sampler(eval_dataset, None)

    def _sampler(self, dataset: Dataset, seed: int | None) -> TokenBatchSampler:
        lengths = [len(ids) for ids in dataset["input_ids"]]
        return TokenBatchSampler(
            padded(lengths, self.args.pad_to_multiple_of), self.batch_tokens, seed
        )

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **named: Any
    ) -> tuple:
        """One validation batch; its loss and metrics count once for each of its label tokens."""
        loss, logits, labels = super().prediction_step(model, inputs, *args, **named)
        if not self.batch_tokens:
            return loss, logits, labels
        n_labels = int((inputs["labels"][:, 1:] != IGNORED).sum())
        for name in ("entropy", "mean_token_accuracy"):
            values = self._metrics["eval"][name]
            values += values[-1:] * (n_labels - 1)
        return loss.repeat(n_labels), logits, labels
