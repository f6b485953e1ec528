"""What TRL's SFTTrainer needs around it: labels and their check, logging, timing, a stop on NaN.

The LoRA configuration and the trainer call stand in notebook 03; for resuming see `checkpoints`.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from medisum_utils.modelling.example import IGNORED, RenderedExample
from medisum_utils.runs import check_free_disk, check_gpu, check_memory, live
from medisum_utils.runs.files import write_json_lines

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from torch.utils.hooks import RemovableHandle
    from trl import SFTConfig, SFTTrainer

BF16_PADDING = 32  # tokens; see `padding_for`
LOSS_TILE = 4096  # words of the vocabulary whose logits are held at once, on a CPU
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def to_dataset(examples: Sequence[RenderedExample]) -> Dataset:
    """Rendered examples as `input_ids` and `labels`, which TRL takes as they are.

    A mask alone would not do: trl 1.16 uses `completion_mask` of tokenised data only if
    `completion_only_loss` is set, and trains on the prompts otherwise, saying nothing.

    Source: trl 1.16, trainer/sft_trainer.py, `_prepare_dataset`.
    """
    from datasets import Dataset

    rows = [
        {"input_ids": list(example.input_ids), "labels": example.labels} for example in examples
    ]
    return Dataset.from_list(rows)


def default_sft_config(output_dir: str | os.PathLike, device: str, **choices: Any) -> SFTConfig:
    """An SFTConfig without TRL's surprises; every choice can be overridden.

    Raises: TypeError for a choice that SFTConfig does not know.
    """
    from trl import SFTConfig

    defaults: dict[str, Any] = {
        "max_length": None,  # trl: 1024, and a row cut down to its prompt vanishes
        "logging_nan_inf_filter": False,  # transformers: True, which logs NaN as 0.0
        "report_to": "none",
        "bf16": False,  # trl: True
        "activation_checkpointing": False,  # trl: on, under its old name
        "include_num_input_tokens_seen": "non_padding",  # in the state, so that resuming adds up
        "disable_tqdm": True,  # its widgets stand still in a report
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device != "cpu",
    }
    return SFTConfig(output_dir=str(output_dir), **{**defaults, **choices})


def padding_for(bf16: bool, device: str) -> int | None:
    """The number of tokens to whose multiples batches are padded, None for their own lengths.

    On a CPU, bfloat16 products are compiled anew for each new length of a batch, and each of these
    kernels keeps its memory; a few lengths need few kernels. Padding changes no loss.
    """
    return BF16_PADDING if bf16 and device == "cpu" else None


def keep_freed_memory(device: str) -> None:
    """Lets the C library of a CPU keep freed memory for the next tensor instead of returning it.

    A step makes and frees large tensors by the thousand, and the system clears each page of each
    anew: a sixth of a step of SmolLM2. No number changes. Where the library is not glibc, nothing
    happens.

    Source: mallopt(3).
    """
    if device == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def compute_loss_on_labels_only(device: str) -> None:
    """Lets TRL's loss on a CPU project the supervised positions only, as it does on a GPU.

    Without Triton, trl 1.16 projects every position, for accelerators that compile anew for each
    shape. On a CPU that takes a fifth of a step, where three in four positions are prompt. And it
    takes 32,768 words of the vocabulary at a time, which no cache holds; fewer need less memory,
    too. The loss is the same.

    Raises: AttributeError where TRL has changed, so that nobody trains on a patch without effect.
    Source: trl 1.16, trainer/utils.py, `add_fused_lm_head`, its variable `compact`.
    """
    import trl.trainer.utils

    if device == "cpu":
        _ = trl.trainer.utils._use_triton  # the name must be there to be replaced
        trl.trainer.utils._use_triton = lambda _: True
        _ = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
        trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = LOSS_TILE


def check_supervision(
    trainer: SFTTrainer, train: Sequence[RenderedExample], valid: Sequence[RenderedExample]
) -> dict[str, dict[str, int]]:
    """Checks that the trainer holds every token and label; returns their numbers by split.

    Raises: ValueError that says what vanished or was added.
    """
    counted = {}
    for split, examples, dataset in (
        ("train", train, trainer.train_dataset),
        ("valid", valid, trainer.eval_dataset or ()),
    ):
        expected = {
            "n_examples": len(examples),
            "n_tokens": sum(len(example.input_ids) for example in examples),
            "n_label_tokens": sum(example.n_completion_tokens for example in examples),
        }
        counted[split] = {
            "n_examples": len(dataset),
            "n_tokens": sum(len(row["input_ids"]) for row in dataset),
            "n_label_tokens": sum(label != IGNORED for row in dataset for label in row["labels"]),
        }
        if counted[split] != expected:
            raise ValueError(
                f"{split}: expected {expected}, but the trainer holds {counted[split]}"
            )
    return counted


def check_batch(
    batch: Mapping[str, torch.Tensor], examples: Sequence[RenderedExample], end_of_turn: int
) -> str:
    """Checks that a batch's first row supervises its whole note; returns a sentence about it.

    `batch` is as the trainer hands it to the model: `input_ids` and `labels`, (batch, tokens).

    Raises: ValueError where the row is none of the examples, where other tokens bear a label than
    those of its note, or where the last of them is not `end_of_turn`.
    """
    ids = batch["input_ids"][0].tolist()
    matching = [e for e in examples if list(e.input_ids) == ids[: len(e.input_ids)]]
    if len(matching) != 1:
        raise ValueError(
            f"expected the batch's first row to be 1 of the examples, got {len(matching)}"
        )
    (example,) = matching
    supervised = (batch["labels"][0] != IGNORED).nonzero().flatten().tolist()
    n_labels = len(supervised)
    if n_labels != example.n_completion_tokens:
        raise ValueError(
            f"expected {example.n_completion_tokens} tokens with a label, got {n_labels}"
        )
    expected = [at for at, label in enumerate(example.labels) if label != IGNORED]
    if supervised != expected:
        raise ValueError(
            f"expected labels from position {expected[0]} to {expected[-1]}, got as many at others"
        )
    last = ids[supervised[-1]]
    if last != end_of_turn:
        raise ValueError(f"expected the end of turn, {end_of_turn}, as the last label, got {last}")
    return (
        f"One validation example has {len(example.input_ids):,} tokens; {n_labels:,} bear a label, "
        f"from position {supervised[0]:,} on."
    )


def count_weights(model: torch.nn.Module) -> int:
    """The number of a model's weights; those packed in four bits count one by one."""
    return sum(
        math.prod(getattr(getattr(weight, "quant_state", None), "shape", weight.shape))
        for weight in model.parameters()
    )


def check_machine(weights_gib: float, device: str, path: str | os.PathLike) -> None:
    """Checks, before an hour is spent, that the machine can hold the base and what trains it.

    Activations, gradients, the adapter and the libraries come on top of the base's weights. `path`
    is the folder of the adapter.

    Raises: RuntimeError (GPU), MemoryError or OSError (disk) with what is needed and what there is.
    """
    if device == "cuda":
        check_gpu(1.0 + 1.5 * weights_gib)
        check_memory(2.0)
    else:
        check_memory(2.0 + 4 * weights_gib)
    check_free_disk(path, 1.0)


def cast_trainable_to_fp32(model: torch.nn.Module) -> int:
    """Casts the trainable weights to fp32 and returns how many they are.

    TRL makes them bf16, and resuming brings them back as fp32: the two runs would differ. Call it
    after building the trainer, before `train`.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.data = parameter.data.float()
    return sum(parameter.numel() for parameter in trainable)


def drop_right_padding_mask(model: torch.nn.Module) -> RemovableHandle:
    """Drops the mask of training batches padded on the right: the same loss, faster.

    Under causal attention no real token sees the padding to its right, and the padding bears no
    label; without a mask, attention skips half of its work. A mask of padding on the left, as in
    generation, stays. The handle's `remove` undoes it.
    """

    def forward_pre(_, args: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        mask = inputs.get("attention_mask")
        no_cache = inputs.get("use_cache") is False and inputs.get("past_key_values") is None
        if no_cache and mask is not None and mask.dim() == 2 and _padded_right(mask):
            inputs = {name: value for name, value in inputs.items() if name != "attention_mask"}
        return args, inputs

    return model.register_forward_pre_hook(forward_pre, with_kwargs=True)


def _padded_right(mask: torch.Tensor) -> bool:
    """Whether in each row, (batch, tokens), no 1 follows a 0."""
    return bool((mask[:, 1:] <= mask[:, :-1]).all())


class StopOnNonFinite(TrainerCallback):
    """Ends the run at the first loss or gradient norm that is not finite."""

    def on_log(self, args, state, control, logs=None, **_) -> None:
        """Raises: FloatingPointError that names the step and the value."""
        for name in ("loss", "eval_loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is None or math.isfinite(value):
                continue
            if state.global_step == 0:
                raise FloatingPointError(
                    f"{name} is {value} before the first step, so the base gives it and no "
                    "training; restore the base model, or set arithmetic to fp32"
                )
            raise FloatingPointError(
                f"{name} is {value} at step {state.global_step}; the run stops here. "
                "A lower learning rate or max_grad_norm, or fp32 arithmetic, may help"
            )


class LossLog(TrainerCallback):
    """Keeps the history of training as JSON Lines and prints each validation loss.

    The runner's terminal has each step and its loss, by `runs.live`. A resumed run carries the
    history of its checkpoint on: no line is doubled or lost. What is measured before training is no
    part of it.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def on_train_begin(self, args, state, control, **_) -> None:
        """Starts the clock of the time left, from the first step of this session."""
        live.tell("step", n_done=state.global_step, n_total=state.max_steps)

    def on_log(self, args, state, control, logs=None, **_) -> None:
        """Writes the history so far."""
        if not state.max_steps:
            return
        logs = logs or {}
        write_json_lines(self.path, state.log_history)
        live.tell("step", n_done=state.global_step, n_total=state.max_steps, loss=logs.get("loss"))
        if "eval_loss" in logs:
            print(
                f"step {state.global_step} of {state.max_steps}: "
                f"validation loss {logs['eval_loss']:.4f}",
                flush=True,
            )


class StepClock(TrainerCallback):
    """Times the optimiser steps alone, without validation and saving: `seconds` for `n_steps`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.n_steps = 0
        self._began = 0.0

    def on_step_begin(self, args, state, control, **_) -> None:
        """Starts the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args, state, control, **_) -> None:
        """Stops the clock; what follows is logging, validation and saving."""
        self.seconds += time.perf_counter() - self._began
        self.n_steps += 1
