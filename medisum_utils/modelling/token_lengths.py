"""How long rendered examples are: the tables and the figure of 02."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medisum_utils import figures
from medisum_utils.modelling.prompt import RenderedExample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("prompt", "note")
N_BINS = 30
_LINES = ("-", "--")
_QUANTILES = {0.05: "5%", 0.5: "median", 0.95: "95%", 1.0: "longest"}


def token_lengths(examples: Mapping[str, Sequence[RenderedExample]]) -> pd.DataFrame:
    """One row an example: split, and the tokens of its prompt, its note and both."""
    rows = [
        (split, example.n_prompt_tokens, example.n_completion_tokens)
        for split, rendered in examples.items()
        for example in rendered
    ]
    table = pd.DataFrame(rows, columns=["split", *PARTS])
    table["whole example"] = table["prompt"] + table["note"]
    return table


def lengths_summary(lengths: pd.DataFrame) -> pd.DataFrame:
    """The quantiles of `token_lengths`, in tokens, for each split."""
    quantiles = lengths.groupby("split").quantile(list(_QUANTILES)).round().astype(int)
    return quantiles.rename(index=_QUANTILES, level=1).map("{:,}".format)


def tokens_table(
    n_words: Mapping[str, int], n_pieces: Mapping[str, int], lengths: pd.DataFrame
) -> pd.DataFrame:
    """A row a split: words of dialogue, tokens for each of them, tokens in all and supervised."""
    sums = lengths.groupby("split")[["whole example", "note"]].sum()
    rows = {
        split: {
            "dialogue words": f"{n_words[split]:,}",
            "tokens per word": f"{n_pieces[split] / n_words[split]:.2f}",
            "tokens, rendered": f"{n_tokens:,}",
            "supervised tokens": f"{n_labels:,}",
            "supervised (%)": f"{100 * n_labels / n_tokens:.1f}",
        }
        for split, (n_tokens, n_labels) in zip(n_words, sums.loc[list(n_words)].values, strict=True)
    }
    return pd.DataFrame(rows).T.rename_axis("split")


def draw_token_lengths(axes: Sequence[Axes], lengths: pd.DataFrame) -> None:
    """Draws a histogram for prompts and one for notes, every split in both, the legend below."""
    rows = dict(iter(lengths.groupby("split", sort=False)))
    for ax, part in zip(axes, PARTS, strict=True):
        edges = np.histogram_bin_edges(lengths[part], bins=N_BINS)
        for (split, table), line in zip(rows.items(), _LINES, strict=True):
            ax.hist(
                table[part],
                edges,
                weights=np.full(len(table), 100 / len(table)),
                histtype="step",
                color=figures.colour_of(split),
                linestyle=line,
                label=f"{split} (n = {len(table):,})",
            )
        ax.set(xlabel=f"{part} length (tokens)", ylabel="share of examples (%)")
        median = rows["train"][part].median()
        ax.set_title(f"Half the {part}s: at most {median:,.0f} tokens")
    axes[0].figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(rows)
    )
