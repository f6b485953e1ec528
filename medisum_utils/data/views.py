"""What 01 shows beside its tables: an encounter as a page, the figures, the sentences.

`encounter_html` shows text: the caller decides whether it may be seen.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from medisum_utils import figures
from medisum_utils.data.sources import ACI, MTS, SYNTHETIC
from medisum_utils.data.variety import Nearest
from medisum_utils.encounter import SECTIONS, Encounter, Turn

_DASHES = ((0, (1, 3)), (0, (1, 1)), (0, (8, 4)), (0, (3, 3, 1, 3)))
_LINES = ("-", "--", ":", "-.", *_DASHES)  # a join of all sources has seven tests
_MARKERS = "os^"
_BLUE = "#0072B2"
_FACT = (
    f"display:inline-block;border:1px solid {_BLUE};border-radius:3px;padding:0 4px;margin:1px;"
    "font-size:80%;background:#eaf3fa"
)


def encounter_html(encounter: Encounter) -> str:
    """The dialogue with the facts that each turn says, and the note beside it, as HTML."""
    turns = "".join(_turn_html(encounter, *numbered) for numbered in enumerate(encounter.turns))
    cell = "<td style='vertical-align:top;text-align:left;"
    left = f"{cell}width:60%'>{turns}</td>"
    right = f"{cell}white-space:pre-wrap'>{html.escape(encounter.note_text)}</td>"
    style = "table-layout:fixed;width:100%;overflow-wrap:anywhere"
    return f"<table style='{style}'><tr>{left}{right}</tr></table>"


def _turn_html(encounter: Encounter, number: int, turn: Turn) -> str:
    facts = [fact for fact in encounter.facts if number in fact.turns]
    tags = " ".join(
        f"<span style='{_FACT}'><b>{fact.section[:1].upper()}</b> "
        f"{html.escape(f'{fact.kind}: {fact.text}')}</span>"
        for fact in facts
    )
    speech = f"<b>{html.escape(turn.speaker.capitalize())}</b> {html.escape(turn.text)}"
    return f"<div style='margin:0 0 5px'><small>{number}</small> {speech}<br>{tags}</div>"


def draw_fact_places(ax: Axes, facts: pd.DataFrame) -> None:
    """Draws where in the conversation each section's facts are said, from `overview.facts_of`."""
    quantiles = facts.groupby("section")["position"].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    spans = quantiles.unstack().loc[list(SECTIONS)]
    ax.hlines(spans.index, spans[0.05], spans[0.95], color=_BLUE, lw=1.5)
    ax.hlines(spans.index, spans[0.25], spans[0.75], color=_BLUE, lw=7, alpha=0.6)
    ax.plot(spans[0.5], spans.index, "o", color="black", ms=5)
    ax.set(xlabel="place in the conversation (0 first turn, 1 last turn)", xlim=(-0.02, 1.02))
    ax.set_title(f"Half of the plan is said after {spans.loc['plan', 0.5]:.0%} of the conversation")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def draw_vocabulary(ax: Axes, growths: Mapping[str, pd.DataFrame]) -> None:
    """Draws the curves of `variety.vocabulary_growth`; the title is about the first of them."""
    for (name, growth), marker in zip(growths.items(), _MARKERS, strict=False):
        label = f"{name} ({growth['n_distinct'].iloc[-1]:,} words)"
        ax.plot("n_words", "n_distinct", data=growth, marker=marker, ms=4, label=label)
    ax.set(xlabel="words of dialogue read", ylabel="different words met")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    name, growth = next(iter(growths.items()))
    n_words, n_distinct = growth.iloc[-1]
    ax.set_title(f"{n_distinct:,} different words in {n_words:,} words of {name}")
    ax.legend()


def draw_lengths(axes: Sequence[Axes], lengths: Mapping[str, pd.DataFrame]) -> None:
    """Draws the shares of encounters up to each length: turns in one panel, note words in another.

    `lengths` holds the tables of `variety.lengths` by the data's name; the title is about the
    first of them.
    """
    panels = {"n_turns": "turns of the dialogue", "note_words": "words of the note"}
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        for (name, table), style in zip(lengths.items(), _LINES, strict=False):
            ax.ecdf(table[column], ls=style, label=f"{name} (n = {len(table):,})")
        ax.set_xlabel(label)
        values = pd.concat([table[column] for table in lengths.values()])
        _scale(ax, values[values > 0])
    axes[0].set_ylabel("share of encounters")
    axes[0].figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(lengths)
    )
    name, table = next(iter(lengths.items()))
    low, high = table["n_turns"].quantile([0.05, 0.95])
    title = f"Nine in ten dialogues have {low:.0f} to {high:.0f} turns ({name})"
    axes[0].figure.suptitle(title, x=0.01, ha="left", size=12, weight="bold")


def _scale(ax: Axes, values: pd.Series) -> None:
    """A logarithmic x axis where the values need it, with few labels, so that none touch."""
    ratio = values.max() / values.min()
    if ratio >= 10:
        ax.set_xscale("log")
        figures.plain_log_ticks(ax.xaxis, (1, 2, 5) if ratio < 100 else (1,))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.xaxis.set_major_formatter("{x:,g}")


def draw_nearest(ax: Axes, neighbours: Mapping[str, Nearest]) -> None:
    """Draws how near each test's dialogues are to training; the title is about the first test."""
    for (split, near), style in zip(neighbours.items(), _LINES, strict=False):
        label = f"{split} (n = {len(near.cosine):,})"
        ax.ecdf(near.cosine, color=figures.colour_of(split), ls=style, label=label)
    ax.set(xlabel="cosine to the nearest training dialogue (TF-IDF)", ylabel="share of the split")
    ax.set_xlim(0, 1)
    split, near = next(iter(neighbours.items()))
    median = np.median(near.cosine)
    ax.set_title(f"Half of {split} is no closer than {median:.2f} to any training dialogue")
    ax.legend(loc="lower right")


def compared_sentence(source: str, compared: Sequence[str], *, asked_for: bool) -> str:
    """Which data stand side by side, or which corpora are missing beside them and why."""
    absent = [corpus for corpus in (ACI, MTS) if corpus not in compared and corpus != source]
    if not absent:
        return f"*Compared: {', '.join(compared)}.*"
    why = "not at hand" if asked_for else "not asked for"
    return f"*{' and '.join(absent)}: {why}, so the rows below lack them.*"


def verdict(
    name: str,
    sizes: Mapping[str, int],
    *,
    highest_jaccard: float,
    rouge1: Mapping[str, float],
    n_facts: float,
    distinct_pairs: Mapping[str, float],
    n_words: int,
) -> str:
    """01's answer: no leak, what retrieval would score, how many facts, how varied the words are.

    `sizes` counts the encounters of each split, `rouge1` scores the nearest notes of each test,
    `n_facts` is the mean of encounters with such a record, 0 where none has one; `distinct_pairs`
    is distinct-2 in `n_words` words, by the data's name.
    """
    counts = ", ".join(f"{split} {n:,}" for split, n in sizes.items())
    scores = ", ".join(f"{mean:.2f} on {split}" for split, mean in rouge1.items())
    pairs = ", ".join(f"{data} {share:.0%}" for data, share in distinct_pairs.items())
    sentences = [
        f"**No encounter of {name} stands in two splits** ({counts}): the closest two share "
        f"{highest_jaccard:.0%} of their five-word shingles.",
        f"The note of the nearest training dialogue scores ROUGE-1 {scores}.",
    ]
    if n_facts:
        kind = "generated note" if SYNTHETIC in name.split("+") else "note"
        sentences.append(f"A {kind} has {n_facts:.0f} facts to get right on average.")
    sentences.append(
        f"In {n_words:,} words of dialogue, so many word pairs are different: {pairs}."
    )
    return " ".join(sentences)
