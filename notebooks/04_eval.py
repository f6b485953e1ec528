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
max_new_tokens = 288  # longest part of a note, tokens; scored here, served so by 05
n_candidates = 1  # drawn for each part, of which the consensus is taken; 1 decodes greedily
temperature = 0.7  # of what is drawn
min_p = 0.05  # tokens less likely than this share of the likeliest one are never drawn
batch_size = 32  # notes written at once
n_worst = 5  # worst notes shown in full
n_examples = 12  # omitted and hallucinated facts shown, where 01 says that text may be shown

# %%
import numpy as np
from IPython.display import Markdown, display

from medisum_utils import evaluation, figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.data.corpora_fetch import corpora_folder
from medisum_utils.encounter import read_jsonl
from medisum_utils.evaluation import (
    agreement,
    note_views,
    page,
    plots,
    published,
    quoted,
    real_text,
    systems,
    tables,
    text as sentences,
    truth,
)
from medisum_utils.evaluation.dangers import danger_table, dangers
from medisum_utils.modelling import checkpoints, model, training_record
from medisum_utils.modelling.adapter import ADAPTER_FILES, trained_base
from medisum_utils.modelling.card import CARD_FILE, write_card
from medisum_utils.modelling.decoding import DECODING_FILE, Decoding, write_decoding
from medisum_utils.modelling.prompt import read_prompt
from medisum_utils.pretraining import ablation_record
from medisum_utils.runs import profiles, results

figures.use_style()
runs.seed_everything(seed)
silence_clutter()

# %% [markdown]
# ## The answer first
#
# Filled in by a later cell, from what was measured.

# %%
answer = display(Markdown("*Being measured.*"), display_id=True)

# %% [markdown]
# ## What is needed
#
# The adapter of 03, the base it was trained on, and the splits of 01. If one is missing, or is not
# what the step before wrote, this stops here and says which notebook to run again: an adapter is
# never scored on data, a base or a prompt other than its own.

# %%
split_manifest = runs.read_split_manifest(profile)
show_text = runs.text_is_shown(profile)
adapter = runs.adapter_dir(profile)
adapter_files = [adapter / name for name in checkpoints.ADAPTER_AND_BESIDE]
for path in adapter_files:
    runs.require(path, "03_qlora_train", profile)
names = evaluation.named_tests(test_splits, split_manifest["tests"])
paths = {name: runs.processed_dir(profile) / f"{name}.jsonl" for name in ["train", *names]}
for path in paths.values():
    runs.require(path, "01_data", profile)
parameters = profiles.parameters_in("04_eval", globals())
inputs = [*paths.values(), runs.privacy_file(profile), *adapter_files]
step = runs.start("04_eval", profile, parameters, inputs)

# %%
base = trained_base(adapter)
base_sha256 = model.base_digest(base)
step.read_base(base, base_sha256)
data = training_record.data_digests(runs.processed_dir(profile))
record = training_record.check_adapter(adapter, base_sha256=base_sha256, data=data)
train = read_jsonl(paths["train"])
encounters = {name: read_jsonl(paths[name])[: n_test or None] for name in names}
encounters = systems.with_named_sections(encounters, read_prompt(adapter)["parts"])
names, titles = list(encounters), results.split_titles(encounters)
facts_are_known = all(evaluation.facts_known(part) for part in encounters.values())
counts = results.listed(f"{len(part)} of `{titles[name]}`" for name, part in encounters.items())
page.say(f"Held out: {counts}. Base model `{base}`, adapter `{runs.shown_path(adapter)}`.")

# %% [markdown]
# ## The notes are written
#
# **Copy** needs no model at all: the score that it reaches comes for free. **Nearest** takes
# the note of the training encounter with the most similar words (TF-IDF cosine); it shows what
# form alone brings, since its facts belong to somebody else.

# %%
kept = runs.processed_dir(profile) / "predictions"
notes, likeness = {}, {}
for name, part in encounters.items():
    notes[name], likeness[name] = systems.baselines(train, part)
    for system, texts in notes[name].items():
        ids = [encounter.id for encounter in part]
        systems.keep_texts(kept / f"{name}_{system}.jsonl", ids, texts)

# %% [markdown]
# **Base** and **fine-tuned** get the same prompt, the same 4-bit weights (dequantised, since
# decoding in NF4 is slower on a CPU) and the same decoding; the second has the adapter merged in.
# Their notes are kept below `data/processed/` and taken again only if weights, data, parameters and
# versions are all the same. No stretch of three or more tokens is written twice in a row, which is
# how a small model gets stuck. Where notes are one section each and the model is asked for
# sections, it writes each split twice: it finds the section itself (header predicted), then it is
# told the section (header given).

# %%
decoding = Decoding(max_new_tokens, n_candidates, temperature, min_p)
written = systems.write_all(
    base,
    adapter,
    encounters,
    kept,
    decoding=decoding,
    batch_size=batch_size,
    n_base=n_base,
)
for name in names:
    notes[name] |= {system: result.texts for system, result in written[name].items()}

# %% [markdown]
# ## Scores
#
# ROUGE is the F1 of each note without stemming, over the whole note, then the mean, as the official
# evaluators of ACI-Bench and MTS-Dialog have it. Intervals are 95% by bootstrap over encounters
# (BCa, 9,999 resamples). Everything goes into `metrics.json` as fractions; its form is held by
# `medisum_utils/evaluation/metrics_schema.json`.
#
# Systems are compared on the same encounters alone: where one wrote fewer notes than there are
# encounters, all are scored once more on those that every one of them wrote.

# %%
scores = {name: evaluation.score_split(encounters[name], notes[name]) for name in names}
on_same = {name: evaluation.same_encounters(scores[name]) for name in names}
same = {name: part for name, part in on_same.items() if part is not None}
splits = {
    name: evaluation.split_metrics(
        scores[name],
        same.get(name),
        runs.sha256_file(paths[name.removesuffix(results.NAMED)]),
        seed,
        written[name],
    )
    for name in names
}
metrics = {
    "profile": profile,
    "model": base,
    "adapter": runs.shown_path(adapter),
    "adapter_sha256": runs.sha256_file(adapter / ADAPTER_FILES[1]),
    "data_sha256": evaluation.data_digest(list(paths.values())),
    "seed": seed,
    "splits": splits,
}

# %%
first = names[0]
errors = {
    name: dangers(scores[name], splits[name]["systems"]["finetuned"]["kinds"]) for name in names
}
aci_tests = [name for name in names if published.is_aci_test(encounters[name])]
for name in aci_tests:
    splits[name]["official"] = published.official_scores(encounters[name], notes[name], seed)
real = {name: same.get(name, scores[name]) for name in names if not scores[name].is_exact}
answer.update(
    page.document(
        sentences.trained(record, train),
        sentences.answer(titles[first], scores[first], same.get(first), seed),
        real_text.in_short(splits, real, seed),
        tables.summary_table(splits),
        sentences.fails(titles[first], splits[first], errors[first]),
        danger_table(errors),
    )
)

# %% [markdown]
# ## Results
#
# Baselines first; below each mean its 95% interval. A dash stands where a measure has no meaning. A
# system that wrote notes of the first encounters alone stands in the second table, where all have
# the same ones.

# %%
if set(titles.values()) != set(names):
    page.say(sentences.phrases()["protocols"])
page.show(tables.results_table(splits))
if same:
    beside = tables.results_table(results.same_encounters(splits))
    page.show(beside, sentences.first_encounters(same))

# %% [markdown]
# The same as a figure. Each split has its own axes; a system is clearly better than another where
# their intervals do not overlap.

# %%
figures.save(plots.rouge_figure(splits), step, "04_rouge")

# %% [markdown]
# Differences are paired by encounter, which takes out that some visits are harder than others. p is
# two-sided, of a permutation test; it says nothing about size, which the difference says.

# %%
page.show(tables.difference_table(scores, seed), "Differences on all encounters", folded=True)
if same:
    gaps = tables.difference_table(same, seed, ["base"])
    page.show(gaps, "Differences on the encounters that the base wrote, too", folded=True)
if len(others := quoted.beside_figures(splits, encounters)):
    page.say(sentences.phrases()["quoted"])
    page.show(others)
for name in aci_tests:
    official = splits[name]["official"]
    page.say(real_text.official(titles[name], official, is_first=name == aci_tests[0]))
    page.show(published.whole_table(official), f"`{titles[name]}`, full notes")
    for rouge in published.ROUGES:
        by_division = published.division_table(official, rouge)
        caption = f"`{titles[name]}`, {results.METRICS[rouge]} by division"
        page.show(by_division, caption, folded=rouge != "rouge1")
if len(stemmed := tables.stemmed_table(splits)):
    page.say(sentences.phrases()["stemmed"])
    page.show(stemmed)
ablation_record.show_trials(profile)

# %% [markdown]
# ## Section by section
#
# A section is scored over the notes whose reference has it; one that lacks it scores 0, and is
# counted. A dialogue has no sections: its copy is in this table only where each note is one.

# %%
for name in names:
    by_section = tables.section_table(splits[name], scores[name])
    page.show(by_section, f"`{titles[name]}` by section", folded=name != first)

# %% [markdown]
# ## Facts
#
# ROUGE counts words; a dose that is wrong costs it one word among all the others. So every fact is
# checked as well. By kind, rates are over all facts of a kind in the split, with intervals from
# resampling notes; *written* counts what the model stated.

# %%
page.say(sentences.how_facts_are_checked(splits))
page.show(tables.facts_table(splits))
for name in names:
    by_kind = tables.kind_table(splits[name])
    page.show(by_kind, f"`{titles[name]}`, fine-tuned, by kind of fact", folded=True)

# %%
rate = "f1" if facts_are_known else "omission"
figures.save(plots.kinds_figure(splits, rate), step, "04_facts_by_kind")

# %%
study = agreement.study_file(corpora_folder())
if study and not facts_are_known:
    page.say(sentences.phrases()["do_people_agree"])
    people = agreement.agreement_table(agreement.load_study(study), seed=seed)
    figures.save(plots.people_figure(people), step, "04_people")

# %%
if real:
    page.say(real_text.truth_at_length(real, seed))
    page.show(truth.truth_table(real, seed))
    shown, called = next(iter(real.values())), titles[next(iter(real))]
    title = real_text.truth_title(called, shown, seed)
    figures.save(truth.truth_figure(shown, title, seed), step, "04_truth")
    chosen = truth.most_different(shown)
    page.say(sentences.phrases()["truth"]["examples"].format(n=len(chosen), split=called))
    page.show(truth.examples_table(shown, chosen))

# %% [markdown]
# ## Where is it weak? By length and by kind of visit
#
# Long conversations hold more facts and put them further apart. The thirds are of the split, by the
# dialogue's words; small groups have wide intervals, and are no ranking.

# %%
for name in names:
    lengths = tables.lengths_of(encounters[name])
    conditions = [tables.condition_of(encounter) for encounter in encounters[name]]
    page.say(sentences.weak_groups(titles[name], scores[name], lengths, conditions))
    by_group = [
        tables.group_table(scores[name], lengths, "rouge1", seed),
        tables.group_table(scores[name], lengths, "f1", seed),
        tables.group_table(scores[name], conditions, "f1", seed),
    ]
    page.show_folded(f"`{titles[name]}` by length and kind", map(page.as_html, by_group))

# %% [markdown]
# ## What ROUGE does not see
#
# Length and form first: a note as long as its reference, in the same order and the same phrases,
# earns ROUGE before it says anything about this patient, as the nearest note shows. *From the
# dialogue* is the share of a note's words that stand in its dialogue.
#
# Then a test of the judges themselves: each reference with its numbers, sides and denials changed
# (every digit by one, left for right, "denies" for "reports", "no" taken out) is scored as if it
# were a note. It is wrong wherever that matters to a patient.

# %%
for name in names:
    page.show(tables.style_table(scores[name]), f"`{titles[name]}`", folded=name != first)
altered = [note_views.altered(text) for text in scores[first].references]
probe = evaluation.score_split(encounters[first], {"altered": altered}).systems["altered"]
cosine = float(np.mean(likeness[first]))
page.say(sentences.judges_tested(titles[first], scores[first], probe, cosine))

# %% [markdown]
# ## What it omits, what it hallucinates
#
# Counts over all notes of the fine-tuned model.

# %%
for name in names:
    for side, facts in note_views.wrong_facts(scores[name]).items():
        counted = sentences.wrong_facts(titles[name], side, facts, with_kinds=facts_are_known)
        if show_text and facts:
            page.show_folded(counted, [note_views.examples_table(facts, n_examples, seed)])
        else:
            page.say(f"{counted}.")

# %% [markdown]
# ## Best, median and worst notes
#
# By fact F1, in full. Underlined: what only the reference has at that place. Bold: what only the
# written note has.

# %%
chosen = note_views.chosen_notes(scores[first], n_worst)
if show_text:
    for title, place in chosen.items():
        headline = note_views.headline(scores[first], place, title)
        both = note_views.side_by_side(scores[first], place)
        page.show_folded(headline, [both], opened=title == "median")
else:
    page.say(sentences.scores_of_hidden_notes(scores[first], chosen))

# %% [markdown]
# ## Time and tokens
#
# Decoding alone, without loading the model. A note that reached the limit of tokens is unfinished:
# it never said that it was done.

# %%
page.show(tables.decoding_table(written), f"Decoding: {decoding.described}")
runs.write_json(step.stage(runs.report_dir(profile) / "metrics.json"), metrics)
write_decoding(step.stage(adapter / DECODING_FILE), decoding, adapter)
write_card(step.stage(adapter / CARD_FILE), adapter, profile, metrics)
entry = step.finish(
    n_encounters={name: len(part) for name, part in encounters.items()},
    decoding_s=round(sum(r.seconds for part in written.values() for r in part.values()), 2),
    n_unfinished={name: written[name]["finetuned"].n_unfinished for name in names},
)

# %% [markdown]
# ## Limits

# %%
ours = [written[name]["finetuned"] for name in names]
page.say(sentences.limits(ours, max_new_tokens, splits), sentences.took(entry))
page.show(runs.environment_table(), "Machine and versions", folded=True)
