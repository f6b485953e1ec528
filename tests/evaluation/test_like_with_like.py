"""Systems stand side by side on the same encounters alone, and with measures that mean something.

The base writes fewer notes here, and the fine-tuned model is worse on those than on the others, so
that a mean over other encounters would show.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pytest

from medisum_utils import evaluation, runs
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation import (
    SplitScores,
    note_views,
    plots,
    systems,
    tables,
    text as sentences,
)
from medisum_utils.facts import NoteFacts
from medisum_utils.runs import overview, results
from medisum_utils.scoring.rouge import interval
from medisum_utils.synthesis.encounters import generate, generate_tests

N, N_BASE = 12, 5
ALL, COMPLETE = {"copy", "nearest", "base", "finetuned"}, {"copy", "nearest", "finetuned"}


def names(systems: set[str]) -> set[str]:
    return {tables.name_of(system) for system in systems}


@pytest.fixture(scope="module")
def visits() -> list[Encounter]:
    return list(generate_tests(N, seed=5, split="test"))


@pytest.fixture(scope="module")
def train() -> list[Encounter]:
    return list(generate(30, seed=5, split="train"))


def real(visits: Sequence[Encounter]) -> list[Encounter]:
    """The same visits without a record of their facts, as real ones are."""
    return [dataclasses.replace(visit, facts=()) for visit in visits]


def half(note: str) -> str:
    return note[: len(note) // 2]


def notes_of(visits: Sequence[Encounter], train: Sequence[Encounter], n_base: int) -> dict:
    """The first notes of the fine-tuned model are halves, the others whole."""
    whole = [visit.note_text for visit in visits]
    written = [half(text) if i < N_BASE else text for i, text in enumerate(whole)]
    return {
        "copy": systems.copied(visits),
        "nearest": systems.nearest_notes(train, visits)[0],
        "base": [text[: len(text) // 3] for text in whole[:n_base]],
        "finetuned": written,
    }


def scored(visits: Sequence[Encounter], train: Sequence[Encounter], n_base: int) -> SplitScores:
    return evaluation.score_split(visits, notes_of(visits, train, n_base))


@pytest.fixture(scope="module", params=["record", "statements"])
def scores(request, visits, train) -> SplitScores:
    return scored(visits if request.param == "record" else real(visits), train, N_BASE)


@pytest.fixture(scope="module")
def same(scores) -> SplitScores:
    return evaluation.same_encounters(scores)


@pytest.fixture(scope="module")
def entry(scores, same) -> dict:
    return evaluation.split_metrics(scores, same, "0" * 64, 17)


# --- on the same encounters ----------------------------------------------------------------------


def test_the_block_scores_every_system_on_what_each_wrote(scores, same):
    assert set(same.systems) == ALL
    assert [visit.id for visit in same.encounters] == [v.id for v in scores.encounters[:N_BASE]]
    for name, system in same.systems.items():
        assert system.n == N_BASE
        for measure in ("rouge1", "rougeLsum", "f1", "hallucination"):
            whole = scores.systems[name].values(measure)
            assert system.values(measure) == (None if whole is None else whole[:N_BASE])


def test_the_block_knows_nothing_of_later_encounters(scores, same, visits, train):
    """The same block, though all later notes, references and dialogues are others."""
    others = [
        *scores.encounters[:N_BASE],
        *(dataclasses.replace(v, facts=visits[0].facts if scores.is_exact else ()) for v in
          generate_tests(N - N_BASE, seed=99, split="test")),
    ]  # fmt: skip
    notes = notes_of(scores.encounters, train, N_BASE)
    notes |= {name: [*notes[name][:N_BASE], *["Plan:\nRest."] * (N - N_BASE)] for name in COMPLETE}
    block = evaluation.same_encounters(evaluation.score_split(others, notes))
    assert block.systems == same.systems


def test_metrics_hold_the_base_with_its_own_n_and_the_block(entry, same):
    assert {name: found["n"] for name, found in entry["systems"].items()} == {
        **dict.fromkeys(COMPLETE, N),
        "base": N_BASE,
    }
    block = entry["same_encounters"]
    assert block["n"] == N_BASE
    assert {name: found["n"] for name, found in block["systems"].items()} == dict.fromkeys(
        ALL, N_BASE
    )
    ours = block["systems"]["finetuned"]["rouge1"]
    assert ours == interval(same.systems["finetuned"].rouge["rouge1"], 17)
    assert ours["mean"] < entry["systems"]["finetuned"]["rouge1"]["mean"]
    for measure in ("rouge1", "facts"):
        assert block["systems"]["base"][measure] == entry["systems"]["base"][measure]


def test_no_table_or_figure_mixes_encounters(scores, same, entry):
    splits, blocks = {"test": entry}, results.same_encounters({"test": entry})
    for table in (tables.results_table, tables.facts_table):
        whole, beside = table(splits), table(blocks)
        assert set(whole.index.get_level_values("system")) == names(COMPLETE)
        assert set(whole["n"]) == {N}
        assert set(beside.index.get_level_values("system")) == names(ALL)
        assert set(beside["n"]) == {N_BASE}
    sections = tables.section_table(entry, scores)
    assert set(sections.index.get_level_values("system")) == names({"nearest", "finetuned"})
    assert len(set(sections.groupby("section")["notes"].nunique())) == 1
    assert set(tables.style_table(scores).index) == {"reference", *names(COMPLETE)}
    groups = tables.group_table(scores, tables.lengths_of(scores.encounters), "rouge1", 17)
    assert set(groups.columns) == {"n", *names(COMPLETE)}
    assert groups["n"].sum() == N
    for rows in (
        plots.rouge_rows(entry),
        plots.kind_rows(entry, "f1" if scores.is_exact else "omission"),
    ):
        assert rows
        assert all("base" not in row for row in rows.values())
    gaps = tables.difference_table({"test": scores}, 17)
    assert set(gaps["n"]) == {N}
    assert "minus base without adapter" not in gaps.index.get_level_values(1)
    (row,) = tables.difference_table({"test": same}, 17, ["base"]).to_dict("records")
    assert row["n"] == N_BASE
    expected = evaluation.difference(same, "base", "rouge1", 17)["mean"]
    assert row["ROUGE-1"].startswith(f"{expected:.3f}")


def test_assessment_and_plan_stand_apart_only_where_no_note_joins_them(visits, train):
    """Here each system joins them in one note, and not in the same one."""
    notes = notes_of(visits, train, N)
    for name, place in (("nearest", 7), ("finetuned", 8)):
        joined = notes[name][place].replace("Assessment:", "Assessment and plan:")
        notes[name][place] = joined.replace("\nPlan:", "")
    scores = evaluation.score_split(visits, notes)
    entry = evaluation.split_metrics(scores, None, "0" * 64, 17)
    sections = tables.section_table(entry, scores).index.get_level_values("section")
    assert set(sections) == {"subjective", "objective", "assessment and plan"}
    scores = scored(visits, train, N)
    entry = evaluation.split_metrics(scores, None, "0" * 64, 17)
    sections = tables.section_table(entry, scores).index.get_level_values("section")
    assert set(sections) == {"subjective", "objective", "assessment", "plan"}


def test_the_answer_compares_each_on_its_own_encounters(scores, same):
    said = sentences.answer("test", scores, same, 17)
    whole, first = said.split(f"On the first {N_BASE}, all that base without adapter wrote, ")
    assert f"On {N} held-out encounters of `test`" in whole
    assert "base without" not in whole

    def mean(part: SplitScores, name: str, measure: str = "rouge1") -> str:
        return f"{np.mean(part.systems[name].values(measure)):.3f}"

    assert f"reaches ROUGE-1 **{mean(scores, 'finetuned')}**" in whole
    assert f"nearest training note ({mean(scores, 'nearest')})" in whole
    assert f"it reaches {mean(same, 'finetuned')}" in first
    assert f"base without adapter ({mean(same, 'base')})" in first
    assert mean(scores, "finetuned") != mean(same, "finetuned")


@pytest.mark.parametrize(("verdict", "cut"), [("better than", 3), ("worse than", 1)])
def test_the_verdict_is_of_the_paired_difference(visits, train, verdict, cut):
    notes = notes_of(visits, train, N_BASE)
    notes["base"] = [v.note_text[: len(v.note_text) // cut] for v in visits[:N_BASE]]
    scores = evaluation.score_split(visits, notes)
    said = sentences.answer("test", scores, evaluation.same_encounters(scores), 17)
    assert f"{verdict} base without adapter" in said
    # the mean over all twelve would beat any base: only the first five tell which is better


def test_equal_notes_are_indistinguishable(visits, train):
    notes = notes_of(visits, train, N_BASE)
    notes["base"] = notes["finetuned"][:N_BASE]
    scores = evaluation.score_split(visits, notes)
    said = sentences.answer("test", scores, evaluation.same_encounters(scores), 17)
    assert "indistinguishable from base without adapter" in said


def test_the_figure_s_title_names_the_best_of_those_shown(entry):
    systems = results.complete_systems(entry)
    lead = systems["finetuned"]["rouge1"]["mean"] - systems["nearest"]["rouge1"]["mean"]
    assert plots.rouge_title("test", entry) == (
        f"test: fine-tuned {lead:.2f} above the best baseline shown in ROUGE-1"
    )


def test_where_all_wrote_all_there_is_one_table(visits, train):
    scores = scored(visits, train, N)
    assert evaluation.same_encounters(scores) is None
    entry = evaluation.split_metrics(scores, None, "0" * 64, 17)
    assert "same_encounters" not in entry
    assert set(tables.results_table({"test": entry}).index.get_level_values(1)) == names(ALL)
    assert "base" in plots.rouge_rows(entry)["ROUGE-1"]
    said = sentences.answer("test", scores, None, 17)
    assert "base without adapter" in said
    assert "On the first" not in said


def test_a_slice_is_judged_as_its_split_is(visits, train):
    """The first visits have one section and a record, the split has neither throughout."""
    first = [
        dataclasses.replace(v, note=v.note[:1]) if i < N_BASE else dataclasses.replace(v, facts=())
        for i, v in enumerate(visits)
    ]
    scores = scored(first, train, N_BASE)
    block = evaluation.same_encounters(scores)
    assert (scores.protocol, scores.is_exact) == (block.protocol, block.is_exact) == ("soap", False)
    assert all(
        isinstance(note, NoteFacts) for system in scores.systems.values() for note in system.judged
    )


def test_the_index_shows_each_row_s_own_n(entry, project):
    step = runs.start("04_eval", "made-up", {})
    metrics = {"model": "a-base", "splits": {"test": entry}}
    runs.write_json(step.stage(runs.report_dir("made-up") / "metrics.json"), metrics)
    step.finish()
    described = overview.describe_profile("made-up")
    for rows, shown, n in (
        (described["rows"], COMPLETE, N),
        (described["same_rows"], ALL, N_BASE),
    ):
        assert [row["system"] for row in rows] == [
            label for name, label in results.SYSTEM_NAMES.items() if name in shown
        ]
        assert {row["n"] for row in rows} == {n}
    assert described["columns"][-2:] == ["fact F1", "hallucinated"]
    index = overview.write_index().read_text(encoding="utf-8")
    (n_base,) = re.findall(r"test, (\d+) notes</th></tr>(?:\n<tr.*)*?base without adapter", index)
    assert n_base == str(N_BASE)


# --- measures without meaning --------------------------------------------------------------------


def test_a_copied_dialogue_is_not_read_with_the_generator_s_grammar(scores, same, entry):
    copied = entry["systems"]["copy"]
    block = entry["same_encounters"]["systems"]["copy"]
    assert copied["sections"] is None  # its lines stand under no header
    if scores.is_exact:
        assert copied["facts"] is copied["kinds"] is block["facts"] is None
        assert evaluation.difference(scores, "copy", "f1", 17) is None
    else:
        assert copied["facts"]["f1"]["mean"] > 0.2
        assert block["facts"]["f1"] == interval(same.systems["copy"].facts["f1"], 17)
        assert copied["kinds"]


def test_every_table_shows_a_dash_for_it(scores, entry):
    copied, splits = tables.name_of("copy"), {"test": entry}
    gaps = tables.difference_table({"test": scores}, 17)
    groups = tables.group_table(scores, tables.lengths_of(scores.encounters), "f1", 17)
    row = overview._rows(splits, results.FACTS)[0]
    shown = [
        *(table(splits).loc[("test", copied), ["fact F1", "hallucinated"]]
          for table in (tables.results_table, tables.facts_table)),
        tables.style_table(scores).loc[copied, ["fact F1", "hallucinated"]],
        gaps.loc[("test", f"minus {copied}"), ["fact F1", "p, fact F1"]],
        groups[copied],
        [cell["mean"] for cell in row["cells"][-2:]],
    ]  # fmt: skip
    assert row["system"] == copied
    dashes = [cell == "–" for cells in shown for cell in cells]
    assert set(dashes) == {scores.is_exact}  # statements judge a copied dialogue, too


def test_sentences_say_no_fact_score_of_it(scores, same):
    altered = [note_views.altered(text) for text in scores.references]
    probe = evaluation.score_split(scores.encounters, {"altered": altered}).systems["altered"]
    said = sentences.judges_tested("test", scores, probe, 0.36)
    if scores.is_exact:
        assert "it cannot be read as a note, so that no fact is counted." in said
    else:
        assert f"its fact F1 is {np.mean(scores.systems['copy'].facts['f1']):.3f}." in said
    assert f"fact F1 falls to **{np.mean(probe.facts['f1']):.3f}**" in said


def test_a_copy_that_is_the_strongest_has_no_fact_score_said(visits, train):
    notes = notes_of(visits, train, N)
    notes |= {"nearest": ["Plan:\nRest."] * N, "base": ["Plan:\nRest."] * N}
    scores = evaluation.score_split(visits, notes)
    said = sentences.answer("test", scores, None, 17)
    assert said.endswith("The strongest baseline by ROUGE-1 is dialogue copied.")


def test_hallucinated_is_defined_where_it_is_shown(scores, same, entry):
    method = sentences.how_facts_are_checked({"test": entry})
    meaning = results.HALLUCINATED[entry["facts_by"]]
    assert f"*Hallucinated* is {meaning}" in method
    assert meaning in sentences.answer("test", scores, same, 17)
    assert results.hallucinated({"test": entry}) == meaning
    said = note_views.headline(scores, 0, "worst")
    assert "hallucinated" in said
    assert "invented" not in said
