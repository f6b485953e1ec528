"""Batches in tokens: who is in which, what a step and a validation then count, and what resumes."""

from __future__ import annotations

import random

import pytest
import torch
from test_training import rendered

from medisum_utils.modelling import training
from medisum_utils.modelling.example import IGNORED
from medisum_utils.modelling.model import load_base, load_tokenizer
from medisum_utils.modelling.token_batches import (
    TokenBatchSampler,
    TokenBatchTrainer,
    count_batches,
    group_by_tokens,
    padded,
)

BATCH_TOKENS = 500  # some four of the made-up visits


def build_trainer(base: str, output_dir, batch_tokens: int = BATCH_TOKENS, **choices):
    """A trainer as notebook 03 builds it, on made-up visits of some 100 to 150 tokens."""
    from peft import LoraConfig

    torch.manual_seed(5)
    config = {"max_steps": 1, "learning_rate": 5.0e-3, "logging_steps": 1, "seed": 5, **choices}
    trainer = TokenBatchTrainer(
        batch_tokens=batch_tokens,
        model=load_base(base),
        args=training.default_sft_config(output_dir, "cpu", save_strategy="no", **config),
        train_dataset=training.to_dataset(rendered(base, 21)),
        eval_dataset=training.to_dataset(rendered(base, 7, seed=2)),
        processing_class=load_tokenizer(base),
        peft_config=LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    training.cast_trainable_to_fp32(trainer.model)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:  # 0 at first: no gradient would reach the A
            weight.data.normal_(std=0.02)
    return trainer


def rows(batch) -> list[tuple[int, ...]]:
    """The examples of a batch, without their padding."""
    return [
        tuple(ids[: int(n)].tolist())
        for ids, n in zip(batch["input_ids"], batch["attention_mask"].sum(1), strict=True)
    ]


def negative_log_likelihood(model, batch) -> tuple[torch.Tensor, int, int]:
    """Of the labels: the sum in nats, how many there are, how many are the likeliest token."""
    labels = batch["labels"][:, 1:]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    bears = labels != IGNORED
    scores = logits[:, :-1][bears].float().log_softmax(-1)
    picked = scores.gather(1, labels[bears][:, None])
    n_right = int((scores.argmax(-1) == labels[bears]).sum())
    return -picked.sum(), int(bears.sum()), n_right


@pytest.mark.parametrize("batch_tokens", [1, 64, 500, 4096])
def test_batches_hold_every_example_once_and_no_more_tokens_than_asked(batch_tokens: int) -> None:
    rng = random.Random(batch_tokens)
    lengths = [rng.choice((rng.randint(1, 30), rng.randint(40, 700))) for _ in range(300)]
    batches = group_by_tokens(lengths, batch_tokens)
    assert sorted(at for batch in batches for at in batch) == list(range(300))
    for batch in batches:
        longest = max(lengths[at] for at in batch)
        assert longest * len(batch) <= batch_tokens or len(batch) == 1
    for batch, after in zip(batches, batches[1:], strict=False):
        longest = max(lengths[at] for at in batch)
        assert min(lengths[at] for at in batch) >= max(lengths[at] for at in after)
        assert longest * (len(batch) + 1) > batch_tokens  # one more would not have fitted


def test_lengths_are_those_after_padding() -> None:
    assert padded([1, 31, 32, 33], 32) == [32, 32, 32, 64]
    assert padded([1, 31], None) == [1, 31]
    lengths = [33, 33, 33]
    assert count_batches(lengths, batch_size=1, batch_tokens=100, multiple=None) == 1
    assert count_batches(lengths, batch_size=1, batch_tokens=100, multiple=32) == 3


@pytest.mark.parametrize(
    ("batch_size", "batch_tokens", "says"),
    [(0, 64, "batch_size of at least 1, got 0"), (1, -1, "batch_tokens of at least 0.* got -1")],
)
def test_batches_of_nothing_are_refused(batch_size: int, batch_tokens: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        count_batches([8], batch_size=batch_size, batch_tokens=batch_tokens, multiple=None)


def test_each_pass_has_its_own_order_and_company_and_every_run_the_same() -> None:
    lengths = [32 * (1 + at % 5) for at in range(60)]

    def passes(seed: int | None, n: int) -> list[list[list[int]]]:
        sampler = TokenBatchSampler(lengths, 256, seed)
        drawn = []
        for epoch in range(n):
            sampler.set_epoch(epoch)
            drawn.append(list(sampler))
            assert len(drawn[-1]) == len(sampler)
            assert sorted(at for batch in drawn[-1] for at in batch) == list(range(60))
        return drawn

    first, second = passes(7, 2)
    torch.rand(3)
    assert passes(7, 2) == [first, second]
    assert first != second != passes(8, 2)[0] != first
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    in_order = [max(lengths[at] for at in batch) for batch in first]
    assert in_order != sorted(in_order, reverse=True)
    once, again = passes(None, 2)
    assert once == again == group_by_tokens(lengths, 256)


@pytest.mark.parametrize("multiple", [None, 32])
def test_what_reaches_the_model_is_what_was_counted(base, tmp_path, multiple) -> None:
    trainer = build_trainer(base, tmp_path, pad_to_multiple_of=multiple)
    examples = [tuple(each.input_ids) for each in rendered(base, 21)]
    n_batches = count_batches(
        [len(each) for each in examples],
        batch_size=1,
        batch_tokens=BATCH_TOKENS,
        multiple=multiple,
    )
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == len(trainer.get_train_dataloader()) == n_batches < 21
    assert all(batch["input_ids"].numel() <= BATCH_TOKENS for batch in batches)
    assert sorted(row for batch in batches for row in rows(batch)) == sorted(examples)
    valid = list(trainer.get_eval_dataloader())
    assert 1 < len(valid) < 7
    assert all(batch["input_ids"].numel() <= BATCH_TOKENS for batch in valid)
    assert sum(len(rows(batch)) for batch in valid) == 7


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_examples_are_counted_as_trl_makes_them(base, tmp_path, batch_size) -> None:
    trainer = build_trainer(base, tmp_path, 0, per_device_train_batch_size=batch_size)
    counted = count_batches([9] * 21, batch_size=batch_size, batch_tokens=0, multiple=None)
    batches = list(trainer.get_train_dataloader())
    assert counted == len(batches)
    assert {len(rows(batch)) for batch in batches[:-1]} == {batch_size}


def test_the_loss_of_a_step_is_the_mean_over_its_label_tokens(base, tmp_path) -> None:
    """Also where a step takes batches of very different size: loss and gradient, by hand."""
    trainer = build_trainer(base, tmp_path, 300, gradient_accumulation_steps=8)
    batches = [dict(batch) for batch in list(trainer.get_train_dataloader())[:8]]
    assert len({len(rows(batch)) for batch in batches}) > 1
    model = trainer.model.train()
    parts = [negative_log_likelihood(model, batch) for batch in batches]
    loss = sum(part[0] for part in parts) / sum(part[1] for part in parts)
    loss.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    model.zero_grad()

    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert logged["grad_norm"] == pytest.approx(float(norm), rel=1e-3)


def test_the_validation_loss_is_the_mean_over_label_tokens_however_batched(base, tmp_path) -> None:
    trainer = build_trainer(base, tmp_path)
    with torch.no_grad():
        model = trainer.model.eval()
        parts = [negative_log_likelihood(model, batch) for batch in trainer.get_eval_dataloader()]
    sums, n_labels, n_right = (sum(column) for column in zip(*parts, strict=True))
    assert len({part[1] for part in parts}) > 1
    for batch_tokens in (1, 300, BATCH_TOKENS, 100_000):
        trainer.batch_tokens = batch_tokens
        measured = trainer.evaluate()
        assert measured["eval_loss"] == pytest.approx(float(sums) / n_labels, rel=1e-5)
        assert measured["eval_mean_token_accuracy"] == pytest.approx(n_right / n_labels)


def test_with_0_it_is_the_trainer_of_trl(base, tmp_path) -> None:
    from trl import SFTTrainer

    ours = build_trainer(base, tmp_path, 0, max_steps=3, per_device_train_batch_size=2)
    theirs = build_trainer(base, tmp_path, 0, max_steps=3, per_device_train_batch_size=2)
    theirs.__class__ = SFTTrainer
    for trainer in (ours, theirs):
        trainer.train()
        trainer.evaluate()
    names = ("loss", "eval_loss", "grad_norm", "eval_mean_token_accuracy")
    logs = [
        [entry[name] for entry in trainer.state.log_history for name in names if name in entry]
        for trainer in (ours, theirs)
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 3 * 2 + 2
