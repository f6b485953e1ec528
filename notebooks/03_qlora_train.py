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
batch_tokens = 0  # instead, if not 0: as many examples of like length as fit so many tokens
n_accumulation = 1  # batches before each step of the optimiser
n_validations = 2  # evenly spread; after each the weights are saved
n_valid = 16  # validation examples used each time
checkpoint_activations = False  # true: less memory for about 1.5 times the work
arithmetic = "auto"  # of matrix products: bf16, fp32, or auto; loss, norms, adapter stay fp32
keep = "lowest_loss"  # of validation; or last: the weights after the last step
adapter_dtype = "float32"  # in which the adapter is stored; bfloat16 halves the file
initial_adapter = ""  # such as models/mts: go on from it; empty: from an adapter that is zero
resume = False  # true: go on from the newest complete checkpoint

# %%
import shutil

import matplotlib.pyplot as plt
from IPython.display import Markdown, display

from medisum_utils import figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.runs import profiles

silence_clutter()
figures.use_style()

# %%
from peft import LoraConfig
from transformers import PrinterCallback

from medisum_utils.modelling import (
    checkpoints as saved,
    model as models,
    training,
    training_record,
    training_report,
)
from medisum_utils.modelling.adapter import ADAPTER_FILES
from medisum_utils.modelling.card import CARD_FILE, write_card
from medisum_utils.modelling.initial_adapter import start_from
from medisum_utils.modelling.prompt import PROMPT_FILE, Renderer, read_prompt
from medisum_utils.modelling.rendered import read_rendered
from medisum_utils.modelling.schedule import plan_schedule
from medisum_utils.modelling.token_batches import TokenBatchTrainer, count_batches

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
parameters = profiles.parameters_in("03_qlora_train", globals())
step = runs.start("03_qlora_train", profile, parameters, inputs)
train, valid = read_rendered(inputs[0]), read_rendered(inputs[1])[:n_valid]
base_model = read_prompt(rendered)["base_model"]
tokenizer = models.load_tokenizer(base_model)
renderer = Renderer.load(rendered, tokenizer)

# %% [markdown]
# Is the machine large enough? Better to find out now than an hour into the run.

# %%
device = models.pick_device(device)
dtype = "bfloat16" if device == "cuda" else "float32"  # of what is not quantised
bf16 = models.use_bf16(arithmetic, device)
adapter = runs.adapter_dir(profile)
weights_gib = models.weights_gib(models.load_config(base_model), dtype=dtype)
training.check_machine(weights_gib, device, adapter)

# %% [markdown]
# ## The base, in four bits
#
# NF4 stores each weight as one of 16 values, spaced so that normally distributed weights fall
# evenly on them; the scales of the blocks are quantised once more. Embeddings, norms and head stay
# as they are.

# %%
base = models.load_base(base_model, device=device, dtype=dtype)
base.config.use_cache = False  # a cache is for writing, not for training
base_sha256 = models.base_digest(base_model)
step.read_base(base_model, base_sha256)
n_base = training.count_weights(base)
training_report.base_table(base.config, n_base, weights_gib)

# %% [markdown]
# ## The adapter
#
# Beside each frozen matrix W stand B A, of rank r: the layer computes W x + (alpha / r) B A x. B
# begins as zero, so that training starts exactly at the base. All linear layers of the blocks get
# one, which mattered most in QLoRA's own comparison (its figure 2). No dropout: it is not needed
# for one or few passes, and without it the layers run faster.

# %%
lora = LoraConfig(
    r=lora_rank,
    lora_alpha=lora_alpha,
    target_modules="all-linear",  # every linear layer except the head
    lora_dropout=0.0,
    bias="none",
    task_type="CAUSAL_LM",
)

# %% [markdown]
# ## The schedule
#
# Validation happens at even distances and at the end; each time the adapter is saved, and the one
# that `keep` asks for becomes the adapter. The learning rate rises for a few steps, then falls
# in a straight line to zero.

# %%
padding = training.padding_for(bf16, device)
lengths = [len(example.input_ids) for example in train]
schedule = plan_schedule(
    count_batches(lengths, batch_size=batch_size, batch_tokens=batch_tokens, multiple=padding),
    n_epochs=n_epochs,
    n_accumulation=n_accumulation,
    n_validations=n_validations,
)
choices = {
    "max_steps": schedule.n_steps,
    "per_device_train_batch_size": batch_size,
    "gradient_accumulation_steps": n_accumulation,
    "learning_rate": learning_rate,
    "lr_scheduler_type": "linear",
    "warmup_steps": schedule.n_warmup,
    "max_grad_norm": 1.0,
    "weight_decay": 0.0,
    "bf16": bf16,
    "pad_to_multiple_of": padding,
    "activation_checkpointing": checkpoint_activations,
    "logging_steps": schedule.log_every,
}

# %%
saving = {
    "eval_strategy": "steps",
    "eval_steps": schedule.validate_every,
    "per_device_eval_batch_size": batch_size,
    "save_steps": schedule.validate_every,
    "save_total_limit": 2,  # the newest and the best
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "seed": seed,
}
checkpoints = adapter / "checkpoints"
config = training.default_sft_config(checkpoints, device, **choices, **saving)
training_report.choices_table({**choices, **saving})

# %% [markdown]
# ## What the weights depend on
#
# Base, prompt, data and settings go into a record beside the checkpoints now and beside the adapter
# at the end. An adapter is used only with what it was trained with, and `resume` goes on only if
# nothing of it has changed; no report would show that a run mixed two settings.

# %%
settings = training_record.settings_of(parameters, lora, config, dtype)
record = training_record.describe(base_model, runs.processed_dir(profile), settings)
newest = saved.checkpoint_to_resume(checkpoints, record) if resume else None
n_done = saved.step_of(newest) if newest else 0
resumed_from = newest.name if newest else None
plan = training_report.plan_sentence(resumed_from, n_done, schedule.n_steps, resume=resume)
display(Markdown(plan))

# %% [markdown]
# ## The trainer
#
# The examples go in as token ids with labels: nothing is tokenised a second time. A loss that is no
# number stops the run, and the losses go to a file as they come.

# %%
clock = training.StepClock()
trainer = TokenBatchTrainer(
    batch_tokens=batch_tokens,  # with 0 it is TRL's own SFTTrainer
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
unmasked = training.drop_right_padding_mask(trainer.model)  # the same loss, faster
training.compute_loss_on_labels_only(device)  # likewise
training.keep_freed_memory(device)  # likewise
started_from = "the base"
if initial_adapter:
    tested = runs.test_sources(profile)
    start_from(trainer.model, initial_adapter, base_sha256=base_sha256, test_sources=tested)
    started_from = f"the base with `{initial_adapter}`"

# %% [markdown]
# Does the trainer hold what 02 handed over? Rows that lose their labels on the way would be dropped
# silently. So every row, token and label is counted again inside the trainer; and in one
# batch, as it reaches the model, as many tokens bear a label as the note has, and the last of them
# is the end of turn.

# %%
assert trainer.accelerator.num_processes == 1, "this notebook trains in one process"
counted = training.check_supervision(trainer, train, valid)
batch = next(iter(trainer.get_eval_dataloader()))
display(Markdown(training.check_batch(batch, valid, end_of_turn=renderer.stop_ids[0])))
training_report.counts_table(counted)

# %% [markdown]
# ## Before training
#
# The validation loss of what training starts from. An adapter that is still zero leaves the base
# as it is.

# %%
loss_before = trainer.evaluate()["eval_loss"]
said = f"Validation loss of {started_from}: **{loss_before:.3f}** nats per token of a note."
display(Markdown(said))

# %% [markdown]
# ## Training
#
# The adapter of an earlier run stays until this one is complete. Old checkpoints are deleted right
# before the first step, and only without `resume`; with it, broken ones are set aside.

# %%
if resume:
    for message in saved.set_incomplete_aside(checkpoints):
        display(Markdown(message))
elif checkpoints.exists():
    shutil.rmtree(checkpoints)
runs.write_json(checkpoints / training_record.RECORD_FILE, record)
n_tokens_before = saved.load_state(newest).num_input_tokens_seen if newest else 0
session_s = 0.0
if n_done < schedule.n_steps:
    result = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    session_s = result.metrics["train_runtime"]
else:
    trainer.state = saved.load_state(newest)
assert trainer.state.global_step == schedule.n_steps

# %% [markdown]
# The checkpoint that is kept becomes the adapter, with prompt, log, record and a
# model card beside it.

# %%
chosen = saved.kept_checkpoint(checkpoints, trainer.state, keep)
log = trainer.state.log_history
(staged,) = {step.stage(adapter / name).parent for name in saved.ADAPTER_AND_BESIDE}
saved.save_adapter(chosen, staged, rendered / PROMPT_FILE, record, log)
write_card(step.stage(adapter / CARD_FILE), staged, profile)
train_loss, valid_loss = training_report.loss_tables(log)
outcome = training_report.Outcome(
    loss_before=loss_before,
    losses=dict(zip(valid_loss["step"], valid_loss["eval_loss"], strict=True)),
    kept_step=saved.step_of(chosen),
    n_steps=schedule.n_steps,
    n_valid=len(valid),
    n_trainable=n_trainable,
    n_base=n_base,
    n_tokens=trainer.state.num_input_tokens_seen,
)

# %% [markdown]
# ## Did it learn?
#
# Both curves fall together while the model learns what carries over; where the validation loss
# turns up while the training loss still falls, it learns the training notes by heart. The loss is
# on a logarithmic axis: equal distances are equal factors.

# %%
fig, axis = plt.subplots()
step_size = training_report.step_size(batch_size, batch_tokens, n_accumulation)
training_report.draw_losses(axis, train_loss, valid_loss, outcome, step_size)
figures.save(fig, step, "03_loss")
plt.show()

# %% [markdown]
# Every validation, with the perplexity (how many tokens the model hesitates between) and the share
# of note tokens that it would have written itself, given the right ones before:

# %%
training_report.validations_table(valid_loss, outcome.kept_step)

# %% [markdown]
# ## What it cost
#
# Training time counts the optimiser's steps alone; validating and saving come on top.

# %%
session = training_report.Session(
    n_steps=clock.n_steps,
    n_tokens=outcome.n_tokens - n_tokens_before,
    training_s=clock.seconds,
    total_s=session_s,
    device=device,
)
adapter_mib = step.stage(adapter / ADAPTER_FILES[1]).stat().st_size / 2**20
answer.update(Markdown(training_report.verdict(outcome, session)))
training_report.cost_table(outcome, session, adapter_mib)

# %% [markdown]
# ## Limits
#
# What these curves do not show, and what this run missed:

# %%
missed = training_report.limits(
    outcome, train_loss, max_grad_norm=config.max_grad_norm, n_validations=n_validations
)
display(Markdown(missed))

# %% [markdown]
# ## Versions, time and memory

# %%
entry = step.finish(
    n_trainable=n_trainable,
    counted=counted,
    loss_before=loss_before,
    kept_step=outcome.kept_step,
    kept_eval_loss=outcome.kept_loss,
    checkpoint=runs.shown_path(chosen),
    n_steps=schedule.n_steps,
    resumed_from=resumed_from,
    tokens_per_s=round(session.tokens_per_s, 1) if session.tokens_per_s else None,
    training_s=round(session.training_s, 1),
)
display(Markdown(training_report.footer(entry)))
runs.environment_table()
