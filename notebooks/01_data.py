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
source: str = "synthetic"  # or mts-dialog, aci-bench, aci-bench+mts-dialog, a JSONL or CSV file
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
max_nearest_rouge1 = 0.60  # above it, generated data could be solved by retrieval
example = 0  # number of the training encounter that is shown
show_text: bool | None = None  # in all reports of the run; None: generated text alone is shown

# %%
import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

from medisum_utils import figures, runs
from medisum_utils.data import sources, variety
from medisum_utils.data.grouping import find_groups
from medisum_utils.data.splits import NEAR_DUPLICATE, check_leaks, split_manifest
from medisum_utils.encounter import SECTIONS, write_jsonl
from medisum_utils.notes.headers import header_table
from medisum_utils.runs import profiles
from medisum_utils.synthesis.augmented import EXCHANGED

figures.use_style()
runs.seed_everything(seed)
generated, is_own = sources.is_generated(source), sources.is_own(source)
text_is_shown = sources.may_show_text(source) if show_text is None else show_text
if is_own:
    runs.keep_private(profile)
name = "generated data" if generated else "your own data" if is_own else source

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
# split are dropped from training. Your own data are parted by groups: encounters of one patient,
# and copies or near copies of each other, always go into the same split.

# %%
step = runs.start(
    "01_data",
    profile,
    profiles.parameters_in("01_data", globals()),
    inputs=sources.source_files(source),
)
sizes = {"train": n_train, "valid": n_valid, "test": n_test, "test_unseen": n_test_unseen}
own_shares = {"train": 1 - own_valid_share - own_test_share}
own_shares |= {"valid": own_valid_share, "test": own_test_share}
shares = {"own_shares": own_shares, "exchanged_share": exchanged_share}
splits = sources.load_source(
    source, seed=seed, sizes=sizes, **shares, near_duplicate=near_duplicate
)
if is_own:
    everyone = [encounter for part in splits.values() for encounter in part]
    display(Markdown(str(find_groups(everyone, near_duplicate))))
tests = [split for split in splits if split not in ("train", "valid")]

# %% [markdown]
# Every encounter is a dialogue in turns and a note in sections. Lengths are means; words are runs
# of letters and digits, speaker labels and headers not counted.

# %%
lengths = {split: variety.lengths(encounters) for split, encounters in splits.items()}
overview = pd.DataFrame(
    {split: {"encounters": len(table), **table.mean()} for split, table in lengths.items()}
).T
columns = ["encounters", "turns", "dialogue (words)", "note (words)", "words a turn"]
overview = overview.set_axis(columns, axis=1).round(1).astype({"encounters": int})
if generated:
    exchanged = {s: sum(EXCHANGED in one.meta for one in part) for s, part in splits.items()}
    overview.insert(1, "exchanged names", exchanged)
if official := sources.official_counts(source):
    overview.insert(1, "official count", official)
overview

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
topic = {"synthetic": "speciality", "mts-dialog": sources.CORPUS_HEADER}.get(source, "subset")
rows = [
    {"split": split, topic: one.meta.get(topic, one.source), "problem": one.meta.get("problem")}
    for split, encounters in splits.items()
    for one in encounters
    if EXCHANGED not in one.meta
]
about = pd.DataFrame(rows)
composition = pd.crosstab(about[topic], about["split"])[list(splits)]
if generated:
    problems = about.groupby([topic, "split"])["problem"].nunique().unstack(fill_value=0)
    composition["problems in training"] = problems["train"]
    composition["unseen problems"] = problems["test_unseen"]
composition

# %% [markdown]
# ### From a corpus's headers to S, O, A and P
#
# MTS-Dialog has one note section a dialogue, under one of 20 headers, and no official mapping of
# them. This table is ours: told history is subjective, found and measured is objective, named is
# assessment, done and decided is plan. The section's text becomes a note under that SOAP header,
# word for word; the corpus's own header stays in the record.

# %%
table = header_table("mts-dialog")
if sources.MTS in source:
    found = [
        {"header": one.meta[sources.CORPUS_HEADER], "split": split}
        for split, encounters in splits.items()
        for one in encounters
        if one.source == sources.MTS
    ]
    counts = pd.DataFrame(found).value_counts().unstack(fill_value=0)
    counts = counts[[split for split in splits if split in counts]].reindex(table["header"])
    table = table.join(counts.fillna(0).astype(int), on="header")
table.set_index("header")

# %% [markdown]
# ## One encounter
#
# A training encounter, as it is: the conversation on the left with the facts that each turn says,
# the note on the right. A letter gives the section where a fact belongs. A turn without a fact
# adds nothing to the note.


# %%
def turn_row(encounter, number, turn):
    """One turn with the facts that it says."""
    facts = [fact for fact in encounter.facts if number in fact.turns]
    label = "display:inline-block;border:1px solid #0072B2;border-radius:3px;padding:0 4px;"
    tags = " ".join(
        f"<span style='{label}margin:1px;font-size:80%;background:#eaf3fa'>"
        f"<b>{fact.section[:1].upper()}</b> {html.escape(f'{fact.kind}: {fact.text}')}</span>"
        for fact in facts
    )
    said = f"<b>{turn.speaker.capitalize()}</b> {html.escape(turn.text)}"
    return f"<div style='margin:0 0 5px'><small>{number}</small> {said}<br>{tags}</div>"


def conversation(encounter):
    """Dialogue and note side by side."""
    turns = [turn_row(encounter, *numbered) for numbered in enumerate(encounter.turns)]
    note = html.escape(encounter.note_text)
    cell = "<td style='vertical-align:top;text-align:left;"
    left = f"{cell}width:60%'>{''.join(turns)}</td>"
    right = f"{cell}white-space:pre-wrap'>{note}</td>"
    style = "table-layout:fixed;width:100%;overflow-wrap:anywhere"
    return f"<table style='{style}'><tr>{left}{right}</tr></table>"


# %%
if text_is_shown:
    display(HTML(conversation(splits["train"][example])))
else:
    display(Markdown("*No dialogue and no note of this data is shown: see `show_text`.*"))

# %% [markdown]
# ## What a note has to get right
#
# The generator keeps every fact with its kind, its section, whether it is affirmed or denied, and
# the turns that say it. So a note can later be scored fact by fact. Real corpora have no such
# record.

# %%
rows = [
    {
        "section": fact.section,
        "kind": fact.kind,
        "position": fact.turns[0] / (len(one.turns) - 1),
        "doctor": all(one.turns[turn].speaker == "doctor" for turn in fact.turns),
        "relative": any(one.turns[turn].speaker == "relative" for turn in fact.turns),
    }
    for one in splits["train"]
    for fact in one.facts
]
facts = pd.DataFrame(rows, columns=["section", "kind", "position", "doctor", "relative"])
if facts.empty:
    display(Markdown("*This data has no record of its facts.*"))

# %%
n_facts = len(facts) / len(splits["train"])
if not facts.empty:
    order = facts["section"].map(SECTIONS.index)
    kinds = facts.assign(order=order).groupby(["order", "section", "kind"], sort=True)
    by_kind = pd.DataFrame(
        {
            "facts an encounter": kinds.size() / len(splits["train"]),
            "only the doctor says it": kinds["doctor"].mean().map("{:.0%}".format),
            "a relative says it": kinds["relative"].mean().map("{:.0%}".format),
        }
    )
    display(by_kind.droplevel("order").round(2))

# %% [markdown]
# Where in a conversation are the facts? Each point is the middle of a section's facts, the thick
# bar holds their middle half, the thin one nine in ten.

# %%
if not facts.empty:
    quantiles = facts.groupby("section")["position"].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    spans = quantiles.unstack().loc[list(SECTIONS)]
    fig, ax = plt.subplots(figsize=(7.2, 2.3))
    ax.hlines(spans.index, spans[0.05], spans[0.95], color="#0072B2", lw=1.5)
    ax.hlines(spans.index, spans[0.25], spans[0.75], color="#0072B2", lw=7, alpha=0.6)
    ax.plot(spans[0.5], spans.index, "o", color="black", ms=5)
    ax.set(xlabel="place in the conversation (0 first turn, 1 last turn)", xlim=(-0.02, 1.02))
    ax.set_title(f"Half of the plan is said after {spans.loc['plan', 0.5]:.0%} of the conversation")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figures.save(fig, step, "01_fact_places")

# %% [markdown]
# ## Beside real corpora
#
# Generated data can be too easy: a few phrases, one length, a note that is the same again and
# again. The same measures on ACI-Bench (whole visits) and MTS-Dialog (short excerpts) say how far
# from real talk it is. Nothing is downloaded for this comparison.

# %%
at_hand = {
    "aci-bench": sources.is_at_hand("aci-bench"),
    "mts-dialog": sources.is_at_hand("mts-dialog"),
}
as_in_casebook = [one for one in splits["train"] if EXCHANGED not in one.meta]
compared = {name: (as_in_casebook, splits[tests[0]])}
for corpus, is_there in at_hand.items():
    if compare_corpora and is_there and corpus != source:
        real = sources.load_source(corpus, seed=seed, sizes={}, own_shares={})
        compared[corpus] = (real["train"], real["test1"])
absent = [corpus for corpus in at_hand if corpus not in compared and corpus != source]
if absent:
    why = "not at hand" if compare_corpora else "not asked for"
    display(Markdown(f"*{' and '.join(absent)}: {why}, so the rows below lack them.*"))
else:
    display(Markdown(f"*Compared: {', '.join(compared)}.*"))

# %%
n_there = {
    key: variety.lengths(train)["dialogue_words"].sum() for key, (train, _) in compared.items()
}
n_words = min(n_compared_words, *n_there.values())
measured = pd.DataFrame(
    {
        key: variety.variety(train, test, n_words=n_words, seed=seed)
        for key, (train, test) in compared.items()
    }
)
measured.map(lambda value: f"{value:,.1f}" if value > 2 else f"{value:.3f}")

# %% [markdown]
# *distinct-n*: share of different n-grams in the same number of words. *Heaps exponent*: 0 is a
# closed vocabulary, 1 one that never repeats. *Extractive share*: note words that stand in the
# dialogue. *Nearest*: for each encounter of the first test split, the training encounter with the
# most similar dialogue (TF-IDF cosine), and what its note would score.

# %%
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for (key, (train, _)), marker in zip(compared.items(), "os^", strict=False):
    growth = variety.vocabulary_growth(variety.sample_words(train, n_words, seed))
    label = f"{key} ({growth['n_distinct'].iloc[-1]:,} words)"
    ax.plot("n_words", "n_distinct", data=growth, marker=marker, ms=4, label=label)
ax.set(xlabel="words of dialogue read", ylabel="different words met")
ours = variety.sample_words(as_in_casebook, n_words, seed)
n_distinct = len({word for text in ours for word in text})
ax.set_title(f"{n_distinct:,} different words in {n_words:,} words of {name}")
ax.legend()
figures.save(fig, step, "01_vocabulary")

# %% [markdown]
# ## How long they are
#
# A mean hides whether every encounter has the same length; these are the shares of training
# encounters up to each length.

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
panels = {"n_turns": "turns of the dialogue", "note_words": "words of the note"}
for ax, (column, label) in zip(axes, panels.items(), strict=True):
    for (key, (train, _)), style in zip(compared.items(), ["-", "--", ":"], strict=False):
        ax.ecdf(variety.lengths(train)[column], ls=style, label=f"{key} (n = {len(train):,})")
    ax.set(xlabel=label, xscale="log")
axes[0].set_ylabel("share of encounters")
axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
turns = lengths["train"]["n_turns"].quantile([0.05, 0.95])
title = f"Nine in ten dialogues have {turns.iloc[0]:.0f} to {turns.iloc[1]:.0f} turns ({name})"
fig.suptitle(title, x=0.01, ha="left", size=12, weight="bold")
figures.save(fig, step, "01_lengths")

# %% [markdown]
# ## Could retrieval solve the test?
#
# If the note of the most similar training dialogue were nearly right, a model could score well
# without reading. On generated data this notebook refuses to go on above the limit.

# %%
found = {split: variety.nearest(splits["train"], splits[split]) for split in tests}
retrieved = {
    split: variety.nearest_note_rouge1(splits["train"], splits[split], near)
    for split, near in found.items()
}
nearest = pd.DataFrame(
    {
        split: {
            "n": len(near.cosine),
            "mean cosine of the nearest dialogue": near.cosine.mean(),
            "highest cosine": near.cosine.max(),
            "ROUGE-1 of its note, mean": np.mean(retrieved[split]),
            "ROUGE-1 of its note, highest": np.max(retrieved[split]),
        }
        for split, near in found.items()
    }
).T.astype({"n": int})
display(nearest.round(3))
if generated:
    rouge1 = nearest.loc["test", "ROUGE-1 of its note, mean"]
    assert rouge1 <= max_nearest_rouge1, f"retrieval scores {rouge1:.3f} on test, too much"

# %%
fig, ax = plt.subplots(figsize=(7.2, 3.0))
for split, style in zip(tests, ["-", "--", ":", "-.", (0, (1, 3))], strict=False):
    label = f"{split} (n = {len(found[split].cosine)})"
    ax.ecdf(found[split].cosine, color=figures.colour_of(split), ls=style, label=label)
ax.set(xlabel="cosine to the nearest training dialogue (TF-IDF)", ylabel="share of the split")
ax.set_xlim(0, 1)
median = np.median(found[tests[0]].cosine)
ax.set_title(f"Half of {tests[0]} is no closer than {median:.2f} to any training dialogue")
ax.legend(loc="lower right")
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
written = {}
for split, encounters in splits.items():
    write_jsonl(path := step.stage(folder / f"{split}.jsonl"), encounters)
    written[split] = {"n": len(encounters), "bytes": path.stat().st_size}
    written[split]["sha256"] = runs.sha256_file(path)
manifest = split_manifest(splits)
assert all(written[split]["sha256"] == manifest[split]["sha256"] for split in splits)
runs.write_json(step.stage(folder / runs.PRIVACY_FILE), {"show_text": text_is_shown})
about_splits = {"source": name, "tests": tests, "splits": manifest}
runs.write_json(step.stage(folder / runs.SPLIT_MANIFEST), about_splits)
obsolete = [path for path in folder.glob("*.jsonl") if path not in step.staged]
if not text_is_shown:  # a report of an earlier run must not go on showing it
    obsolete += runs.reports_with_text(profile)
pd.DataFrame(
    {
        split: {
            "encounters": entry["n"],
            "MB": round(entry["bytes"] / 1e6, 1),
            "SHA-256 begins": entry["sha256"][:12],
        }
        for split, entry in written.items()
    }
).T

# %%
entry = step.finish(
    obsolete=obsolete,
    source=name,
    n={split: len(encounters) for split, encounters in splits.items()},
    facts_per_encounter=round(n_facts, 2),
    variety=measured.round(4).to_dict(),
    nearest=nearest.round(4).to_dict(orient="index"),
    highest_jaccard=round(float(leaks["highest_jaccard"].max()), 4),
)
counted = ", ".join(f"{split} {len(encounters):,}" for split, encounters in splits.items())
lines = [
    f"**No encounter of {name} stands in two splits** ({counted}): the closest two share "
    f"{leaks['highest_jaccard'].max():.0%} of their five-word shingles."
]
scores = [f"{mean:.2f} on {split}" for split, mean in nearest[nearest.columns[3]].items()]
lines.append(f"The note of the nearest training dialogue scores ROUGE-1 {', '.join(scores)}.")
if n_facts:
    lines.append(f"A note has {n_facts:.0f} facts to get right on average.")
pairs = [f"{key} {share:.0%}" for key, share in measured.loc["distinct-2"].items()]
lines.append(
    f"In {n_words:,} words of dialogue, so many word pairs are different: {', '.join(pairs)}."
)
answer.update(Markdown(" ".join(lines)))

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
