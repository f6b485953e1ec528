# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 QLoRA: does the base learn to turn a dialogue into a note?
#
# QLoRA ([arXiv:2305.14314](https://arxiv.org/abs/2305.14314)) keeps the base model frozen in 4-bit
# weights and trains two thin matrices beside each linear layer. Here it runs on the examples of 02,
# through `transformers`, `peft`, `trl` and `bitsandbytes`, on a CPU the same way as on a GPU.

# %% tags=["parameters"]
profile = "tiny"  # whose examples; the adapter goes to models/<profile>/
seed = 17  # adapter's first weights, order of the examples
device = "auto"  # cpu, cuda, or auto: a GPU where there is one
lora_rank = 16  # r; QLoRA found it to matter little once all layers have adapters (section 4)
lora_alpha = 64  # the update is scaled by alpha / r
learning_rate = 2.0e-3  # QLoRA: 2.0e-4 at 7B and 13B (table 9); a small base takes more
n_epochs = 1.0  # times every example is seen
batch_size = 1  # examples at once: many small steps, and no padding
group_by_length = False  # true: examples of like length share a step
n_accumulation = 1  # batches before each step of the optimiser
n_validations = 2  # evenly spread; after each the weights are saved
n_valid = 16  # validation examples used each time
checkpoint_activations = False  # true: less memory for about 1.5 times the work
arithmetic = "auto"  # of matrix products: bf16, fp32, or auto; loss, norms, adapter stay fp32
resume = False  # true: go on from the newest complete checkpoint

# %%
import math
import shutil

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

from medisum_utils import figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.runs import profiles

silence_clutter()
figures.use_style()

# %%
import torch
from peft import LoraConfig
from transformers import PrinterCallback
from trl import SFTTrainer

from medisum_utils.modelling import checkpoints as saved
from medisum_utils.modelling import model as models
from medisum_utils.modelling import training, training_record
from medisum_utils.modelling.prompt import PROMPT_FILE, Renderer, read_prompt
from medisum_utils.modelling.rendered import read_rendered

runs.seed_everything(seed)

# %% [markdown]
# ## The answer first
#
# The sentence below is filled in by the last cells, from what was measured.

# %%
answer = display(Markdown("*Being trained.*"), display_id=True)

# %% [markdown]
# ## What is needed
#
# The rendered examples of 02, exactly as 02 wrote them. Base model and renderer are those that 02
# saved, so that nobody can train on one prompt and serve another.

# %%
rendered = runs.processed_dir(profile) / "rendered"
inputs = [
    runs.require(rendered / name, "02_format", profile)
    for name in ("train.jsonl", "valid.jsonl", PROMPT_FILE)
]
train = read_rendered(inputs[0])
valid = read_rendered(inputs[1])[:n_valid]
parameters = profiles.parameters_in("03_qlora_train", globals())
step = runs.start("03_qlora_train", profile, parameters, inputs)
base_model = read_prompt(rendered)["base_model"]
tokenizer = models.load_tokenizer(base_model)
renderer = Renderer.load(rendered, tokenizer)

# %% [markdown]
# Is the machine large enough? That is asked now, not an hour into the run. The floor is the weights
# of the base; activations, gradients, the adapter and the libraries come on top.

# %%
device = models.pick_device(device)
dtype = "bfloat16" if device == "cuda" else "float32"  # of what is not quantised
bf16 = models.use_bf16(arithmetic, device)
adapter = runs.adapter_dir(profile)
weights_gib = models.weights_gib(models.load_config(base_model), dtype=dtype)
models.check_resources(
    device,
    memory_gib=2.0 + (0.0 if device == "cuda" else 4 * weights_gib),
    gpu_memory_gib=1.0 + 1.5 * weights_gib,
    disk_gib=1.0,
    path=adapter,
)

# %% [markdown]
# ## The base, in four bits
#
# NF4 stores each weight as one of 16 values, spaced so that normally distributed weights fall
# evenly on them; the scales of the blocks are quantised once more. Embeddings, norms and head stay
# as they are.

# %%
base = models.load_base(base_model, device=device, dtype=dtype)
base.config.use_cache = False  # a cache is for writing, not for training
step.read_base(base_model, models.base_digest(base_model))
n_base = sum(
    math.prod(getattr(getattr(p, "quant_state", None), "shape", p.shape)) for p in base.parameters()
)
sizes = {
    "parameters": f"{n_base:,}",
    "weights in memory (MiB)": f"{weights_gib * 1024:,.1f}",
    "layers": f"{base.config.num_hidden_layers}",
    "hidden size": f"{base.config.hidden_size:,}",
    "vocabulary (tokens)": f"{base.config.vocab_size:,}",
}
pd.DataFrame({"base": sizes})

# %% [markdown]
# ## The adapter
#
# Beside each frozen matrix W stand B A, of rank r: the layer computes W x + (alpha / r) B A x. B
# begins as zero, so that training starts exactly at the base. All linear layers of the blocks get
# one, which mattered most in QLoRA's own comparison (its figure 2). No dropout: it is not needed
# for one or few passes, and without it the layers run faster.

# %%
targets = "all-linear"  # every linear layer except the head
lora = LoraConfig(
    r=lora_rank,
    lora_alpha=lora_alpha,
    target_modules=targets,
    lora_dropout=0.0,
    bias="none",
    task_type="CAUSAL_LM",
)

# %% [markdown]
# ## The schedule
#
# Validation happens at even distances and at the end; each time the adapter is saved, and the one
# with the lowest validation loss is kept. The learning rate rises for a few steps, then falls
# in a straight line to zero.

# %%
examples_per_step = batch_size * n_accumulation
sampling = "group_by_length" if group_by_length else "random"
validate_every = max(1, round(n_epochs * len(train) / examples_per_step / n_validations))
n_steps = validate_every * n_validations
choices = {
    "max_steps": n_steps,
    "per_device_train_batch_size": batch_size,
    "gradient_accumulation_steps": n_accumulation,
    "learning_rate": learning_rate,
    "lr_scheduler_type": "linear",
    "warmup_steps": max(1, round(0.05 * n_steps)),
    "max_grad_norm": 1.0,
    "weight_decay": 0.0,
    "train_sampling_strategy": sampling,
    "bf16": bf16,
    "pad_to_multiple_of": training.padding_for(bf16, device),
    "activation_checkpointing": checkpoint_activations,
    "logging_steps": max(1, n_steps // 50),
}

# %%
saving = {
    "eval_strategy": "steps",
    "eval_steps": validate_every,
    "per_device_eval_batch_size": batch_size,
    "save_steps": validate_every,
    "save_total_limit": 2,  # the newest and the best
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "seed": seed,
}
checkpoints = adapter / "checkpoints"
config = training.default_sft_config(checkpoints, device, **choices, **saving)
pd.DataFrame({"choice": {**choices, **saving}}).rename_axis("SFTConfig")

# %% [markdown]
# ## What the weights depend on
#
# Base, prompt, data and settings go into a record beside the checkpoints now and beside the adapter
# at the end. An adapter is used only with what it was trained with, and `resume` goes on only if
# nothing of it has changed; no report would show that a run mixed two settings. `device` and
# `checkpoint_activations` are not in it: the one may change only as far as `dtype` stays, the other
# changes no weight.

# %%
settings = {
    "seed": seed,
    "lora_rank": lora_rank,
    "lora_alpha": lora_alpha,
    "lora_targets": targets,
    "lora_dropout": lora.lora_dropout,
    "learning_rate": learning_rate,
    "n_epochs": n_epochs,
    "batch_size": batch_size,
    "n_accumulation": n_accumulation,
    "n_validations": n_validations,
    "n_valid": n_valid,
    "n_steps": n_steps,
    "sampling": sampling,
    "bf16": bf16,
    "dtype": dtype,
}
named = ("warmup_steps", "lr_scheduler_type", "max_grad_norm", "weight_decay")
settings |= {name: choices[name] for name in named}
record = training_record.describe(base_model, runs.processed_dir(profile), settings)

# %%
newest = saved.checkpoint_to_resume(checkpoints, record) if resume else None
n_done = saved.step_of(newest) if newest else 0
if n_done == n_steps:
    plan = f"{newest.name} is the last one: **nothing is left to train**, its adapter is taken."
elif newest:
    plan = f"Training goes on from {newest.name}, of {n_steps:,} steps."
elif resume:
    plan = "**There is no complete checkpoint to go on from: training starts anew.**"
else:
    plan = f"Training starts anew, with {n_steps:,} steps."
display(Markdown(plan))

# %% [markdown]
# ## The trainer
#
# The examples go in as token ids with labels: nothing is tokenised a second time. A loss that is no
# number stops the run, and the losses go to a file as they come.

# %%
clock = training.StepClock()
trainer = SFTTrainer(
    model=base,
    args=config,
    train_dataset=training.to_dataset(train),
    eval_dataset=training.to_dataset(valid),
    processing_class=tokenizer,
    peft_config=lora,
    callbacks=[training.StopOnNonFinite(), training.LossLog(checkpoints / saved.LOG_FILE), clock],
)
trainer.remove_callback(PrinterCallback)  # the log file and the figure say the same, better
n_trainable = training.cast_trainable_to_fp32(trainer.model)  # trl: bf16, and resumed runs diverge
unmasked = training.drop_right_padding_mask(trainer.model)  # the same loss, sooner
training.score_labels_alone(device)  # likewise

# %% [markdown]
# Does the trainer hold what 02 handed over? Rows that lose their labels on the way would be dropped
# without a word. So every row, token and label is counted again inside the trainer:

# %%
counted = training.check_supervision(trainer, train, valid)
assert trainer.accelerator.num_processes == 1, "this notebook trains in one process"
counts = pd.DataFrame(counted).T
counts["supervised (%)"] = (100 * counts["n_label_tokens"] / counts["n_tokens"]).round(1)
counts

# %% [markdown]
# And one batch, as it reaches the model: as many tokens bear a label as the note has, and the last
# of them is the end of turn.

# %%
batch = next(iter(trainer.get_eval_dataloader()))
supervised = batch["labels"][0] != training.IGNORED
assert batch["input_ids"][0][supervised][-1] == renderer.stop_ids[0]
(seen,) = (
    e for e in valid if list(e.input_ids) == batch["input_ids"][0][: len(e.input_ids)].tolist()
)
assert supervised.sum() == seen.n_completion_tokens
display(
    Markdown(
        f"One validation example has {len(seen.input_ids)} tokens; {int(supervised.sum())} "
        f"bear a label, from position {int(supervised.nonzero()[0])} on."
    )
)

# %% [markdown]
# ## Before training
#
# The validation loss of the base with an adapter that is still zero: the base itself.

# %%
loss_before = trainer.evaluate()["eval_loss"]
display(Markdown(f"Validation loss of the base: **{loss_before:.3f}** nats per token of a note."))

# %% [markdown]
# ## Training
#
# The adapter of an earlier run stays until this one is complete. Old checkpoints are deleted right
# before the first step, and only without `resume`; with it, broken ones are set aside.

# %%
if resume:
    for said in saved.set_incomplete_aside(checkpoints):
        display(Markdown(said))
elif checkpoints.exists():
    shutil.rmtree(checkpoints)
training_record.write_record(checkpoints, record)
n_tokens_before = saved.load_state(newest).num_input_tokens_seen if newest else 0
session_s = 0.0
if n_done < n_steps:
    result = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    session_s = result.metrics["train_runtime"]
else:
    trainer.state = saved.load_state(newest)
assert trainer.state.global_step == n_steps

# %%
chosen = saved.best_checkpoint(checkpoints, trainer.state)
best = {
    "best_step": trainer.state.best_global_step,
    "best_eval_loss": trainer.state.best_metric,
    "checkpoint": runs.shown_path(chosen),
}
log = trainer.state.log_history
aside = {step.stage(adapter / name).parent for name in saved.ADAPTER_AND_BESIDE}
saved.save_adapter(chosen, aside.pop(), rendered / PROMPT_FILE, record, log)
train_loss = pd.DataFrame(
    [entry for entry in log if "loss" in entry], columns=["step", "loss", "grad_norm"]
)
valid_loss = pd.DataFrame(
    [entry for entry in log if "eval_loss" in entry],
    columns=["step", "eval_loss", "eval_mean_token_accuracy"],
)
final_loss = valid_loss["eval_loss"].iloc[-1]

# %% [markdown]
# ## Did it learn?
#
# Both curves fall together while the model learns what carries over; where the validation loss
# turns up while the training loss still falls, it learns the training notes by heart.

# %%
fig, axis = plt.subplots()
axis.plot(
    train_loss["step"], train_loss["loss"], color=figures.colour_of("train"), label="training"
)
axis.plot(
    [0, *valid_loss["step"]],
    [loss_before, *valid_loss["eval_loss"]],
    color=figures.colour_of("valid"),
    marker=figures.marker_of("valid"),
    linestyle="--",
    label=f"validation (n = {len(valid)})",
)
axis.annotate(
    "kept",
    (best["best_step"], best["best_eval_loss"]),
    xytext=(0, 14),
    textcoords="offset points",
    ha="center",
    arrowprops={"arrowstyle": "-"},
)
axis.set(xlabel=f"step (of {examples_per_step} examples)", ylabel="loss (nats per note token)")
axis.set_title(f"Validation loss: {loss_before:.2f} at first, {best['best_eval_loss']:.2f} at best")
axis.legend()
figures.save(fig, step, "03_loss")
plt.show()

# %% [markdown]
# Every validation, with the perplexity (how many tokens the model hesitates between) and the share
# of note tokens that it would have written itself, given the right ones before:

# %%
table = valid_loss.copy()
table["perplexity"] = table["eval_loss"].map(math.exp)
table["kept"] = ["yes" if s == best["best_step"] else "" for s in table["step"]]
table.set_index("step").round(3)

# %% [markdown]
# ## What it cost
#
# Training time counts the optimiser's steps alone; validating and saving come on top.

# %%
n_tokens = trainer.state.num_input_tokens_seen
n_tokens_now = n_tokens - n_tokens_before  # in this session
tokens_per_s = n_tokens_now / clock.seconds if clock.n_steps else None
speed = f"{tokens_per_s:,.0f}" if clock.n_steps else "-"
adapter_mib = step.stage(adapter / models.ADAPTER_FILES[1]).stat().st_size / 2**20
cost = {
    "trained weights": f"{n_trainable:,}",
    "of the base's weights (%)": f"{100 * n_trainable / n_base:.2f}",
    "adapter on disk (MiB)": f"{adapter_mib:.1f}",
    "steps in this session": f"{clock.n_steps:,} of {n_steps:,}",
    "tokens read in this session": f"{n_tokens_now:,} of {n_tokens:,}",
    "training (s)": f"{clock.seconds:.1f}",
    "tokens per second": speed,
    "with validation and saving (s)": f"{session_s:.1f}",
}
pd.DataFrame({"value": cost})

# %%
if n_done == n_steps:
    pace = "all of them in earlier sessions: nothing was left to train in this one"
elif newest:
    pace = f"{n_tokens_now:,} of them in this session, at {speed} tokens per second on {device}"
else:
    pace = f"at {speed} tokens per second on {device}"
answer.update(
    Markdown(
        f"**Yes, as far as the loss can say: on {len(valid)} validation notes it falls from "
        f"{loss_before:.3f} to {best['best_eval_loss']:.3f} nats per token** "
        f"(perplexity {math.exp(loss_before):.1f} to {math.exp(best['best_eval_loss']):.2f}), "
        f"after {best['best_step']} of {n_steps} steps. {n_trainable:,} weights were trained on "
        f"{n_tokens:,} tokens, {pace}. "
        "Whether the notes are right is for 04 to say."
        if best["best_eval_loss"] < loss_before
        else f"**No: the validation loss went from {loss_before:.3f} to "
        f"{best['best_eval_loss']:.3f}.** The adapter made the base worse on {len(valid)} notes."
    )
)

# %% [markdown]
# ## Limits
#
# What these curves do not show, and what this run missed:

# %%
after_best = final_loss - best["best_eval_loss"]
clipped = (train_loss["grad_norm"] > config.max_grad_norm).mean() if len(train_loss) else 0.0
display(
    Markdown(
        "- A loss scores each token given the right ones before it. A note that is written freely "
        "goes on from its own mistakes, and one wrong dose hardly moves the mean.\n"
        f"- The last validation loss is {after_best:.3f} above the one kept"
        f"{': the run was not too long' if after_best < 0.005 else ', so the run overfits late'}.\n"
        f"- In {100 * clipped:.0f}% of the logged steps the gradient was clipped to "
        f"{config.max_grad_norm:g}.\n"
        f"- Validation used {len(valid)} examples; its choice of a checkpoint is as coarse as "
        f"{n_validations} looks can be."
    )
)

# %% [markdown]
# ## Versions, time and memory

# %%
entry = step.finish(
    n_trainable=n_trainable,
    counted=counted,
    loss_before=loss_before,
    **best,
    final_eval_loss=final_loss,
    n_steps=n_steps,
    resumed_from=newest.name if newest else None,
    tokens_per_s=round(tokens_per_s, 1) if tokens_per_s else None,
    training_s=round(clock.seconds, 1),
)
display(
    Markdown(
        f"The notebook took {entry['seconds']:.0f} s on {torch.get_num_threads()} threads; peak "
        f"memory {entry['peak_memory_gib']:.2f} GiB."
    )
)
runs.environment_table()
