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
# # 04 Evaluation: how good are the notes, and against what?
#
# This notebook lets the fine-tuned model write the notes of held-out encounters and scores them
# beside three baselines: the dialogue handed in as the note, the note of the most similar training
# encounter, and the base model without the adapter. Overlap of words (ROUGE) is one half of the
# answer; which facts are right, omitted or hallucinated is the other.

# %% tags=["parameters"]
profile = "tiny"  # whose adapter is judged: models/<profile>/
seed = 17  # of the bootstrap, and of what is drawn to be shown
test_splits: str = ""  # such as "test,test_unseen"; empty: all tests that 01 made, first read here
n_test = 200  # encounters of each split, the first ones; 0 takes all
n_base = 20  # how many of them the base without adapter writes too, at length; 0 takes all
max_new_tokens = 288  # longest note, tokens; scored here, served so by 05
batch_size = 32  # notes written at once
n_worst = 5  # worst notes shown in full
n_examples = 12  # omitted and hallucinated facts shown, where 01 says that text may be shown
show_progress = False  # true: a bar in the terminal while notes are written

# %%
import functools

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Markdown, display

from medisum_utils import evaluation, figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.encounter import read_jsonl
from medisum_utils.evaluation import (
    agreement as calibration,
)
from medisum_utils.evaluation import (
    figures as evaluation_figures,
)
from medisum_utils.evaluation import (
    note_views,
    published,
    systems,
    tables,
)
from medisum_utils.evaluation import (
    text as evaluation_text,
)
from medisum_utils.modelling import checkpoints, training_record
from medisum_utils.modelling import model as models
from medisum_utils.modelling.decoding import DECODING_FILE, Decoding, write_decoding
from medisum_utils.runs import overview, profiles
from medisum_utils.serving.writer import trained_base

figures.use_style()
runs.seed_everything(seed)
silence_clutter()

# %% [markdown]
# ## The answer first
#
# The sentences below are filled in by a later cell, from what was measured.

# %%
answer = display(Markdown("*Being measured.*"), display_id=True)

# %% [markdown]
# ## What is needed
#
# The adapter of 03, the base it was trained on, and the splits of 01. If one is missing, or is not
# what the step before wrote, this stops here and says which notebook to run again: an adapter is
# never scored on data, a base or a prompt other than its own.

# %%
about_splits = runs.read_split_manifest(profile)
show_text = runs.text_is_shown(profile)
adapter = runs.adapter_dir(profile)
adapter_files = [adapter / name for name in checkpoints.ADAPTER_AND_BESIDE]
for path in adapter_files:
    runs.require(path, "03_qlora_train", profile)
names = [name.strip() for name in test_splits.split(",") if name.strip()] or about_splits["tests"]
if unknown := set(names) - set(about_splits["tests"]):
    raise ValueError(f"expected tests of {about_splits['tests']}, got {sorted(unknown)}")
paths = {name: runs.processed_dir(profile) / f"{name}.jsonl" for name in ["train", *names]}
for path in paths.values():
    runs.require(path, "01_data", profile)
parameters = profiles.parameters_in("04_eval", globals())
inputs = [*paths.values(), runs.privacy_file(profile), *adapter_files]
step = runs.start("04_eval", profile, parameters, inputs)

# %%
base = trained_base(adapter)
base_sha256 = models.base_digest(base)
step.read_base(base, base_sha256)
data = training_record.data_digests(runs.processed_dir(profile))
training_record.check_adapter(adapter, base_sha256=base_sha256, data=data)

# %%
train = read_jsonl(paths["train"])
encounters = {name: read_jsonl(paths[name])[: n_test or None] for name in names}
known = all(evaluation.facts_known(part) for part in encounters.values())
display(
    Markdown(
        f"Training encounters for the nearest note: {len(train):,}. Held out: "
        + ", ".join(f"{len(part)} of `{name}`" for name, part in encounters.items())
        + f". Base model `{base}`, adapter `{runs.shown_path(adapter)}`."
    )
)

# %% [markdown]
# ## The notes are written
#
# **Copy** needs no model at all: the score that it reaches comes for free. **Nearest** takes
# the note of the training encounter with the most similar words (TF-IDF cosine); it shows what
# form alone brings, since its facts belong to somebody else.

# %%
notes = {}
likeness = {}
for name, part in encounters.items():
    most_similar, likeness[name] = systems.nearest_notes(train, part)
    notes[name] = {"copy": systems.copied(part), "nearest": most_similar}
    for system, texts in notes[name].items():
        path = runs.processed_dir(profile) / "predictions" / f"{name}_{system}.jsonl"
        systems.keep_texts(path, [encounter.id for encounter in part], texts)

# %% [markdown]
# **Base** and **fine-tuned** get the same prompt, the same 4-bit weights (dequantised, since
# decoding in NF4 is slower on a CPU) and the same decoding; the second has the adapter merged in.
# Their notes are kept below `data/processed/` and taken again only if weights, data, parameters and
# versions are all the same.
#
# Decoding is greedy, and no stretch of three or more tokens is written twice in a row, which is how
# a small model gets stuck.

# %%
choices = Decoding(max_new_tokens)
make = functools.partial(
    systems.ModelSystem, base=base, adapter=adapter, decoding=choices, batch_size=batch_size
)
written = systems.write_all(
    make,
    encounters,
    runs.processed_dir(profile) / "predictions",
    n_base=n_base,
    show_progress=show_progress,
)
for name in names:
    notes[name] |= {system: result.texts for system, result in written[name].items()}

# %% [markdown]
# ## Scores
#
# ROUGE is the F1 of each note without stemming, over the whole note, then the mean. Intervals are
# 95% by bootstrap over encounters (BCa, 9,999 resamples). Everything goes into `metrics.json` as
# fractions; its form is held by `medisum_utils/evaluation/metrics_schema.json`.
#
# Systems are compared on the same encounters alone: where one wrote fewer notes than there are
# encounters, all are scored once more on those that every one of them wrote.

# %%
scores = {name: evaluation.score_split(encounters[name], notes[name]) for name in names}
found = {name: evaluation.same_encounters(scores[name]) for name in names}
same = {name: part for name, part in found.items() if part is not None}
metrics = {
    "profile": profile,
    "model": base,
    "adapter": runs.shown_path(adapter),
    "adapter_sha256": runs.sha256_file(adapter / models.ADAPTER_FILES[1]),
    "data_sha256": evaluation.data_digest(list(paths.values())),
    "seed": seed,
    "splits": {
        name: evaluation.split_metrics(
            scores[name], same.get(name), runs.sha256_file(paths[name]), seed
        )
        for name in names
    },
}
for name in names:
    for system, result in written[name].items():
        metrics["splits"][name]["systems"][system]["decoding"] = {
            "seconds": round(result.seconds, 2),
            "n_tokens": result.n_tokens,
            "n_unfinished": result.n_unfinished,
            "n_cut_dialogues": result.n_cut_dialogues,
        }

# %%
first = names[0]
answer.update(Markdown(evaluation_text.answer(first, scores[first], same.get(first), seed)))

# %% [markdown]
# ## Results
#
# Baselines first; below each mean its 95% interval. A dash stands where a measure has no meaning. A
# system that wrote notes of the first encounters alone stands in the second table, where all have
# the same ones.

# %%
display(HTML(tables.as_html(tables.results_table(metrics["splits"]))))
if same:
    beside = tables.results_table(overview.same_encounters(metrics["splits"]))
    display(Markdown(evaluation_text.first_encounters(same)), HTML(tables.as_html(beside)))

# %% [markdown]
# The same as a figure. Each split has its own axes; a system is clearly better than another where
# their intervals do not overlap.

# %%
called = {system: tables.name_of(system) for system in systems.SYSTEMS}
height = 1.0 + 2.2 * len(names)
fig, axes = plt.subplots(len(names), 1, figsize=(7.2, height), sharex=True, squeeze=False)
for ax, name in zip(axes[:, 0], names, strict=True):
    entry = metrics["splits"][name]
    evaluation_figures.dots(ax, evaluation_figures.rouge_rows(entry), called)
    ax.set_title(evaluation_figures.rouge_title(name, entry))
axes[-1, 0].set(xlabel="mean F1 over the notes (fraction), with 95% interval", xlim=(0, 1))
evaluation_figures.legend_below(axes[0, 0], len(called))
figures.save(fig, step, "04_rouge")

# %% [markdown]
# Differences are paired by encounter, which takes out that some visits are harder than others. p is
# two-sided, of a permutation test; it says nothing about size, which the difference says.

# %%
display(HTML(tables.as_html(tables.difference_table(scores, "finetuned", seed))))
if same:
    display(HTML(tables.as_html(tables.difference_table(same, "finetuned", seed, ["base"]))))

# %%
stemmed = tables.stemmed_table(metrics["splits"])
if len(stemmed):
    display(
        Markdown(
            "Each note here is one section, scored without its header line. The field's figures "
            "for this corpus are **with stemming** on the whole text, which adds a point or two; "
            "they are to be held against this table and no other."
        ),
        HTML(tables.as_html(stemmed)),
    )
else:
    display(Markdown("No stemmed scores here: they are made for one-section corpora only."))

# %% [markdown]
# ## Section by section
#
# A section is scored over the notes whose reference has it; one that lacks it scores 0. *lacking*
# counts those. A dialogue has no sections: its copy is in this table only where each note is one.

# %%
for name in names:
    display(Markdown(f"**`{name}`**"))
    display(HTML(tables.as_html(tables.section_table(metrics["splits"][name], scores[name]))))

# %% [markdown]
# ## Facts
#
# ROUGE counts words; a dose that is wrong costs it one word among all the others. So every fact is
# checked as well.

# %%
display(Markdown(evaluation_text.HOW_FACTS_ARE_CHECKED[known]))
display(HTML(tables.as_html(tables.facts_table(metrics["splits"]))))

# %% [markdown]
# By kind of fact, for the fine-tuned model. Rates are over all facts of a kind in the split, with
# intervals from resampling notes; *written* counts what the model stated.

# %%
for name in names:
    title = f"**`{name}`**, fine-tuned"
    if not known:
        title += ": share of the facts spoken in the dialogue that the note leaves out"
    display(Markdown(title))
    display(HTML(tables.as_html(tables.kind_table(metrics["splits"][name], "finetuned"))))

# %%
rate, rate_title = ("f1", "fact F1") if known else ("omission", "share of spoken facts left out")
fig, axes = plt.subplots(1, len(names), figsize=(7.2, 5.2 if known else 3.0), sharey=True)
for ax, name in zip(np.atleast_1d(axes), names, strict=True):
    rows = evaluation_figures.kind_rows(metrics["splits"][name], rate)
    evaluation_figures.dots(ax, rows, called)
    kinds = {kind: estimates["finetuned"]["mean"] for kind, estimates in rows.items()}
    worst = (min if known else max)(kinds, key=kinds.get)
    ax.set_title(f"{name}: weakest in\n{worst} ({kinds[worst]:.2f})")
    ax.set(xlabel=f"{rate_title}, 95% interval", xlim=(-0.02, 1.02))
evaluation_figures.legend_below(ax, len(ax.get_legend_handles_labels()[1]))
figures.save(fig, step, "04_facts_by_kind")

# %% [markdown]
# ## Where is it weak? By length and by kind of visit
#
# Long conversations hold more facts and put them further apart. The thirds are of the split, by the
# dialogue's words; small groups have wide intervals, and are no ranking.

# %%
for name in names:
    lengths = tables.lengths_of(encounters[name])
    display(Markdown(f"**`{name}`** by the length of the dialogue"))
    for measure in ("rouge1", "f1"):
        by_length = tables.group_table(scores[name], lengths, measure, seed)
        display(HTML(tables.as_html(by_length)))

# %%
for name in names:
    conditions = [tables.condition_of(encounter) for encounter in encounters[name]]
    display(Markdown(f"**`{name}`** by condition"))
    by_condition = tables.group_table(scores[name], conditions, "f1", seed)
    display(HTML(tables.as_html(by_condition)))

# %% [markdown]
# ## What ROUGE does not see
#
# Length and form first: a note as long as its reference, in the same order and the same phrases,
# earns ROUGE before it says anything about this patient, as the nearest note shows.

# %%
for name in names:
    display(Markdown(f"**`{name}`**"))
    display(HTML(tables.as_html(tables.style_table(scores[name]))))

# %% [markdown]
# Then a test of the judges themselves: each reference with its numbers, sides and denials changed
# (every digit by one, left for right, "denies" for "reports", "no" taken out) is scored as if it
# were a note. It is wrong wherever that matters to a patient.

# %%
altered = [note_views.altered(text) for text in scores[first].references]
probe = evaluation.score_split(encounters[first], {"altered": altered}).systems["altered"]
cosine = float(np.mean(likeness[first]))
display(Markdown(evaluation_text.judges_tested(first, scores[first], probe, cosine)))

# %% [markdown]
# ## What it omits, what it hallucinates

# %%
for name in names:
    wrong = note_views.wrong_facts(scores[name], "finetuned")
    for side, items in wrong.items():
        kinds = f": most often {note_views.most_common_kinds(items, 4)}" if known else ""
        n_notes = len({item[0] for item in items})
        display(Markdown(f"**`{name}`, {side}**: {len(items)} in {n_notes} notes{kinds}."))
        if show_text and items:
            display(HTML(note_views.examples_table(items, n_examples, seed)))

# %% [markdown]
# ## Best, median and worst notes
#
# By fact F1, in full. Underlined: what only the reference has at that place. Bold: what only the
# written note has.

# %%
shown = note_views.chosen_notes(scores[first], "finetuned", "f1", n_worst)
if show_text:
    for title, place in shown.items():
        display(HTML(note_views.side_by_side(scores[first], "finetuned", place, title)))
else:
    worst_f1 = [scores[first].systems["finetuned"].facts["f1"][place] for place in shown.values()]
    display(
        Markdown(
            "*No note of this data is shown: see `show_text` in 01.* Fact F1 of the best, "
            f"the median and the worst notes: {', '.join(f'{value:.2f}' for value in worst_f1)}."
        )
    )

# %% [markdown]
# ## Beside published systems
#
# ACI-Bench's authors released what published systems wrote for its first test. Where that is the
# split at hand, they are scored here by the same code and the published conventions, in percent.

# %%
mirror = published.corpora_folder()
aci = [name for name in names if published.is_aci_test1(encounters[name])]
for name in aci if mirror else []:
    own = {called[system]: notes[name][system] for system in scores[name].complete}
    display(published.published_table(mirror, encounters[name], own, seed).round(2))
if not (aci and mirror):
    why = "the corpora's folder is not set" if aci else "none of these splits is that test"
    display(Markdown(f"Not applicable here: {why}. For MTS-Dialog's tests no output is released."))

# %% [markdown]
# ## Do people agree with the fact score?
#
# People counted the facts of automatic summaries of MTS-Dialog (here: half of that study, the one
# that the fact score was developed on). Pearson r with their counts, with intervals from resampling
# dialogues; beside it the scores that know no facts. It concerns the fact score of real notes.

# %%
study_path = mirror / calibration.STUDY if mirror else None
if study_path is not None and study_path.is_file():
    agreement = calibration.calibration_table(calibration.load_study(study_path), seed=seed)
    fact_rows = agreement[agreement["people"].isin(["FactualF1", "OmissionRate"])]
    rows = {}
    for row in fact_rows.to_dict("records"):
        label = "facts" if row["score"].startswith("facts") else row["score"]
        estimate = {"mean": row["r"], "low": row["low"], "high": row["high"]}
        rows.setdefault(label, {})[row["people"]] = estimate
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    people = {"FactualF1": "with factual F1", "OmissionRate": "with omission rate"}
    evaluation_figures.dots(ax, rows, people)
    ax.set(xlabel="Pearson r with people's counts, 95% interval", xlim=(0, 1))
    r = {who: rows["facts"][who]["mean"] for who in people}
    ax.set_title(f"The fact score agrees with people at r = {r['FactualF1']:.2f}")
    evaluation_figures.legend_below(ax, 2)
    figures.save(fig, step, "04_people")
else:
    display(Markdown("Not available: the study is read from the folder `MEDISUM_CORPORA` names."))

# %% [markdown]
# ## Time and tokens
#
# Decoding alone, without loading the model. A note that reached the limit of tokens is unfinished:
# it never said that it was done.

# %%
display(Markdown(f"Greedy, at most {max_new_tokens} tokens."))
display(HTML(tables.as_html(tables.decoding_table(written))))

# %%
runs.write_json(step.stage(runs.report_dir(profile) / "metrics.json"), metrics)
write_decoding(step.stage(adapter / DECODING_FILE), choices, adapter)
entry = step.finish(
    n_encounters={name: len(part) for name, part in encounters.items()},
    decoding_s=round(sum(r.seconds for part in written.values() for r in part.values()), 2),
    n_unfinished={name: written[name]["finetuned"].n_unfinished for name in names},
)

# %% [markdown]
# ## Limits

# %%
n_cut = sum(entry["n_unfinished"].values())
n_cut_dialogues = sum(written[name]["finetuned"].n_cut_dialogues for name in names)
n_notes = sum(len(written[name]["finetuned"].notes) for name in names)
display(
    Markdown(
        f"- {n_cut} of {n_notes} notes of the fine-tuned model reached {max_new_tokens} tokens "
        "without an end; they are scored as they are.\n"
        f"- {n_cut_dialogues} of the {n_notes} dialogues were too long for the base and read with "
        "turns left out in the middle; the server refuses such a dialogue.\n"
        "- The intervals say how sure the mean is for encounters like these, of one training run "
        "with one seed; they know nothing of another run, another generator or a real clinic.\n"
        + (
            "- These encounters are generated, more regular than speech, and references and fact "
            "check share one grammar: a good score here promises nothing for real notes.\n"
            if known
            else "- References are one clinician's way to write; a good note may differ. The fact "
            "score is a heuristic that agrees with people only as far as shown above.\n"
        )
        + "- No clinician has read these notes. Not for clinical use."
    )
)

# %%
display(
    Markdown(
        f"This notebook took {entry['seconds']:.0f} s, {entry['decoding_s']:.0f} s of decoding "
        f"(notes taken again count what they once took); its peak memory was "
        f"{entry['peak_memory_gib']:.2f} GiB on `{entry['device']}`."
    )
)
runs.environment_table()
