"""Rendered splits: what became of every encounter, their files, and the tables and figure of 02."""

from __future__ import annotations

import html
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medisum_utils import figures
from medisum_utils.encounter import Encounter
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.template import ONE_NOTE
from medisum_utils.runs.files import read_json_lines, write_json_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("prompt", "note")
N_BINS = 30
_LINES = ("-", "--")
_QUANTILES = {0.05: "5%", 0.5: "median", 0.95: "95%", 1.0: "longest"}


def render_all(
    renderer: Renderer, encounters: Iterable[Encounter], *, max_tokens: int, policy: str
) -> tuple[list[RenderedExample], Counter[str]]:
    """Renders a split and counts what became of it: "whole", "cut", "dropped: <reason>".

    Raises: ValueError if nothing is left, for an unknown policy, an empty dialogue or note.
    """
    examples: list[RenderedExample] = []
    fates: Counter[str] = Counter()
    for encounter in encounters:
        rendered = renderer.fitted_example(encounter, max_tokens, policy)
        if isinstance(rendered, str):
            fates[f"dropped: {rendered}"] += 1
        else:
            fates["cut" if rendered.n_cut_turns else "whole"] += 1
            examples.append(rendered)
    if not examples:
        raise ValueError(f"expected examples within {max_tokens} tokens, got none ({dict(fates)})")
    return examples, fates


def write_rendered(path: str | os.PathLike, examples: Iterable[RenderedExample]) -> int:
    """Writes one JSON object an example, the file whole or not at all, and returns how many."""
    return write_json_lines(path, map(asdict, examples))


def read_rendered(path: str | os.PathLike) -> list[RenderedExample]:
    """What `write_rendered` wrote; see `files.read_json_lines` for what it raises."""
    return read_json_lines(path, RenderedExample)


def supervised_html(renderer: Renderer, example: RenderedExample) -> str:
    """The example as HTML with the supervised tokens marked and every control token in a box.

    It shows the text: the caller decides whether it may be seen.
    """
    names = {number: token for token, number in renderer.control_ids.items()}
    pairs = zip(example.input_ids, example.completion_mask, strict=True)
    shown = ""
    # Other pieces decode together, since one character may be spread over several.
    for (name, supervised), group in itertools.groupby(
        pairs, key=lambda pair: (names.get(pair[0]), pair[1])
    ):
        text = html.escape(name or renderer.decode_note([token for token, _ in group]))
        if name:
            text = f"<b>{text}</b>"
        shown += f"<mark>{text}</mark>" if supervised else text
    return f'<pre style="white-space: pre-wrap">{shown}</pre>'


def control_table(renderer: Renderer) -> pd.DataFrame:
    """The template's control tokens: ids, how often one note's example has each, and other uses."""
    placed = Counter(part for part in renderer.template.lay_out(ONE_NOTE) if isinstance(part, int))
    uses = (
        ("ends a note", renderer.stop_ids[:1]),
        ("stops the writing as well", renderer.stop_ids[1:]),
        ("pads a batch", (renderer.pad_id,)),
    )
    rows = [
        {
            "token": token,
            "id": number,
            "times in an example": placed[number],
            "what else it does": ", ".join(use for use, ids in uses if number in ids),
        }
        for token, number in renderer.control_ids.items()
    ]
    return pd.DataFrame(rows).set_index("token")


def token_lengths(examples: Mapping[str, Sequence[RenderedExample]]) -> pd.DataFrame:
    """One row an example: split, and the tokens of its prompt, its note and both.

    The prompt is what is read only; of a note in parts, that includes the requests between them.
    """
    rows = [
        (split, len(example.input_ids) - example.n_completion_tokens, example.n_completion_tokens)
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
