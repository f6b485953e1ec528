"""The one kind of figure that 04 needs: estimates with intervals, a row each, a marker a system.

As in the tables, only systems that wrote notes of the same encounters stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medisum_utils import figures
from medisum_utils.evaluation.scores import COPY
from medisum_utils.runs.overview import complete_systems
from medisum_utils.scoring.report import TITLES
from medisum_utils.scoring.rouge import ROUGE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    lead = means.pop("finetuned") - max(means.values())
    where = "above" if lead > 0 else "below"
    return f"{split}: fine-tuned {abs(lead):.2f} {where} the best baseline shown in ROUGE-1"


def kind_rows(entry: Mapping[str, Any], rate: str) -> dict[str, dict[str, Estimate | None]]:
    """A rate of a split by the kinds of fact in its records, then by system that writes notes."""
    systems = {
        name: scores["kinds"] for name, scores in complete_systems(entry).items() if name != COPY
    }
    return {
        kind: {name: kinds.get(kind, {}).get(rate) for name, kinds in systems.items()}
        for kind, rates in systems["finetuned"].items()
        if rates["n"]
    }


def dots(
    ax: Axes, rows: Mapping[str, Mapping[str, Estimate | None]], names: Mapping[str, str]
) -> None:
    """Draws each row's estimates (mean, low, high) one below the other, first row at the top.

    `names` holds what each system is called in the legend; None is left out.
    """
    systems = list(dict.fromkeys(system for row in rows.values() for system in row))
    gap = SPREAD / max(len(systems), 1)
    for number, system in enumerate(systems):
        offset = gap * (number - (len(systems) - 1) / 2)
        places, means, below, above = [], [], [], []
        for row, estimates in enumerate(rows.values()):
            estimate = estimates.get(system)
            if estimate is None:
                continue
            mean = estimate["mean"]
            low, high = (
                mean if estimate[end] is None else estimate[end] for end in ("low", "high")
            )
            places.append(row + offset)
            means.append(mean)
            below.append(max(mean - low, 0.0))  # a percentile interval may miss the mean by a hair
            above.append(max(high - mean, 0.0))
        ax.errorbar(
            means,
            places,
            xerr=[below, above],
            fmt=figures.marker_of(system),
            color=figures.colour_of(system),
            ms=5,
            label=names.get(system, system),
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def legend_below(ax: Axes, n_columns: int) -> None:
    """The legend under the axes, where it covers no estimate."""
    fig = ax.figure
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=n_columns)
