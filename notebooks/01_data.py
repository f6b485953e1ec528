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
# # 01 Data: what is there to learn from, and can the test be trusted?
#
# This notebook makes the splits that all later notebooks read. It shows what an encounter is, holds
# the data beside two real corpora, measures how far the tests are from training, and stops the run
# if any encounter stands in two splits.

# %% tags=["parameters"]
profile = "tiny"  # names data/processed/<profile>/ and reports/<profile>/
seed = 17  # of the generator, of own data's split and of the samples below
source: str = "synthetic"  # or mts-dialog, aci-bench, both or all joined by +, a JSONL or CSV file
n_train = 540  # generated encounters; 03 reads them once in some four minutes
n_valid = 100
n_test = 200  # the problems of training, new encounters
n_test_unseen = 60  # problems, medicines and phrasings that training never shows
exchanged_share = 0.3  # of generated training encounters, under exchanged or made-up names
own_valid_share = 0.1  # of a JSONL or CSV file of yours
own_test_share = 0.1
near_duplicate = 0.5  # of own data: Jaccard of dialogues that count as copies, above 0 to 1
compare_corpora = True  # ACI-Bench and MTS-Dialog in the same table, if they are at hand
n_compared_words = 50_000  # words of dialogue on which vocabularies are compared
show_text: bool | None = None  # in all reports of the run; None: generated text alone is shown

# %%
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

from medisum_utils import figures, runs
from medisum_utils.data import overview, sources, variety, views
from medisum_utils.data.grouping import find_groups
from medisum_utils.data.leaks import NEAR_DUPLICATE, check_leaks
from medisum_utils.runs import profiles
from medisum_utils.synthesis.augmented import EXCHANGED

figures.use_style()
runs.seed_everything(seed)
generated, is_own = sources.is_generated(source), sources.is_own(source)
text_is_shown = generated if show_text is None else show_text
if is_own:
    runs.ignore_in_git(profile)
name = sources.report_name(source)

# %% [markdown]
# ## The answer first
#
# The sentences below are filled in by the last cells, from what was measured.

# %%
answer = display(Markdown("*Being measured.*"), display_id=True)

# %% [markdown]
# ## The splits
#
# Generated encounters follow from their seed and number alone. Real corpora come in their official
# splits, whose counts the loaders check; copies of test dialogues that stand in a corpus's training
# split are dropped from training. Your own data are split by groups: encounters of one patient,
# and copies or near copies of each other, always go into the same split.

# %%
parameters = profiles.parameters_in("01_data", globals())
step = runs.start("01_data", profile, parameters, inputs=sources.source_files(source))
splits = sources.load_source(
    source,
    seed=seed,
    sizes={"train": n_train, "valid": n_valid, "test": n_test, "test_unseen": n_test_unseen},
    own_shares={
        "train": 1 - own_valid_share - own_test_share,
        "valid": own_valid_share,
        "test": own_test_share,
    },
    exchanged_share=exchanged_share,
    near_duplicate=near_duplicate,
)
if is_own:
    everyone = [encounter for part in splits.values() for encounter in part]
    display(Markdown(str(find_groups(everyone, near_duplicate))))
tests = [split for split in splits if split not in ("train", "valid")]

# %% [markdown]
# Every encounter is a dialogue in turns and a note in sections. Lengths are means; words are runs
# of letters and digits, speaker labels and headers not counted.

# %%
overview.lengths_table(splits, sources.official_counts(source))

# %% [markdown]
# ### What they are about
#
# Generated encounters are drawn from a casebook of problems in several specialities; whole problems
# are held out, and only `test_unseen` draws them. MTS-Dialog says of each dialogue which part of a
# note it is for, ACI-Bench how the visit was recorded.
#
# With `exchanged_share`, some training encounters have names from other problems or made-up ones,
# so that a model which knows the names by heart has to read all the same; they are counted apart.

# %%
overview.composition_table(source, splits)

# %% [markdown]
# ### From a corpus's headers to S, O, A and P
#
# MTS-Dialog has one note section a dialogue, under one of 20 headers, and no official mapping of
# them. This table is ours: told history is subjective, found and measured is objective, named is
# assessment, done and decided is plan. The section's text becomes a note under that SOAP header,
# word for word; the corpus's own header stays in the record.

# %%
overview.headers_in(splits)

# %% [markdown]
# ## One encounter
#
# A training encounter, as it is: the conversation on the left with the facts that each turn says,
# the note on the right. A letter gives the section where a fact belongs. A turn without a fact
# adds nothing to the note.

# %%
if text_is_shown:
    display(HTML(views.encounter_html(splits["train"][0])))
else:
    display(Markdown("*No dialogue and no note of this data is shown: see `show_text`.*"))

# %% [markdown]
# ## What a note has to get right
#
# The generator keeps every fact with its kind, its section, whether it is affirmed or denied, and
# the turns that say it. So a note can later be scored fact by fact. Real corpora have no such
# record.

# %%
n_with_facts = sum(bool(each.facts) for each in splits["train"])
facts = overview.facts_of(splits["train"])
n_facts = len(facts) / max(1, n_with_facts)
if facts.empty:
    display(Markdown("*This data has no record of its facts.*"))
else:
    display(overview.facts_by_kind(facts, n_with_facts))

# %% [markdown]
# Where in a conversation are the facts? Each point is the middle of a section's facts, the thick
# bar holds their middle half, the thin one nine in ten.

# %%
if not facts.empty:
    fig, ax = plt.subplots(figsize=(7.2, 2.3))
    views.draw_fact_places(ax, facts)
    figures.save(fig, step, "01_fact_places")

# %% [markdown]
# ## Beside real corpora
#
# Generated data can be too easy: a few phrases, one length, a note that is the same again and
# again. The same measures on ACI-Bench (whole visits) and MTS-Dialog (short excerpts) say how far
# from real talk it is. Nothing is downloaded for this comparison.

# %%
as_in_casebook = [each for each in splits["train"] if EXCHANGED not in each.meta]
beside = sources.load_beside(source) if compare_corpora else {}
compared = {name: (as_in_casebook, splits[tests[0]]), **beside}
display(Markdown(views.compared_sentence(source, list(compared), asked_for=compare_corpora)))

# %%
trains = {key: train for key, (train, _) in compared.items()}
n_words = variety.n_comparable_words(trains, n_compared_words)
measured = variety.comparison(compared, n_words=n_words, seed=seed)
overview.measures_table(measured)

# %% [markdown]
# *distinct-n*: share of different n-grams in the same number of words. *Heaps exponent*: 0 is a
# closed vocabulary, 1 one that never repeats. *Extractive share*: note words that stand in the
# dialogue. *Nearest*: for each encounter of the first test split, the training encounter with the
# most similar dialogue (TF-IDF cosine), and what its note would score.

# %%
samples = {key: variety.sample_words(train, n_words, seed) for key, train in trains.items()}
growths = {key: variety.vocabulary_growth(sample) for key, sample in samples.items()}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
views.draw_vocabulary(ax, growths)
figures.save(fig, step, "01_vocabulary")

# %% [markdown]
# ## How long they are
#
# A mean hides whether every encounter has the same length; these are the shares of training
# encounters up to each length.

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
views.draw_lengths(axes, {key: variety.lengths(train) for key, train in trains.items()})
figures.save(fig, step, "01_lengths")

# %% [markdown]
# ## Could retrieval solve the test?
#
# If the note of the most similar training dialogue were nearly right, a model could score well
# without reading. On generated data this notebook refuses to go on above
# `variety.MAX_NEAREST_ROUGE1`.

# %%
neighbours = {split: variety.nearest(splits["train"], splits[split]) for split in tests}
retrieved = {
    split: variety.nearest_note_rouge1(splits["train"], splits[split], near)
    for split, near in neighbours.items()
}
nearest = overview.nearest_table(neighbours, retrieved)
rouge1 = nearest[overview.ROUGE1_MEAN]
if generated:
    assert rouge1["test"] <= variety.MAX_NEAREST_ROUGE1, (
        f"retrieval scores {rouge1['test']:.3f} on test, too much"
    )
nearest.round(3)

# %%
fig, ax = plt.subplots(figsize=(7.2, 3.0))
views.draw_nearest(ax, neighbours)
figures.save(fig, step, "01_nearest")

# %% [markdown]
# ## Does any encounter stand in two splits?
#
# Every pair of splits is compared: ids, and dialogues and notes that are equal or nearly so, after
# normalising, by their five-word shingles. One leak stops the run here, before anything is written.
# Short notes that recur in another split, such as one on allergies, are no leak; they are counted.

# %%
threshold = near_duplicate if is_own else NEAR_DUPLICATE
leaks = check_leaks(splits, threshold)
unshown = [] if text_is_shown else ["closest_id", "other_closest_id"]  # an id may be a name
leaks.drop(columns=unshown).set_index(["split", "other_split"]).round(3)

# %% [markdown]
# ## Written
#
# One JSON Lines file a split, and a manifest with the ids and the SHA-256 of each file. They
# replace those of an earlier run when this notebook ends; until then nothing is touched.

# %%
folder = runs.processed_dir(profile)
paths = {split: step.stage(folder / f"{split}.jsonl") for split in splits}
manifest = {split: sources.write_split(paths[split], splits[split]) for split in splits}
runs.write_json(step.stage(folder / runs.PRIVACY_FILE), {"show_text": text_is_shown})
content = {"source": name, "tests": tests, "splits": manifest}
runs.write_json(step.stage(folder / runs.SPLIT_MANIFEST), content)
obsolete = [path for path in folder.glob("*.jsonl") if path not in step.staged]
if not text_is_shown:  # a report of an earlier run must not go on showing it
    obsolete += runs.reports_with_text(profile)
overview.written_table(paths, manifest)

# %%
sizes = {split: len(encounters) for split, encounters in splits.items()}
highest_jaccard = float(leaks["highest_jaccard"].max())
entry = step.finish(
    obsolete=obsolete,
    source=name,
    n=sizes,
    facts_per_encounter=round(n_facts, 2),
    variety=measured.round(4).to_dict(),
    nearest=nearest.round(4).to_dict(orient="index"),
    highest_jaccard=round(highest_jaccard, 4),
)
verdict = views.verdict(
    name,
    sizes,
    highest_jaccard=highest_jaccard,
    rouge1=rouge1.to_dict(),
    n_facts=n_facts,
    distinct_pairs=measured.loc["distinct-2"].to_dict(),
    n_words=n_words,
)
answer.update(Markdown(verdict))

# %% [markdown]
# ## Limits
#
# - Generated talk is more regular than speech, and the wording of its notes follows fixed rules. A
#   score on it says nothing about real consultations.
# - A problem's name and its medicines were written for this project, to be plausible; nobody may
#   learn medicine from them. **Not for clinical use.**
# - The leak check sees copies and near copies, not two conversations on the same case in other
#   words.
# - Similarity by words cannot tell whether a test is hard, only that it is not a repetition.
# - Sources, licences and oddities of the real corpora are in the data card, `data/README.md`.

# %%
display(
    Markdown(
        f"This notebook took {entry['seconds']:.0f} s; its peak memory was "
        f"{entry['peak_memory_gib']:.2f} GiB on `{entry['device']}`."
    )
)
runs.environment_table()
