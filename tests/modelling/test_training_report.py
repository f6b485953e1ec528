"""What 03 says: each branch of its sentences, and tables that show numbers as they are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from medisum_utils.modelling import training_report

OUTCOME = training_report.Outcome(
    loss_before=4.978,
    losses={540: 0.1, 1080: 0.041},
    kept_step=1080,
    n_steps=1080,
    n_valid=16,
    n_trainable=720_896,
    n_base=8_917_248,
    n_tokens=439_885,
)
WHOLE = training_report.Session(
    n_steps=1080, n_tokens=439_885, training_s=200.0, total_s=210.0, device="cpu"
)
LOG = [
    {"step": 540, "loss": 0.5, "grad_norm": 2.0},
    {"step": 540, "eval_loss": 0.1, "eval_mean_token_accuracy": 0.97},
    {"step": 1080, "loss": 0.25, "grad_norm": 0.5},
    {"step": 1080, "eval_loss": 0.041, "eval_mean_token_accuracy": 0.987},
    {"step": 1080, "train_runtime": 210.0},
]


def test_a_fall_of_the_loss_is_a_yes_with_its_figures() -> None:
    said = training_report.verdict(OUTCOME, WHOLE)
    assert said.startswith("**Yes, as far as the loss can say: on 16 validation notes")
    assert "from 4.978 to 0.041 nats per token" in said
    assert "(perplexity 145.2 to 1.04), after 1,080 of 1,080 steps" in said
    assert "720,896 weights were trained on 439,885 tokens, at 2,199 tokens per second" in said
    assert "in this session" not in said


@pytest.mark.parametrize("kept", [4.978, 5.1])
def test_a_loss_that_does_not_fall_is_a_no(kept: float) -> None:
    said = training_report.verdict(replace(OUTCOME, losses={1080: kept}), WHOLE)
    assert said.startswith(f"**No: the validation loss went from 4.978 to {kept:.3f}.**")
    assert "worse" in said or kept == OUTCOME.loss_before


def test_the_pace_is_that_of_this_session() -> None:
    part = replace(WHOLE, n_steps=540, n_tokens=200_000, training_s=100.0)
    said = training_report.verdict(OUTCOME, part)
    assert "439,885 tokens, 200,000 of them in this session, at 2,000 tokens per second" in said
    nothing = replace(WHOLE, n_steps=0, n_tokens=0, training_s=0.0, total_s=0.0)
    assert "nothing was left to train in this one" in training_report.verdict(OUTCOME, nothing)
    assert (nothing.tokens_per_s, nothing.speed) == (None, "-")


@pytest.mark.parametrize(
    ("newest", "n_done", "resume", "says"),
    [
        (None, 0, False, "Training starts anew, with 1,080 steps."),
        (None, 0, True, "**There is no complete checkpoint to go on from: training starts anew.**"),
        ("checkpoint-540", 540, True, "Training goes on from checkpoint-540, of 1,080 steps."),
        ("checkpoint-1080", 1080, True, "checkpoint-1080 is the last one: **nothing is left"),
    ],
)
def test_the_plan_says_where_training_begins(newest, n_done, resume, says) -> None:
    said = training_report.plan_sentence(newest, n_done, 1080, resume=resume)
    assert said.startswith(says)


def test_the_limits_say_whether_the_run_was_too_long() -> None:
    train, _ = training_report.loss_tables(LOG)

    def limits(final_loss: float, rows=train, kept_step=1080) -> str:
        losses = {540: 0.1, 1080: 0.041, 1620: final_loss}
        outcome = replace(OUTCOME, losses=losses, kept_step=kept_step)
        return training_report.limits(outcome, rows, max_grad_norm=1.0, n_validations=2)

    assert "0.000 above the one kept: the run was not too long." in limits(0.041)
    assert "0.100 above the one kept, so the run overfits late." in limits(0.141)
    assert "In 50% of the logged steps the gradient was clipped to 1." in limits(0.041)
    assert "In 0% of the logged steps" in limits(0.041, train.head(0))
    assert "as coarse as 2 looks" in limits(0.041)
    last = limits(0.141, kept_step=1620)
    assert "as `keep` asks for; their validation loss is 0.100 above the lowest" in last


def test_the_log_is_parted_into_training_and_validation() -> None:
    train, valid = training_report.loss_tables(LOG)
    assert train.to_dict("list") == {
        "step": [540, 1080], "loss": [0.5, 0.25], "grad_norm": [2.0, 0.5],
    }  # fmt: skip
    assert valid["eval_loss"].tolist() == [0.1, 0.041]
    table = training_report.validations_table(valid, kept_step=1080)
    assert table.index.tolist() == ["540", "1,080"]
    assert table["kept"].tolist() == ["", "yes"]
    assert table["note tokens right (%)"].tolist() == [97.0, 98.7]
    assert table["perplexity"].tolist() == [1.105, 1.042]


def test_whole_numbers_are_shown_whole_and_with_units() -> None:
    config = SimpleNamespace(num_hidden_layers=8, hidden_size=1256, vocab_size=4096)
    base = training_report.base_table(config, 8_917_248, weights_gib=2.0)["base"]
    assert base["layers"] == "8"
    assert (base["hidden size"], base["vocabulary (tokens)"]) == ("1,256", "4,096")
    assert base["weights in memory (MiB)"] == "2,048.0"
    counted = {"train": {"n_examples": 1540, "n_tokens": 4000, "n_label_tokens": 1000}}
    assert training_report.counts_table(counted).loc["train"].tolist() == [
        "1,540", "4,000", "1,000", "25.0",
    ]  # fmt: skip
    cost = training_report.cost_table(OUTCOME, replace(WHOLE, n_steps=540), 2.75)["value"]
    assert cost["steps in this session"] == "540 of 1,080"
    assert cost["of the base's weights (%)"] == "8.08"
    choices = training_report.choices_table({"bf16": 1, "max_steps": 540})
    assert choices["choice"].to_dict() == {"bf16": True, "max_steps": 540}
    assert choices.loc["bf16", "choice"] is True


def test_the_loss_is_drawn_on_a_logarithmic_axis_over_whole_steps() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    step_size = training_report.step_size(batch_size=1, batch_tokens=0, n_accumulation=1)
    training_report.draw_losses(axis, *training_report.loss_tables(LOG), OUTCOME, step_size)
    FigureCanvasAgg(axis.figure).draw()
    assert axis.get_yscale() == "log"
    assert axis.get_xlabel() == "step (of 1 example)"
    steps = [label.get_text() for label in axis.get_xticklabels()]
    assert all(step.replace(",", "").replace("\N{MINUS SIGN}", "").isdigit() for step in steps)
    assert "10" not in "".join(label.get_text() for label in axis.get_yticklabels(minor=True))
    _, validation = axis.get_lines()
    assert validation.get_xydata().tolist() == [[0, 4.978], [540, 0.1], [1080, 0.041]]


@pytest.mark.parametrize(
    ("batch_size", "batch_tokens", "n_accumulation", "says"),
    [
        (1, 0, 1, "1 example"),
        (8, 0, 200, "1,600 examples"),
        (8, 2048, 2, "4,096 tokens with padding"),
    ],
)
def test_a_step_is_named_by_what_it_takes(batch_size, batch_tokens, n_accumulation, says) -> None:
    assert training_report.step_size(batch_size, batch_tokens, n_accumulation) == says


@pytest.mark.parametrize(("n_threads", "says"), [(1, "on 1 thread;"), (4, "on 4 threads;")])
def test_the_footer_says_what_the_notebook_took(monkeypatch, n_threads: int, says: str) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: n_threads)
    said = training_report.footer({"seconds": 237.6, "peak_memory_gib": 1.734})
    assert said == f"The notebook took 238 s {says} peak memory 1.73 GiB."
