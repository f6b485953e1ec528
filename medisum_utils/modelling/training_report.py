"""What 03 reports: what became of the loss, what it cost, and the sentences about both.

All losses are in nats per token of a note. Sentences are Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from medisum_utils import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from transformers import PreTrainedConfig

OVERFIT_MARGIN = 0.005  # nats that the last loss may exceed the best one by


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole run: its losses on `n_valid` examples, and the weights and tokens behind them.

    `losses` has the validation loss by step, in their order; the weights of `kept_step` are kept.
    """

    loss_before: float
    losses: Mapping[int, float]
    kept_step: int
    n_steps: int
    n_valid: int
    n_trainable: int
    n_base: int
    n_tokens: int

    @property
    def kept_loss(self) -> float:
        """The validation loss of the weights kept."""
        return self.losses[self.kept_step]


@dataclass(frozen=True, slots=True)
class Session:
    """The part of a run that was trained here; the rest was trained in earlier sessions.

    `training_s` is the time of the optimiser's steps alone, `total_s` with validating and saving.
    """

    n_steps: int
    n_tokens: int
    training_s: float
    total_s: float
    device: str

    @property
    def tokens_per_s(self) -> float | None:
        """The speed of the optimiser's steps, None where there were none."""
        return self.n_tokens / self.training_s if self.n_steps else None

    @property
    def speed(self) -> str:
        """The speed in words, a dash where nothing was trained."""
        return "-" if self.tokens_per_s is None else f"{self.tokens_per_s:,.0f}"


def base_table(config: PreTrainedConfig, n_weights: int, weights_gib: float) -> pd.DataFrame:
    """The base in a column: its size in weights and in memory, its shape, its vocabulary."""
    sizes = {
        "parameters": f"{n_weights:,}",
        "weights in memory (MiB)": f"{weights_gib * 1024:,.1f}",
        "layers": f"{config.num_hidden_layers}",
        "hidden size": f"{config.hidden_size:,}",
        "vocabulary (tokens)": f"{config.vocab_size:,}",
    }
    return pd.DataFrame({"base": sizes})


def choices_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """The choices made for SFTConfig, a row each."""
    rows = {**choices, "bf16": bool(choices["bf16"])}
    return pd.DataFrame({"choice": rows}, dtype=object).rename_axis("SFTConfig")


def counts_table(counted: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """What `training.check_supervision` counted, a row for each split."""
    rows = {
        split: {
            "examples": f"{counts['n_examples']:,}",
            "tokens": f"{counts['n_tokens']:,}",
            "tokens with a label": f"{counts['n_label_tokens']:,}",
            "with a label (%)": f"{100 * counts['n_label_tokens'] / counts['n_tokens']:.1f}",
        }
        for split, counts in counted.items()
    }
    return pd.DataFrame(rows).T


def plan_sentence(newest: str | None, n_done: int, n_steps: int, *, resume: bool) -> str:
    """What this session is going to train; `newest` is the checkpoint's name that it resumes."""
    if newest and n_done == n_steps:
        return f"{newest} is the last one: **nothing is left to train**, its adapter is taken."
    if newest:
        return f"Training goes on from {newest}, of {n_steps:,} steps."
    if resume:
        return "**There is no complete checkpoint to go on from: training starts anew.**"
    return f"Training starts anew, with {n_steps:,} steps."


def loss_tables(log: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training entries (step, loss, grad_norm) and the validations of a trainer's log.

    A validation has step, eval_loss and eval_mean_token_accuracy.
    """
    train, valid = ([entry for entry in log if name in entry] for name in ("loss", "eval_loss"))
    return (
        pd.DataFrame(train, columns=["step", "loss", "grad_norm"]),
        pd.DataFrame(valid, columns=["step", "eval_loss", "eval_mean_token_accuracy"]),
    )


def step_size(batch_size: int, batch_tokens: int, n_accumulation: int) -> str:
    """What a step of the optimiser takes, in words."""
    if batch_tokens:
        return f"{batch_tokens * n_accumulation:,} tokens with padding"
    n_examples = batch_size * n_accumulation
    return "1 example" if n_examples == 1 else f"{n_examples:,} examples"


def draw_losses(
    axis: Axes, train: pd.DataFrame, valid: pd.DataFrame, outcome: Outcome, step_size: str
) -> None:
    """Draws both losses over the steps on a logarithmic axis and marks the checkpoint kept.

    `step_size` is what a step takes, in the words of the function of that name.
    """
    from matplotlib.ticker import MaxNLocator

    axis.plot(train["step"], train["loss"], color=figures.colour_of("train"), label="training")
    axis.plot(
        [0, *valid["step"]],
        [outcome.loss_before, *valid["eval_loss"]],
        color=figures.colour_of("valid"),
        marker=figures.marker_of("valid"),
        linestyle="--",
        label=f"validation (n = {outcome.n_valid:,})",
    )
    axis.annotate(
        "kept",
        (outcome.kept_step, outcome.kept_loss),
        xytext=(0, 14),
        textcoords="offset points",
        ha="center",
        arrowprops={"arrowstyle": "-"},
    )
    axis.set(xlabel=f"step (of {step_size})", ylabel="loss (nats per note token)", yscale="log")
    axis.xaxis.set(major_locator=MaxNLocator(integer=True), major_formatter="{x:,.0f}")
    figures.plain_log_ticks(axis.yaxis)
    axis.set_title(
        f"Validation loss: {outcome.loss_before:.2f} at first, {outcome.kept_loss:.2f} when kept"
    )
    axis.legend()


def validations_table(valid: pd.DataFrame, kept_step: int) -> pd.DataFrame:
    """Every validation of `loss_tables` with its perplexity, the one kept marked."""
    return pd.DataFrame(
        {
            "loss (nats per token)": valid["eval_loss"].round(3),
            "perplexity": valid["eval_loss"].map(math.exp).round(3),
            "note tokens right (%)": (100 * valid["eval_mean_token_accuracy"]).round(1),
            "kept": ["yes" if step == kept_step else "" for step in valid["step"]],
        }
    ).set_index(pd.Index([f"{step:,}" for step in valid["step"]], name="step"))


def cost_table(outcome: Outcome, session: Session, adapter_mib: float) -> pd.DataFrame:
    """Weights, disk, steps, tokens and time, of this session and of the whole run."""
    cost = {
        "trained weights": f"{outcome.n_trainable:,}",
        "of the base's weights (%)": f"{100 * outcome.n_trainable / outcome.n_base:.2f}",
        "adapter on disk (MiB)": f"{adapter_mib:.1f}",
        "steps in this session": f"{session.n_steps:,} of {outcome.n_steps:,}",
        "tokens read in this session": f"{session.n_tokens:,} of {outcome.n_tokens:,}",
        "training (s)": f"{session.training_s:.1f}",
        "tokens per second": session.speed,
        "with validation and saving (s)": f"{session.total_s:.1f}",
    }
    return pd.DataFrame({"value": cost})


def verdict(outcome: Outcome, session: Session) -> str:
    """Whether the base learnt the task, as far as the loss can say, and at what pace."""
    before, kept = outcome.loss_before, outcome.kept_loss
    if kept >= before:
        return (
            f"**No: the validation loss went from {before:.3f} to {kept:.3f}.** The adapter made "
            f"the base worse on {outcome.n_valid:,} notes."
        )
    return (
        f"**Yes, as far as the loss can say: on {outcome.n_valid:,} validation notes it falls from "
        f"{before:.3f} to {kept:.3f} nats per token** (perplexity {math.exp(before):.1f} to "
        f"{math.exp(kept):.2f}), after {outcome.kept_step:,} of {outcome.n_steps:,} steps. "
        f"{outcome.n_trainable:,} weights were trained on {outcome.n_tokens:,} tokens, "
        f"{_pace(outcome, session)}. Whether the notes are right is for 04 to say."
    )


def _pace(outcome: Outcome, session: Session) -> str:
    if not session.n_steps:
        return "all of them in earlier sessions: nothing was left to train in this one"
    pace = f"at {session.speed} tokens per second on {session.device}"
    if session.n_steps < outcome.n_steps:
        return f"{session.n_tokens:,} of them in this session, {pace}"
    return pace


def limits(
    outcome: Outcome, train: pd.DataFrame, *, max_grad_norm: float, n_validations: int
) -> str:
    """A list of what the loss curves do not show and what the run missed."""
    clipped = (train["grad_norm"] > max_grad_norm).mean() if len(train) else 0.0
    return "\n".join(
        (
            "- A loss scores each token given the right ones before it. A note that is written "
            "freely goes on from its own mistakes, and one wrong dose hardly moves the mean.",
            f"- {_overfits(outcome)}.",
            f"- In {100 * clipped:.0f}% of the logged steps the gradient was clipped to "
            f"{max_grad_norm:g}.",
            f"- Validation used {outcome.n_valid:,} examples; its choice of a checkpoint is as "
            f"coarse as {n_validations:,} looks can be.",
        )
    )


def _overfits(outcome: Outcome) -> str:
    """Whether the run was too long by its validation loss, and what was done about it."""
    last, lowest = list(outcome.losses.values())[-1], min(outcome.losses.values())
    late = last - lowest >= OVERFIT_MARGIN
    if outcome.kept_loss > lowest:
        return (
            f"The weights kept are the last ones, as `keep` asks for; their validation loss is "
            f"{last - lowest:.3f} above the lowest. What a loss calls overfitting need not be "
            "worse notes: 04 says how good they are"
        )
    length = ", so the run overfits late" if late else ": the run was not too long"
    return f"The last validation loss is {last - lowest:.3f} above the one kept{length}"


def footer(entry: Mapping[str, Any]) -> str:
    """Time, threads and peak memory of the notebook; `entry` is what `Step.finish` returned."""
    import torch

    n_threads = torch.get_num_threads()
    threads = "1 thread" if n_threads == 1 else f"{n_threads:,} threads"
    return (
        f"The notebook took {entry['seconds']:.0f} s on {threads}; peak memory "
        f"{entry['peak_memory_gib']:.2f} GiB."
    )
