"""What 01 shows: an escaped page, figures whose labels can be read, sentences for each case."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medisum_utils.data import overview, variety, views
from medisum_utils.data.variety import Nearest
from medisum_utils.encounter import Encounter, Fact, NoteSection, Turn
from medisum_utils.synthesis.encounters import generate


def test_an_encounter_is_shown_escaped_with_its_facts_beside_the_turns() -> None:
    visit = Encounter(
        "a",
        "own",
        "train",
        (Turn("doctor", "Pain < 5?"), Turn("<b>patient", "No.")),
        (NoteSection("Plan", "plan", "Rest & <i>wait</i>."),),
        (Fact("pain<", "subjective", "no pain", turns=(1,)),),
    )
    page = views.encounter_html(visit)
    assert "Pain &lt; 5?" in page
    assert "<b>&lt;b&gt;patient</b> No." in page
    assert "Plan:\nRest &amp; &lt;i&gt;wait&lt;/i&gt;." in page
    said = page.split("<div")
    assert "pain&lt;: no pain" in said[2]
    assert "no pain" not in said[1]
    assert "<b>S</b>" in said[2]


def lengths(*n_turns: int) -> pd.DataFrame:
    return pd.DataFrame({"n_turns": n_turns, "note_words": [3 * n for n in n_turns]})


@pytest.mark.parametrize(
    "compared",
    [
        {"generated data": lengths(24, 30, 36, 52)},  # less than a power of ten
        {"generated data": lengths(24, 30, 52), "mts-dialog": lengths(2, 9, 40, 120)},
        {"generated data": lengths(24, 30), "mts-dialog": lengths(2, 500), "own": lengths(9, 90)},
        {"generated data": lengths(30, 31, 32)},
        {"generated data": lengths(7)},
    ],
)
def test_the_labels_of_the_lengths_do_not_run_into_each_other(compared) -> None:
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    views.draw_lengths(axes, compared)
    FigureCanvasAgg(figure).draw()
    for axis in axes:
        low, high = axis.get_xlim()
        ticks = [*axis.xaxis.get_major_ticks(), *axis.xaxis.get_minor_ticks()]
        boxes = [
            tick.label1.get_window_extent()
            for tick in ticks
            if tick.label1.get_text() and low <= tick.get_loc() <= high
        ]
        assert len(boxes) >= 1
        ordered = sorted(boxes, key=lambda box: box.x0)
        assert all(left.x1 < right.x0 for left, right in pairwise(ordered))
    assert figure.get_suptitle().endswith("turns (generated data)")


def test_the_title_of_a_figure_is_about_the_first_data() -> None:
    axes = Figure().subplots(1, 3)
    growths = {
        "mine": variety.vocabulary_growth([["a", "b"] * 1000]),
        "other": variety.vocabulary_growth([[f"w{i}" for i in range(2000)]]),
    }
    views.draw_vocabulary(axes[0], growths)
    assert axes[0].get_title(loc="left") + axes[0].get_title() == (
        "2 different words in 2,000 words of mine"
    )
    found = {
        "test": Nearest(np.array([0, 0]), np.array([0.25, 0.75])),
        "test_unseen": Nearest(np.array([0]), np.array([0.1])),
    }
    views.draw_nearest(axes[1], found)
    title = axes[1].get_title(loc="left") + axes[1].get_title()
    assert title == "Half of test is no closer than 0.50 to any training dialogue"
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels == ["test (n = 2)", "test_unseen (n = 1)"]
    views.draw_fact_places(axes[2], overview.facts_of(list(generate(4, seed=1, split="train"))))
    assert "of the plan is said after" in axes[2].get_title(loc="left") + axes[2].get_title()


def test_every_test_of_a_join_of_all_sources_is_drawn_apart() -> None:
    axis = Figure().subplots()
    near = Nearest(np.array([0, 1]), np.array([0.4, 0.6]))
    names = ["test", "test_unseen", "aci_test1", "aci_test2", "aci_test3", "mts_test1", "mts_test2"]
    views.draw_nearest(axis, dict.fromkeys(names, near))
    assert len(axis.lines) == len(names)
    styles = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in axis.lines}
    assert len(styles) == len(names)


@pytest.mark.parametrize(
    ("source", "compared", "asked_for", "says"),
    [
        ("synthetic", ["generated data"], True, "*aci-bench and mts-dialog: not at hand, so"),
        ("synthetic", ["generated data"], False, "*aci-bench and mts-dialog: not asked for, so"),
        ("aci-bench", ["aci-bench"], True, "*mts-dialog: not at hand, so"),
        ("aci-bench", ["aci-bench", "mts-dialog"], True, "*Compared: aci-bench, mts-dialog.*"),
    ],
)
def test_missing_corpora_are_named_with_the_reason(source, compared, asked_for, says) -> None:
    assert views.compared_sentence(source, compared, asked_for=asked_for).startswith(says)


def test_the_answer_holds_what_was_measured() -> None:
    measured = {
        "highest_jaccard": 0.125,
        "rouge1": {"test": 0.456, "test_unseen": 0.3},
        "distinct_pairs": {"generated data": 0.21, "mts-dialog": 0.5},
        "n_words": 50_000,
    }
    sizes = {"train": 1540, "test": 200}
    said = views.verdict("generated data", sizes, n_facts=21.4, **measured)
    assert said == (
        "**No encounter of generated data stands in two splits** (train 1,540, test 200): the "
        "closest two share 12% of their five-word shingles. The note of the nearest training "
        "dialogue scores ROUGE-1 0.46 on test, 0.30 on test_unseen. A note has 21 facts to get "
        "right on average. In 50,000 words of dialogue, so many word pairs are different: "
        "generated data 21%, mts-dialog 50%."
    )
    mixed = views.verdict("synthetic+aci-bench", sizes, n_facts=21.4, **measured)
    assert "A generated note has 21 facts to get right on average." in mixed
    without = views.verdict("your own data", sizes, n_facts=0.0, **measured)
    assert "facts" not in without
    assert without.startswith("**No encounter of your own data")
