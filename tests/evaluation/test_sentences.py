"""The sentences of 04 say what was counted, and nothing of what did not happen."""

from __future__ import annotations

import dataclasses

import pytest

from medisum_utils import evaluation
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation import note_views, plots, systems, tables, text as sentences
from medisum_utils.evaluation.dangers import Danger
from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.synthesis.encounters import generate_tests

N = 12


@pytest.fixture(scope="module")
def visits() -> list[Encounter]:
    return list(generate_tests(N, seed=5, split="test"))


@pytest.fixture(scope="module", params=["record", "statements"])
def scores(request, visits) -> evaluation.SplitScores:
    if request.param == "statements":
        visits = [dataclasses.replace(visit, facts=()) for visit in visits]
    notes = [visit.note_text for visit in visits]
    notes[0] = "Plan:\nStop zelvorin."
    copied = systems.copied(visits)
    return evaluation.score_split(visits, {"copy": copied, "finetuned": notes})


def title_of(ax) -> str:
    """Titles stand in the middle, or on the left once a test has called `figures.use_style`."""
    return ax.get_title("left") + ax.get_title()


@pytest.fixture(scope="module")
def entry(scores) -> dict:
    return evaluation.split_metrics(scores, None, "0" * 64, 17)


def test_what_was_trained_is_of_the_record(visits):
    settings = {"lora_rank": 16, "n_steps": 1540, "batch_size": 4, "n_accumulation": 2}
    record = {"base": "models/base", "settings": settings}
    said = sentences.trained(record, visits)
    assert "LoRA adapter of rank 16 on `models/base`" in said
    assert f"1,540 steps of 8 encounters each, from {N} generated training encounters" in said
    real = [dataclasses.replace(visit, facts=()) for visit in visits]
    assert f"from {N} training encounters" in sentences.trained(record, real)
    record["settings"] = {**settings, "batch_size": 1, "n_accumulation": 1}
    assert "of 1 encounter each" in sentences.trained(record, visits)
    record["settings"] = {**settings, "batch_size": 1, "batch_tokens": 4096}
    assert "of at most 8,192 tokens each" in sentences.trained(record, visits)


def test_where_it_fails_names_the_weakest_kind(scores, entry):
    errors = [Danger("an error", 2, 5)]
    said = sentences.fails("test", entry, errors)
    kinds = entry["systems"]["finetuned"]["kinds"]
    if scores.is_exact:
        f1 = {name: rates["f1"]["mean"] for name, rates in kinds.items() if rates["n"]}
        weakest = min(f1, key=f1.__getitem__)
        assert f"{weakest}: F1 {f1[weakest]:.3f} over {kinds[weakest]['n']:,} facts." in said
    else:
        lost = {name: rates["omission"]["mean"] for name, rates in kinds.items()}
        weakest = max(lost, key=lost.__getitem__)
        assert f"{weakest}: {lost[weakest]:.3f} of {kinds[weakest]['n']:,}." in said
    assert said.endswith(":")  # the table follows
    assert not sentences.fails("test", entry, [Danger("an error", 0, 5)]).endswith(":")


def test_where_nothing_was_said_nothing_failed(entry):
    systems_without = {"finetuned": {**entry["systems"]["finetuned"], "kinds": {}}}
    assert sentences.fails("test", {**entry, "systems": systems_without}, []) == ""


def test_groups_too_small_for_a_sentence_are_not_said(scores):
    lengths = tables.lengths_of(scores.encounters)
    said = sentences.weak_groups("test", scores, lengths, ["a"] * 5 + ["b"] * 5 + ["c"] * 2)
    means = tables.group_values(scores.systems["finetuned"], ["a"] * 5 + ["b"] * 7, "f1")
    assert f"lowest in a ({sum(means['a']) / 5:.3f}, 5 encounters)" in said
    assert "highest in b (" in said
    assert " c (" not in said
    assert sentences.weak_groups("test", scores, lengths, ["a"] * N).endswith("words).")


def test_wrong_facts_are_counted_without_their_text():
    facts = [("v1", "dose", "secret"), ("v1", "dose", "secret"), ("v2", "plan", "secret")]
    said = sentences.wrong_facts("test", "omitted", facts, with_kinds=True)
    assert said == "`test`, omitted: 3 in 2 notes: most often dose (2), plan (1)"
    assert sentences.wrong_facts("test", "omitted", facts, with_kinds=False).endswith("2 notes")
    assert sentences.wrong_facts("test", "omitted", [], with_kinds=True).endswith("0 notes")


def test_hidden_notes_are_said_by_their_scores_alone(scores):
    places = note_views.chosen_notes(scores, 2)
    said = sentences.scores_of_hidden_notes(scores, places)
    values = [scores.systems["finetuned"].facts["f1"][place] for place in places.values()]
    assert said.endswith(f"{', '.join(f'{value:.2f}' for value in values)}.")
    assert not any(visit.id in said for visit in scores.encounters)


def test_limits_say_what_happened_only():
    finished = systems.WrittenNotes((WrittenNote("one", 3, True),), 1.0)
    unfinished = systems.WrittenNotes((WrittenNote("two", 4, False),), 1.0)
    generated, real = {"test": {"facts_by": "record"}}, {"test1": {"facts_by": "statements"}}
    said = sentences.limits([finished], 48, generated)
    assert "without an end" not in said
    assert "left out in the middle" not in said
    assert "generated" in said
    said = sentences.limits([finished, unfinished], 48, real)
    assert "1 of 2 notes of the fine-tuned model reached 48 tokens" in said
    assert "generated" not in said
    assert said.endswith("Not for clinical use.")
    both = sentences.limits([finished], 48, generated | real).splitlines()
    assert len(both) == 4
    assert "generated" in both[1]
    assert "heuristic" in both[2]


def test_time_and_memory_are_those_of_the_step():
    entry = {"seconds": 61.4, "decoding_s": 40.2, "peak_memory_gib": 1.234, "device": "cpu"}
    said = sentences.took(entry)
    assert all(figure in said for figure in ("61 s", "40 s", "1.23 GiB", "`cpu`"))


def test_figures_have_axes_for_each_split_and_name_the_weakest(scores, entry):
    plt = pytest.importorskip("matplotlib.pyplot")
    splits = {"test": entry, "other": entry}
    rate = "f1" if scores.is_exact else "omission"
    rouge, kinds = plots.rouge_figure(splits), plots.kinds_figure(splits, rate)
    assert [title_of(ax) for ax in rouge.axes] == [
        plots.rouge_title(name, entry) for name in splits
    ]
    means = {kind: row["finetuned"]["mean"] for kind, row in plots.kind_rows(entry, rate).items()}
    weakest = (min if scores.is_exact else max)(means, key=means.__getitem__)
    assert weakest in title_of(kinds.axes[0])
    assert len(kinds.axes) == len(splits)
    plt.close("all")


def test_the_figure_of_people_has_a_row_a_score():
    import pandas as pd

    plt = pytest.importorskip("matplotlib.pyplot")
    rows = [
        {"score": score, "people": people, "r": r, "low": r - 0.1, "high": r + 0.1}
        for score, people, r in (
            ("facts f1", "FactualF1", 0.71),
            ("facts omission", "OmissionRate", 0.76),
            ("facts recall", "FactualRecall", 0.5),
            ("length only", "FactualF1", 0.3),
        )
    ]
    (ax,) = plots.people_figure(pd.DataFrame(rows)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["facts", "length only"]
    assert title_of(ax).endswith("r = 0.71")
    plt.close("all")
