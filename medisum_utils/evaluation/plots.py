"""The figures of 04: estimates with intervals, a row each, a marker for each system.

As in the tables, only systems that wrote notes of the same encounters stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from medisum_utils import figures
from medisum_utils.evaluation.scores import COPY, OURS
from medisum_utils.evaluation.systems import SYSTEMS
from medisum_utils.evaluation.tables import name_of
from medisum_utils.runs.results import complete_systems, split_titles
from medisum_utils.scoring.report import TITLES
from medisum_utils.scoring.rouge import ROUGE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Estimate = Mapping[str, float | None]
SPREAD = 0.6  # of the space between two rows, shared by the systems


def rouge_rows(entry: Mapping[str, Any]) -> dict[str, dict[str, Estimate]]:
    """The ROUGEs of a split of `metrics.json`: by title, then by system."""
    systems = complete_systems(entry)
    return {
        TITLES[name]: {system: scores[name] for system, scores in systems.items()}
        for name in ROUGE_NAMES
    }


def rouge_title(split: str, entry: Mapping[str, Any]) -> str:
    """The claim of a split's ROUGE figure: how far the fine-tuned model is from the best other."""
    means = {name: scores["rouge1"]["mean"] for name, scores in complete_systems(entry).items()}
    lead = means.pop(OURS) - max(means.values())
    where = "above" if lead > 0 else "below"
    return f"{split}: fine-tuned {abs(lead):.2f} {where} the best baseline shown in ROUGE-1"


def kind_rows(entry: Mapping[str, Any], rate: str) -> dict[str, dict[str, Estimate | None]]:
    """A rate of a split by the kinds of fact in its records, then by system that writes notes."""
    systems = {
        name: scores["kinds"] for name, scores in complete_systems(entry).items() if name != COPY
    }
    return {
        kind: {name: kinds.get(kind, {}).get(rate) for name, kinds in systems.items()}
        for kind, rates in systems[OURS].items()
        if rates["n"]
    }


def dots(
    ax: Axes,
    rows: Mapping[str, Mapping[str, Estimate | None]],
    label_of: Callable[[str], str] = name_of,
) -> None:
    """Draws each row's estimates (mean, low, high) one below the other, first row at the top.

    `label_of` says what each system is called in the legend; None is left out.
    """
    systems = list(dict.fromkeys(system for row in rows.values() for system in row))
    gap = SPREAD / max(len(systems), 1)
    for number, system in enumerate(systems):
        offset = gap * (number - (len(systems) - 1) / 2)
        shown = {
            row + offset: estimates[system]
            for row, estimates in enumerate(rows.values())
            if estimates.get(system) is not None
        }
        means, low, high = (
            np.array([x["mean"] if x[end] is None else x[end] for x in shown.values()])
            for end in ("mean", "low", "high")
        )
        # A percentile interval may miss the mean by a hair.
        errors = np.maximum([means - low, high - means], 0.0)
        ax.errorbar(
            means,
            list(shown),
            xerr=errors,
            fmt=figures.marker_of(system),
            color=figures.colour_of(system),
            ms=5,
            label=label_of(system),
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def legend_below(ax: Axes, n_columns: int) -> None:
    """The legend under the axes, where it covers no estimate."""
    fig = ax.figure
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=n_columns)


def rouge_figure(splits: Mapping[str, Any]) -> Figure:
    """The ROUGEs of every split of `metrics.json`, one below the other, each with its claim."""
    size = (7.2, 1.0 + 2.2 * len(splits))
    fig, axes = plt.subplots(len(splits), 1, figsize=size, sharex=True, squeeze=False)
    for ax, (split, entry) in zip(axes[:, 0], splits.items(), strict=True):
        dots(ax, rouge_rows(entry))
        ax.set_title(rouge_title(split_titles(splits)[split], entry))
    axes[-1, 0].set(xlabel="mean F1 over the notes (fraction), with 95% interval", xlim=(0, 1))
    legend_below(axes[0, 0], len(SYSTEMS))
    return fig


def kinds_figure(splits: Mapping[str, Any], rate: str) -> Figure:
    """A rate of every split by kind of fact, two side by side, titled by the weakest kind.

    `rate` is "f1", or "omission" where the facts are only known as far as the dialogue says them.
    """
    is_f1 = rate == "f1"
    label = "fact F1" if is_f1 else "share of spoken facts left out"
    n_rows, n_columns = -(-len(splits) // 2), min(len(splits), 2)
    size = (7.2, n_rows * (5.2 if is_f1 else 3.0))
    fig, axes = plt.subplots(n_rows, n_columns, figsize=size, sharey=True, squeeze=False)
    for unused in axes.flat[len(splits) :]:
        unused.set_visible(False)
    for ax, (split, entry) in zip(axes.flat, splits.items(), strict=False):
        rows = kind_rows(entry, rate)
        dots(ax, rows)
        means = {kind: estimates[OURS]["mean"] for kind, estimates in rows.items()}
        weakest = (min if is_f1 else max)(means, key=means.get)
        title = split_titles(splits)[split]
        claim = f" weakest in\n{weakest}" if title == split else f"\nweakest in {weakest}"
        ax.set_title(f"{title}:{claim} ({means[weakest]:.2f})")
        ax.set(xlabel=f"{label}, 95% interval", xlim=(-0.02, 1.02))
    legend_below(ax, len(ax.get_legend_handles_labels()[1]))
    return fig


def people_figure(table: pd.DataFrame) -> Figure:
    """How well each score of `agreement.agreement_table` agrees with people, facts first."""
    people = {"FactualF1": "with factual F1", "OmissionRate": "with omission rate"}
    rows: dict[str, dict[str, Estimate]] = {}
    for row in table[table["people"].isin(people)].to_dict("records"):
        label = "facts" if row["score"].startswith("facts") else row["score"]
        estimate = {"mean": row["r"], "low": row["low"], "high": row["high"]}
        rows.setdefault(label, {})[row["people"]] = estimate
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    dots(ax, rows, people.get)
    ax.set(xlabel="Pearson r with people's counts, 95% interval", xlim=(0, 1))
    ax.set_title(
        f"The fact score agrees with people at r = {rows['facts']['FactualF1']['mean']:.2f}"
    )
    legend_below(ax, len(people))
    return fig
