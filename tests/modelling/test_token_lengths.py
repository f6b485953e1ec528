"""The lengths that 02 reports, against examples whose tokens can be counted by hand."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.rendered import (
    draw_token_lengths,
    lengths_summary,
    token_lengths,
    tokens_table,
)


def example(n_prompt: int, n_note: int) -> RenderedExample:
    mask = (0,) * n_prompt + (1,) * n_note
    return RenderedExample(id="a", input_ids=(7,) * len(mask), completion_mask=mask, n_cut_turns=0)


@pytest.fixture
def examples() -> dict[str, list[RenderedExample]]:
    return {
        "train": [example(600 + 300 * number, 100 + number) for number in range(3)],
        "valid": [example(500, 90)],
    }


def test_prompt_note_and_both_are_counted(examples) -> None:
    lengths = token_lengths(examples)
    assert lengths.to_dict("list") == {
        "split": ["train", "train", "train", "valid"],
        "prompt": [600, 900, 1200, 500],
        "note": [100, 101, 102, 90],
        "whole example": [700, 1001, 1302, 590],
    }
    summary = lengths_summary(lengths)
    assert summary.loc[("train", "median")].tolist() == ["900", "101", "1,001"]
    assert summary.loc[("train", "longest"), "prompt"] == "1,200"
    assert summary.loc[("valid", "5%")].tolist() == ["500", "90", "590"]


def test_shares_and_words_are_of_their_own_split(examples) -> None:
    words, pieces = {"train": 1000, "valid": 100}, {"train": 1540, "valid": 150}
    table = tokens_table(words, pieces, token_lengths(examples))
    assert table.loc["train"].tolist() == ["1,000", "1.54", "3,003", "303", "10.1"]
    assert table.loc["valid"].tolist() == ["100", "1.50", "590", "90", "15.3"]


def test_the_legend_covers_no_histogram(examples) -> None:
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots(1, 2)
    draw_token_lengths(axes, token_lengths(examples))
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["train (n = 3)", "valid (n = 1)"]
    for axis in axes:
        assert axis.get_legend() is None
        assert not legend.get_window_extent().overlaps(axis.get_window_extent())
