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
# # 00 Tiny base: can a model of a few megabytes look back and copy?
#
# Where there is no GPU and no licence for Llama-3, this project fine-tunes a small base that it
# ships: the same architecture, control tokens, template, NF4 and LoRA, only small. This notebook
# tells how that base was made, shows the log of the run, and measures the shipped weights anew.

# %% tags=["parameters"]
profile = "tiny-base"  # the report goes to reports/<profile>/
seed = 1017  # of the fresh checks; another than the recipe's
train = False  # true: make a base anew under models/<profile>/ with `recipe`, then report on it
recipe = "cpu"  # of recipes.yaml, a whole one; the shipped base is `gpu`, then `gpu-polish`
n_workers = 0  # processes that make documents while training
compile_model = True  # training only; needs a C compiler
base_model = "models/medisum-tiny-base"  # what is reported on where `train` is false
n_rows = 12  # rows of fresh questions of each kind
length = 1536  # tokens of such a row, as in the last stage
n_notes = 8  # notes that the base is asked for without an adapter
max_new_tokens = 160  # of such a note
instruction = "Summarise the visit as a SOAP note."  # the one of 02
show_text = True  # generated text only; false: no dialogue and no note appears
needs_memory_gib = 2.0

# %%
import html
import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

from medisum_utils import figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.scoring import rouge as metrics

silence_clutter()
figures.use_style()

# %%
from medisum_utils.evaluation import page
from medisum_utils.modelling.generation import generate_notes
from medisum_utils.modelling.model import load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.pretraining import prepare, probes, record as records
from medisum_utils.pretraining.ablation_record import (
    ABLATION,
    ablation_table,
    described,
    read_ablation,
)
from medisum_utils.pretraining.documents import Documents
from medisum_utils.pretraining.loop import Pretraining
from medisum_utils.pretraining.recipe import load_recipe
from medisum_utils.synthesis.encounters import generate

runs.seed_everything(seed)

# %% [markdown]
# ## The answer first
#
# The sentence below is filled in by the last cells, from the log and from what is measured here.

# %%
answer = display(Markdown("*Being measured.*"), display_id=True)

# %% [markdown]
# ## Why copying comes first
#
# A note is made of what was said: names, doses, sides, numbers. Whoever writes it must look back
# and copy. A small model that is trained on packed text learns the language long before that, and
# never needs to look back. What brings the ability is a curriculum that starts very short: repeat a
# span of what stands before it, at 16 tokens and with 64 symbols, where chance finds the rule; then
# longer rows and more symbols, step by step, each step gated; then lookups in registers of made-up
# people and medicines; then whole dialogues with tasks about them, and running text, with some copy
# tasks kept so that copying is not forgotten.
#
# Reading one fact on request is not enough for a whole note. So dialogues also come with *forms*
# (topics in a random order, each to be answered or, if it did not come up, passed over) and with
# *sheets*: 512 house styles drawn at random, each with its own titles, headers, order, joined lines
# and words for "none". A sheet's instruction says no more than the style's made-up name, as the
# instruction of a note does: which lines it has, the base must know by heart and fill from the
# dialogue alone.
#
# **What it never sees is a dialogue together with its note**, nor a generated note at all. A sheet
# has neither a note's section titles nor the headers of its lists, nor its fixed sentences (a test
# says so). Still, it is the nearest that pretraining comes to the task, and a reader should know
# it: some styles follow nearly a note's order, "onset", "severity" and "quality" name the same
# things in both, and the base has learnt to learn house styles. That of a SOAP note it never saw;
# writing it is left to QLoRA, and a check below shows that the base cannot.
#
# The last stage runs on weights rounded to NF4, with the exact ones updated underneath. A small
# model loses more by 4-bit weights than a large one; this one has learnt in them.
#
# What failed before is told at the end, and in the
# [model card](../models/medisum-tiny-base/README.md).
#
# ## The run
#
# With `train` the run happens here, and goes on from its last checkpoint if it was interrupted; the
# command `python -m medisum_utils pretrain` does the same without a notebook. Without it, the
# shipped base is reported on, from the log and the record that its run left beside the weights.

# %%
if train:
    out = runs.adapter_dir(profile)
    chosen = load_recipe(recipe)
    if not (out / "state.pt").exists():
        prepare.prepare(out / "prepared", chosen)
    texts_and_tokenizer = prepare.load_prepared(out / "prepared")
    options = {"name": recipe, "n_workers": n_workers, "compile": compile_model}
    Pretraining(chosen, texts_and_tokenizer, out, **options).train()

# %%
folder = runs.adapter_dir(profile) / "model" if train else runs.resolve(base_model)
inputs = [folder / name for name in (records.WEIGHTS, records.LOG, records.RECORD)]
inputs = [runs.require(path, "00_tiny_base", profile) for path in inputs]
parameters = {"seed": seed, "train": train, "recipe": recipe, "n_rows": n_rows, "length": length}
parameters |= {"n_notes": n_notes, "max_new_tokens": max_new_tokens, "instruction": instruction}
step = runs.start("00_tiny_base", profile, parameters, [] if train else inputs)
run = json.loads(inputs[2].read_text(encoding="utf-8"))
log = pd.DataFrame(records.read_log(inputs[1]))
settings, corpus = run["settings"], run["corpus"]
tokenizer = load_tokenizer(str(folder))

# %%
facts = {
    "recipe": run["recipe"],
    "machine": run["machine"],
    "tokens read": f"{run['tokens']:,}",
    "steps": f"{run['steps']:,}",
    "time": f"{run['seconds']:,.0f} s",
    "speed": f"{run['tokens'] / run['seconds']:,.0f} tokens/s",
    "parameters": f"{run['n_parameters']:,}",
    "weights": f"{run['weights_bytes'] / 1e6:.1f} MB of bf16",
    "processes that made documents": f"{run['n_loader_workers']}",
    "versions of that run": ", ".join(f"{name} {v}" for name, v in run["versions"].items()),
}
display(pd.DataFrame({"value": facts}))
remarks = run.get("remarks", ["Nothing to add."])
display(Markdown("What the record says beside these figures:\n\n- " + "\n- ".join(remarks)))

# %% [markdown]
# ## What it read
#
# Real text comes from the training splits of ACI-Bench and MTS-Dialog, without the encounters that
# any test repeats, and from the answers of MedQuAD; all three are CC BY 4.0, see the
# [data card](../data/README.md). Most running text is drawn from the answers: the clinical texts
# are few, and read too often they would be known by heart. Everything else is generated while it
# trains, and nothing of it twice. The real texts are only counted here, and only where the corpora
# are at hand.

# %%
counts = {
    "training dialogues": (corpus["n_training_dialogues"], corpus["shares"]["dialogues"]),
    "training notes, each alone": (corpus["n_training_notes"], corpus["shares"]["notes"]),
    "MedQuAD answers": (corpus["n_medquad_answers"], corpus["shares"]["answers"]),
}
table = pd.DataFrame(counts, index=["texts", "share of draws"]).T
has_corpora = bool(os.environ.get("MEDISUM_CORPORA"))
if has_corpora:
    real = list(prepare.real_texts()[0].values())
    assert [len(texts) for texts in real] == table["texts"].astype(int).tolist()
    table["tokens"] = [
        sum(
            len(ids)
            for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        )
        for texts in real
    ]
    said = "Counts and tokens were taken from the corpora now, with the base's own tokenizer."
else:
    said = (
        "`MEDISUM_CORPORA` names no folder here: the counts are the run's record, tokens unknown."
    )
display(Markdown(said))
table["share of draws"] = table["share of draws"].map("{:.0%}".format)
shown = [name for name in ("texts", "tokens") if name in table]
table[shown] = table[shown].astype(int).map("{:,}".format)
table

# %% [markdown]
# ## The curriculum
#
# One row a stage: the recipe's plan, and what the log says came of it. A stage of copy tasks alone
# ends as soon as its gate is reached; the others read all their tokens. Exact match is the share of
# whole spans, or whole answers, without one wrong token; it is that of the stage's last probe.

# %%
gate_name, gate = (settings["stages"][-1][key] for key in ("gate", "threshold"))
ends = log.groupby("stage", sort=False).last()
used = ends["tokens"].diff().fillna(ends["tokens"])
plan = pd.DataFrame(settings["stages"]).set_index("name").loc[ends.index]
curriculum = pd.DataFrame(
    {
        "row (tokens)": plan["length"],
        "rows": plan["n_rows"],
        "symbols": plan["n_symbols"].where(plan["copy_share"] == 1, "-"),
        "copy tasks": plan["copy_share"].map("{:.0%}".format),
        "planned (M tokens)": (plan["n_tokens"] / 1e6).round(1),
        "read (M tokens)": (used / 1e6).round(1),
        "copy exact": ends["copy_exact"].map("{:.3f}".format),
        **{
            f"{name} exact": ends[f"{name}_exact"].map("{:.3f}".format).replace("nan", "-")
            for name in ("register", gate_name)
        },
    }
)
curriculum

# %% [markdown]
# The stages with text draw their documents in these shares (a share of documents, not of tokens).
# *Register* is a list of made-up people, medicines and numbers with lookups in it. A *visit* is a
# dialogue with three sheets, a form and some facts to ask, cut where its row ends; in an *invented*
# one every name is random words, words in a row from a text, or a known name with a word changed,
# in a *blended* one each is drawn from another problem of the project's casebook, some made up,
# in a *casebook* one they are as the casebook has them. *Cloze* asks for the words after a given
# pair of words, or for the sentence around a word; *restore* for a passage of MedQuAD as it was
# before words were lost, numbers spoken and talk mixed in.

# %%
mixtures = pd.DataFrame({stage["name"]: stage["mixture"] for stage in settings["stages"]}).T
mixtures = mixtures.dropna(how="all")
shares = mixtures.div(mixtures.sum(axis=1), axis=0)
shares.map("{:.0%}".format).replace("nan%", "-")

# %% [markdown]
# ## The curves
#
# Tokens are on a logarithmic axis, since the copy stages take so few of them. Dotted lines are the
# borders of the stages. The loss of different stages is of different tasks: it jumps at each border
# and says little across them.


# %%
def stage_borders(ax, labels=True):
    """Dotted lines between stages, and their names above the axes."""
    starts = [log["tokens"].iloc[0], *ends["tokens"].iloc[:-1]]
    for name, start, end in zip(ends.index, starts, ends["tokens"], strict=True):
        ax.axvline(end, color="#999999", lw=0.8, ls=":")
        if labels:
            middle = np.sqrt(start * end)
            place = ax.get_xaxis_transform()
            ax.text(middle, 1.02, name, rotation=90, ha="center", fontsize=6.5, transform=place)
    ax.set_xscale("log")
    ax.set_xlabel("tokens read (logarithmic)")


# %%
fig, ax = plt.subplots(figsize=(8, 3.2))
ax.plot(log["tokens"], log["loss"], color=figures.colour_of("train"), marker="o", ms=3)
stage_borders(ax)
ax.set_ylabel("loss (nats a weighted token)")
ax.set_ylim(bottom=0)
title = f"From {log['loss'].iloc[0]:.1f} to {log['loss'].iloc[-1]:.2f}: a new task at each border"
ax.set_title(title, pad=50)
figures.save(fig, step, "00_loss")

# %% [markdown]
# The probes ask for whole spans on rows that no training step saw. People, medicines and numbers of
# *register* are drawn at random, and so are the names of *invented*, of random words, of words in a
# row from a text, or a known name with a word changed: knowing them helps little or not at all. The
# names of *casebook* were seen. Each answer counts only if its every token is right: a sheet is a
# whole page, and a restored passage may be whole sentences whose lost words must be guessed. Few
# are asked of each at a probe, so those two curves are rough. The gate is the dashed line: below
# it, no fine-tuning was to begin.

# %%
probed = settings["stages"][-1]["probes"]
looks = {"copy": ("#E69F00", "s"), "register": ("#0072B2", "o"), "restore": ("#999999", "P")}
looks |= {"invented_questions": ("#D55E00", "^"), "casebook_questions": ("#009E73", "D")}
looks |= {"invented_sheet": ("#CC79A7", "v"), "casebook_sheet": ("#56B4E9", "x")}
looks = {name: look for name, look in looks.items() if name == "copy" or name in probed}
fig, ax = plt.subplots(figsize=(8, 3.6))
for name, (colour, marker) in looks.items():
    seen = log.dropna(subset=f"{name}_exact")
    label = name.replace("_", " ")
    ax.plot(seen["tokens"], seen[f"{name}_exact"], color=colour, marker=marker, ms=3, label=label)
ax.axhline(gate, color="black", lw=1, ls="--", label=f"gate of {gate_name}, {gate:.0%}")
stage_borders(ax)
ax.set(ylabel="share of whole spans right", ylim=(0, 1.02))
passed = log[log[f"{gate_name}_exact"] >= gate]["tokens"].iloc[0]
ax.set_title(
    f"Facts under names that nobody has: {gate:.0%} right after {passed / 1e6:.0f} M tokens", pad=50
)
ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
figures.save(fig, step, "00_probes")

# %% [markdown]
# ### The end of the log

# %%
last = log.iloc[-1]
final = {f"{name}, exact match": f"{last[f'{name}_exact']:.3f}" for name in looks}
final["loss"] = f"{last['loss']:.3f}"
assert run["tokens"] == last["tokens"]
assert last[f"{gate_name}_exact"] >= gate, "expected the gate to be reached"
pd.DataFrame({"last probe of the run": final})

# %% [markdown]
# ## Measured now, from the weights
#
# The log is the run's own word. So the weights are loaded as QLoRA loads them, in NF4 with double
# quantisation, and as they are stored, computed in fp32, and asked fresh questions: documents of
# another seed than the run's. An answer counts if its every token is the most likely one after all
# that stands before it, which is what greedy decoding writes.
#
# *Invented* mixes its made-up names with plain words, as in training, and *restore* spoils passages
# of the same texts; they come from the corpora where these are at hand, else from generated
# encounters, which have words of the casebook alone.

# %%
if has_corpora:
    words, words_from = real[2], "MedQuAD answers"
else:
    made = generate(200, seed=seed, split="train")
    words, words_from = [encounter.dialogue_text for encounter in made], "generated encounters"
blocks = {}
for kind in probed:
    shape = {"n_rows": n_rows, "length": length, "mixture": {kind: 1.0}, "seed": seed}
    blocks[kind] = Documents(tokenizer, {"answers": words}, **shape).block(0)
assert seed != settings["seed"], "expected fresh questions, got the seed of the run"
Markdown(f"Plain words from: {words_from}.")

# %%
models = {
    "NF4": load_base(str(folder), quantize=True).eval(),
    "stored": load_base(str(folder), quantize=False, dtype="float32").eval(),
}
counted = {
    (kind, name): probes.answers_right(model, block)
    for kind, block in blocks.items()
    for name, model in models.items()
}

# %% [markdown]
# The two agree so closely because the stored weights lie on NF4's grid already: the last stage was
# trained on rounded weights, and those were saved. Answers about one dialogue are not independent,
# so the 95% intervals draw whole rows anew (percentile bootstrap, 2,000 draws).

# %%
draws = np.random.default_rng(seed).integers(0, n_rows, (2000, n_rows))
fresh = pd.DataFrame(index=list(blocks))
fresh["answers"] = [int(counted[kind, "NF4"][1].sum()) for kind in blocks]
for name in models:
    shares_right, ranges = [], []
    for kind in blocks:
        right, asked = counted[kind, name]
        low, high = np.quantile(right[draws].sum(1) / asked[draws].sum(1), [0.025, 0.975])
        shares_right.append(right.sum() / asked.sum())
        ranges.append(f"{low:.3f} to {high:.3f}")
    fresh[f"exact, {name}"], fresh[f"95%, {name}"] = shares_right, ranges
fresh.round(3)

# %% [markdown]
# ## What it does not know
#
# The base is asked for notes as 02 renders the question, without an adapter. It knows sheets in 512
# styles and none called a SOAP note, so it answers in some style or other, with facts of the
# dialogue. ROUGE-1 says how many words of the reference it hits, in whatever order; the encounters
# are generated, of the validation split.

# %%
asked_for = list(generate(n_notes, seed=seed, split="valid"))
renderer = Renderer(tokenizer, instruction)
dialogues = [encounter.dialogue_text for encounter in asked_for]
written = generate_notes(models["stored"], renderer, dialogues, max_new_tokens=max_new_tokens)
references = [encounter.note_text for encounter in asked_for]
rouge = metrics.rouge_scores(references, [each.text for each in written])
rouge1 = metrics.interval(rouge["rouge1"])
heads = ("Subjective:", "Objective:", "Assessment:", "Plan:")
n_whole = sum(all(head in each.text for head in heads) for each in written)

# %%
pd.Series(
    {
        "notes asked for": n_notes,
        "with all four SOAP headers": n_whole,
        "ended by themselves": sum(each.finished for each in written),
        "mean length (tokens)": f"{np.mean([each.n_tokens for each in written]):.0f}",
        "ROUGE-1, mean": f"{rouge1['mean']:.3f}",
        "ROUGE-1, 95%": f"{rouge1['low']:.3f} to {rouge1['high']:.3f}",
    }
).to_frame("base without adapter")

# %% [markdown]
# The first of them, not chosen: its reference, and what the base wrote.

# %%
if show_text:
    cell = "<td style='vertical-align:top;text-align:left;white-space:pre-wrap'>"
    texts = [asked_for[0].note_text, written[0].text or "(nothing)"]
    row = "".join(f"{cell}{html.escape(text)}</td>" for text in texts)
    style = "table-layout:fixed;width:100%;overflow-wrap:anywhere"
    head = "<th>reference note</th><th>base without adapter</th>"
    display(HTML(f"<table style='{style}'><tr>{head}</tr><tr>{row}</tr></table>"))
else:
    display(Markdown("*Texts are not shown: `show_text` is false.*"))

# %% [markdown]
# ## What another doubling would buy
#
# Trainings with one thing changed at a time, each with several seeds; a seed draws the training
# data, the adapter's first weights and the order. Rows compare within a table, not across tables.
# Trials choose, so they look at validation only: the encounters below are not those that 04 scores,
# and neither are the figures. `python -m medisum_utils ablate` makes such a table anew.

# %%
trials_path = folder / ABLATION
groups = read_ablation(trials_path) if trials_path.exists() else []
for group in groups:
    display(Markdown(described(group)))
    page.show(ablation_table(group))
if not groups:
    display(Markdown("*There are no trials of this base.*"))

# %% [markdown]
# ## Limits
#
# - It is a few million parameters: it knows next to nothing of medicine, and its language is that
#   of short visits in English. Outside of that, expect nonsense.
# - The questions above are of the kind that it was trained on, with other names. High figures say
#   that it can look back and copy in such texts; they do not say that it understands a dialogue.
# - Rows and order of the training data follow from the recipe's seed, but a GPU adds in no fixed
#   order: a second run gives another model of, presumably, the same ability. It was made once.
# - The real texts are research corpora, partly acted, partly written for the purpose.
# - Not for clinical use, and never to be used without a fine-tuned adapter.
#
# ## What failed before
#
# - A trial of 5.5 million parameters and 4.2 million tokens, trained on packed text alone, wrote
#   fluent notes with wrong facts after its fine-tuning: it had never needed to look back.
# - A base that could read one fact on request, but had seen no forms or sheets, wrote notes full of
#   topics that nobody had talked about.
# - A base that had read the clinical texts some two hundred times knew them by heart: fine-tuning
#   on the same encounters fell to a training loss of 0.6 and a validation loss of 3.6.
# - A base that also read generated notes, each alone, learnt to write them without looking:
#   fine-tuned with some seeds, it guessed the age in a note's first line before reading it and got
#   its first digit wrong in nine of ten notes. Hence this one reads none.
#
# ## Versions and the end

# %%
figures_now = {
    f"{kind}_exact_{name.lower()}": float(fresh.loc[kind, f"exact, {name}"])
    for kind in blocks
    for name in models
}
entry = step.finish(
    outputs=inputs if train else (),
    n_parameters=run["n_parameters"],
    tokens=run["tokens"],
    base_rouge1=rouge1["mean"],
    **figures_now,
)
runs.environment_table()

# %%
first_gate = ends.iloc[0]
summary = (
    f"Yes. The base has **{run['n_parameters'] / 1e6:.2f} million parameters** "
    f"({run['weights_bytes'] / 1e6:.1f} MB) and read {run['tokens'] / 1e6:.0f} million tokens in "
    f"{run['seconds']:,.0f} s on one {run['machine']}. Asked now, in the NF4 that QLoRA trains "
    f"on, it gets **{fresh.loc[gate_name, 'exact, NF4']:.1%} of "
    f"{fresh.loc[gate_name, 'answers']:,} questions about fresh dialogues under random, "
    f"borrowed or changed names** right to the last token, where the gate was {gate:.0%}, and "
    f"{fresh.loc['register', 'exact, NF4']:.1%} of {fresh.loc['register', 'answers']:,} lookups in "
    f"registers of made-up people; of {fresh.loc['casebook_sheet', 'answers']} whole sheets "
    f"{fresh.loc['casebook_sheet', 'exact, NF4']:.0%} without a fault. Copying at 16 tokens was "
    f"learnt after {first_gate['tokens'] / 1e6:.1f} million tokens. Asked for a note without an "
    f"adapter it reaches ROUGE-1 {rouge1['mean']:.3f} (n = {n_notes}): it was never shown how."
)
assert fresh.loc[gate_name, "exact, NF4"] >= gate, "expected the gate to hold on fresh questions"
answer.update(Markdown(summary))
