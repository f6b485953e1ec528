"""What is supervised, and what the callbacks stop, keep and count."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import small_model
import torch

from medisum_utils.modelling import training
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.model import load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer

N_STEPS, SAVED_AT = 6, 3


def rendered(base: str, n: int, seed: int = 1) -> list[RenderedExample]:
    renderer = Renderer(load_tokenizer(base), small_model.INSTRUCTION)
    return [renderer.example(e) for e in small_model.encounters(n, seed)]


def build_trainer(base: str, output_dir: Path, callbacks=(), n_valid: int = 4, **choices):
    """A trainer as notebook 03 builds it, on made-up visits."""
    from peft import LoraConfig
    from trl import SFTTrainer

    torch.manual_seed(5)
    config = {
        "max_steps": N_STEPS,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5.0e-3,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": SAVED_AT,
        "save_steps": SAVED_AT,
        "seed": 5,
        "train_sampling_strategy": "group_by_length",
        **choices,
    }
    trainer = SFTTrainer(
        model=load_base(base),
        args=training.default_sft_config(output_dir, "cpu", **config),
        train_dataset=training.to_dataset(rendered(base, 20)),
        eval_dataset=training.to_dataset(rendered(base, n_valid, seed=2)) if n_valid else None,
        processing_class=load_tokenizer(base),
        peft_config=LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.1, task_type="CAUSAL_LM"
        ),
        callbacks=list(callbacks),
    )
    training.cast_trainable_to_fp32(trainer.model)
    training.drop_right_padding_mask(trainer.model)
    return trainer


def read_log(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(log: list[dict]) -> list[tuple[int, str, float]]:
    names = ("loss", "eval_loss", "grad_norm")
    return [(entry["step"], name, entry[name]) for entry in log for name in names if name in entry]


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    """One whole run with validation, checkpoints, log and clock."""
    folder = tmp_path_factory.mktemp("run")
    clock = training.StepClock()
    callbacks = [training.StopOnNonFinite(), training.LossLog(folder / "log.jsonl"), clock]
    trainer = build_trainer(base, folder, callbacks, load_best_model_at_end=True)
    trainer.train()
    return trainer, folder, clock


def test_a_collated_batch_supervises_the_note_and_its_end_of_turn(base, tmp_path):
    trainer = build_trainer(base, tmp_path)
    examples = {tuple(e.input_ids): e for e in rendered(base, 20)}
    batch = next(iter(trainer.get_train_dataloader()))
    assert len({len(e.input_ids) for e in examples.values()}) > 1
    for ids, labels, seen in zip(
        batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
    ):
        n = int(seen.sum())
        example = examples[tuple(ids[:n].tolist())]  # the very tokens, no second template
        supervised = labels != training.IGNORED
        assert supervised[:n].tolist() == [bool(m) for m in example.completion_mask]
        assert not supervised[n:].any()
        assert torch.equal(labels[supervised], ids[supervised])
        end = int(torch.nonzero(supervised)[-1])
        assert ids[end] == load_tokenizer(base).convert_tokens_to_ids("<|eot_id|>")


def test_the_prompt_bears_no_loss(base, tmp_path):
    """The loss of the trainer is that of the notes' tokens, computed here by hand."""
    trainer = build_trainer(base, tmp_path, per_device_eval_batch_size=1)
    model, total, n_tokens = trainer.model.eval(), 0.0, 0
    for example in rendered(base, 4, seed=2):
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            scores = model(ids).logits[0, example.n_prompt_tokens - 1 : -1].log_softmax(-1)
        note = ids[0, example.n_prompt_tokens :]
        total -= float(scores.gather(1, note[:, None]).sum()) / len(note)
        n_tokens += 1
    assert math.isclose(trainer.evaluate()["eval_loss"], total / n_tokens, rel_tol=1e-4)


def test_without_a_mask_right_padded_batches_have_the_same_loss_and_gradients(base, tmp_path):
    trainer = build_trainer(base, tmp_path, per_device_train_batch_size=8)
    model = trainer.model.eval()  # no dropout
    batch = {**next(iter(trainer.get_train_dataloader())), "use_cache": False}
    assert not batch["attention_mask"].all()  # something is padded
    seen = []
    inner = model.get_base_model()
    inner.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(inputs.get("attention_mask")), with_kwargs=True
    )

    def loss_and_gradients(**inputs):
        model.zero_grad()
        loss = model(**{**batch, **inputs}).loss
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    without = loss_and_gradients()
    assert seen.pop() is None
    model._forward_pre_hooks.clear()
    for ours, theirs in zip(without, loss_and_gradients(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert seen.pop() is batch["attention_mask"]

    training.drop_right_padding_mask(model)
    left = batch["attention_mask"].flip(1)
    with torch.no_grad():
        model(**{**batch, "attention_mask": left})
        assert seen.pop() is left
        model(**{**batch, "use_cache": True})
        assert seen.pop() is batch["attention_mask"]


def test_the_loss_of_labels_alone_in_small_tiles_is_trls_own(base, tmp_path, monkeypatch):
    import trl.trainer.utils as of_trl

    trainer = build_trainer(base, tmp_path)
    batch = dict(next(iter(trainer.get_train_dataloader())))
    model = trainer.model.eval()  # no dropout
    calls, computed = [], of_trl._ChunkedLogProbFunction

    class Seen:
        @staticmethod
        def apply(hidden, *others):
            calls.append((len(hidden), others[4]))
            return computed.apply(hidden, *others)

    def loss_and_gradients() -> list[torch.Tensor]:
        model.zero_grad()
        loss = trainer.compute_loss(model, dict(batch))
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    for name in ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE"):
        monkeypatch.setattr(of_trl, name, getattr(of_trl, name))  # put back at the end
    monkeypatch.setattr(of_trl, "_use_triton", lambda _: False)
    monkeypatch.setattr(of_trl, "_CHUNKED_LOGPROB_CHUNK_SIZE", 32768)
    monkeypatch.setattr(of_trl, "_ChunkedLogProbFunction", Seen)
    theirs = loss_and_gradients()
    monkeypatch.setattr(training, "LOSS_TILE", 100)  # of 512 words
    training.compute_loss_on_labels_only("cpu")
    ours = loss_and_gradients()
    n_labels = int((batch["labels"][:, 1:] != training.IGNORED).sum())
    assert calls == [(batch["labels"][:, 1:].numel(), 32768), (n_labels, 100)]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


_TOUCHED_AGAIN = """
import resource, sys, torch
from medisum_utils.modelling import training

training.keep_freed_memory(sys.argv[1])
for _ in range(3):
    torch.ones(2**24)
n_before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - n_before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_used_again():
    """64 MiB are 16,384 pages: where they go back to the system, each is cleared anew."""
    command = [sys.executable, "-c", _TOUCHED_AGAIN, "cpu"]
    n_pages = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert n_pages < 1000


def test_rows_and_labels_are_counted(base, tmp_path):
    train, valid = rendered(base, 20), rendered(base, 4, seed=2)
    counted = training.check_supervision(build_trainer(base, tmp_path), train, valid)
    assert counted["train"]["n_examples"] == 20
    assert counted["valid"]["n_label_tokens"] == sum(e.n_completion_tokens for e in valid)


@pytest.mark.parametrize("max_length", [60, 100])
def test_what_trl_cuts_or_drops_is_an_error(base, tmp_path, max_length):
    train, valid = rendered(base, 20), rendered(base, 4, seed=2)
    assert min(len(e.input_ids) for e in train) > 60
    trainer = build_trainer(base, tmp_path, max_length=max_length, eval_strategy="no")
    with pytest.raises(ValueError, match=r"train: expected .* but the trainer holds"):
        training.check_supervision(trainer, train, valid)


def test_a_missing_validation_set_is_an_error(base, tmp_path):
    trainer = build_trainer(base, tmp_path, n_valid=0, eval_strategy="no")
    with pytest.raises(ValueError, match="valid: expected"):
        training.check_supervision(trainer, rendered(base, 20), rendered(base, 4, seed=2))


def test_the_trap_of_a_mask_without_its_switch(base, tmp_path):
    """Why `to_dataset` gives labels: trl takes a mask alone for no mask at all."""
    from datasets import Dataset
    from trl import SFTTrainer

    rows = [
        {"input_ids": list(e.input_ids), "completion_mask": list(e.completion_mask)}
        for e in rendered(base, 3)
    ]
    trainer = SFTTrainer(
        model=load_base(base, quantize=False),
        args=training.default_sft_config(tmp_path, "cpu"),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(base),
    )
    assert all(row["labels"] == row["input_ids"] for row in trainer.train_dataset)


def test_an_unknown_choice_is_refused(tmp_path):
    with pytest.raises(TypeError, match="learning_speed"):
        training.default_sft_config(tmp_path, "cpu", learning_speed=1.0)
    config = training.default_sft_config(tmp_path, "cpu", max_length=77)
    assert (config.max_length, config.bf16, config.gradient_checkpointing) == (77, False, False)
    assert config.logging_nan_inf_filter is False


def test_lora_weights_are_fp32_and_the_base_is_frozen(run):
    trainer, _, _ = run
    for name, weight in trainer.model.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        if weight.requires_grad:
            assert weight.dtype == torch.float32


def test_the_log_holds_every_loss_and_the_clock_every_step(run):
    trainer, folder, clock = run
    log = read_log(folder / "log.jsonl")
    assert [e["step"] for e in log if "loss" in e] == list(range(1, N_STEPS + 1))
    assert [e["step"] for e in log if "eval_loss" in e] == [SAVED_AT, 2 * SAVED_AT]
    assert losses(log) == losses(trainer.state.log_history)
    assert clock.n_steps == N_STEPS
    assert 0 < clock.seconds < log[-1]["train_runtime"]


def test_the_tokens_that_were_read_are_counted_without_padding(run, base):
    trainer, _, _ = run
    lengths = sorted(len(example.input_ids) for example in rendered(base, 20))
    seen = trainer.state.num_input_tokens_seen  # of 6 steps of 4 examples: all, and 4 again
    assert sum(lengths) + sum(lengths[:4]) <= seen <= sum(lengths) + sum(lengths[-4:])
    assert seen == [e["num_tokens"] for e in trainer.state.log_history if "num_tokens" in e][-1]


def test_what_is_measured_before_training_leaves_the_log_alone(base, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"loss": 1.0}\n')
    log = training.LossLog(tmp_path / "log.jsonl")
    build_trainer(base, tmp_path, [log]).evaluate()
    assert read_log(log.path) == [{"loss": 1.0}]


def test_training_tells_the_runner_its_steps_and_loss(base, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(training.live, "tell", lambda unit, **numbers: told.append((unit, numbers)))
    trainer = build_trainer(base, tmp_path, [training.LossLog(tmp_path / "log.jsonl")])
    trainer.train()
    n_steps = trainer.state.max_steps
    assert told[0] == ("step", {"n_done": 0, "n_total": n_steps})
    assert told[-1][1]["n_done"] == n_steps
    losses = [entry["loss"] for entry in read_log(tmp_path / "log.jsonl") if "loss" in entry]
    assert [numbers["loss"] for _, numbers in told[1:] if numbers["loss"] is not None] == losses


def test_training_learns(run):
    log = read_log(run[1] / "log.jsonl")
    first, last = [e["eval_loss"] for e in log if "eval_loss" in e]
    assert last < first < math.log(512)  # a guess over the vocabulary


def test_a_loss_that_is_no_number_ends_the_run(base, tmp_path):
    trainer = build_trainer(base, tmp_path, [training.StopOnNonFinite()])
    with torch.no_grad():
        next(p for p in trainer.model.parameters() if p.requires_grad).fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"nan before the first step.*restore the base"):
        trainer.evaluate()
    with pytest.raises(FloatingPointError, match="nan at step 1"):
        trainer.train()


def test_known_clutter_is_silenced_and_wrong_gradients_are_not():
    from medisum_utils.clutter import silence_clutter

    serious = "bitsandbytes::gemv_4bit: an autograd kernel was not registered to the Autograd key"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence_clutter()
        warnings.warn(serious, UserWarning, stacklevel=1)
        warnings.warn(
            "`is_gradient_checkpointing` is deprecated and will be removed in v6. Use another.",
            FutureWarning,
            stacklevel=1,
        )
    assert [str(warning.message) for warning in seen] == [serious]


def test_a_batch_supervises_the_note_of_one_example(base, tmp_path):
    valid = rendered(base, 4, seed=2)
    trainer = build_trainer(base, tmp_path, per_device_eval_batch_size=2)
    batch = dict(next(iter(trainer.get_eval_dataloader())))
    end = load_tokenizer(base).convert_tokens_to_ids("<|eot_id|>")
    ids = batch["input_ids"][0].tolist()
    (seen,) = [e for e in valid if list(e.input_ids) == ids[: len(e.input_ids)]]
    said = training.check_batch(batch, valid, end)
    assert f"{len(seen.input_ids)} tokens; {seen.n_completion_tokens} bear a label" in said
    assert said.endswith(f"from position {seen.n_prompt_tokens} on.")

    others = [example for example in valid if example is not seen]
    with pytest.raises(ValueError, match="1 of the examples, got 0"):
        training.check_batch(batch, others, end)
    with pytest.raises(ValueError, match=f"the end of turn, 0, as the last label, got {end}"):
        training.check_batch(batch, valid, 0)
    prompt_too = batch | {"labels": batch["input_ids"]}
    with pytest.raises(ValueError, match=f"expected {seen.n_completion_tokens} tokens with a lab"):
        training.check_batch(prompt_too, valid, end)


def test_weights_in_four_bits_are_counted_one_by_one(base):
    packed, plain = load_base(base), load_base(base, quantize=False)
    assert sum(weight.numel() for weight in packed.parameters()) < training.count_weights(plain)
    assert training.count_weights(packed) == training.count_weights(plain)
