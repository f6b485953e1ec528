"""The cells of 04 that only data of real visits fill, on the corpora that they are for.

No profile that is run everywhere has such data, so that a fault there would show only in somebody's
long run. The cells are taken from the notebook as it stands.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import jsonschema
import jupytext
import pytest

from medisum_utils import evaluation, figures
from medisum_utils.data.corpora_fetch import corpora_folder
from medisum_utils.data.sources import load_source
from medisum_utils.encounter import read_jsonl, write_jsonl
from medisum_utils.evaluation import (
    agreement,
    page,
    plots,
    published,
    quoted,
    real_text,
    systems,
    tables,
    text as sentences,
    truth,
)
from medisum_utils.evaluation.dangers import danger_table, dangers
from medisum_utils.pretraining import ablation_record
from medisum_utils.runs import results
from medisum_utils.synthesis.encounters import generate_tests

RECORD = {
    "base": "models/base",
    "settings": {"lora_rank": 8, "n_steps": 9, "batch_size": 1, "n_accumulation": 1},
}
N = 3  # encounters of each split; what is compared is the code, not the scores
MARKS = (
    "in_short",
    "results_table",
    "whole_table",
    "study_file",
    "truth_table",
)  # one in each of the cells


def cells_for_real_data(root) -> str:
    notebook = jupytext.read(root / "notebooks" / "04_eval.py")
    found = [each.source for each in notebook.cells if any(mark in each.source for mark in MARKS)]
    assert len(found) == len(MARKS)
    return "\n".join(found)


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The data of everything that is displayed, and the titles of the figures that are saved."""
    displayed: list[str] = []
    monkeypatch.setattr(page, "display", lambda output: displayed.append(output.data))

    def save(figure, step, name) -> None:
        axis = figure.axes[0]  # its title stands left in this project's style, else in the middle
        title = figure.get_suptitle() or axis.get_title("left") or axis.get_title()
        displayed.append(title)

    monkeypatch.setattr(figures, "save", save)
    return displayed


def run_cells(root, tmp_path, source: str, names: list[str], parts: str) -> dict:
    """Runs the cells on the first encounters of some splits, read from files as 04 reads them.

    Returns the entries for metrics.json.
    """
    loaded = load_source(source, seed=17, sizes={}, own_shares={})
    read = {}
    for name in names:
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, loaded[name])
        read[name] = read_jsonl(path)[:N]
    encounters = systems.with_named_sections(read, parts)
    notes = {
        name: systems.baselines(loaded["train"][:20], part)[0]
        | {
            "base": [each.dialogue_text[:200] for each in part[:2]],  # fewer than all
            "finetuned": [each.note_text for each in part],
        }
        for name, part in encounters.items()
    }
    scores = {name: evaluation.score_split(encounters[name], notes[name]) for name in encounters}
    return run_on(root, scores, notes, loaded["train"])


def run_on(root, scores: dict, notes: dict, train: list) -> dict:
    """Runs the cells on the scores of some splits; returns the entries for metrics.json."""
    encounters = {name: part.encounters for name, part in scores.items()}
    names = list(encounters)
    same = {name: evaluation.same_encounters(part) for name, part in scores.items()}
    splits = {
        name: evaluation.split_metrics(part, same[name], "0" * 64, 17)
        for name, part in scores.items()
    }
    values = {
        "ablation_record": ablation_record,
        "agreement": agreement,
        "corpora_folder": corpora_folder,
        "figures": figures,
        "page": page,
        "plots": plots,
        "published": published,
        "quoted": quoted,
        "real_text": real_text,
        "results": results,
        "sentences": sentences,
        "tables": tables,
        "truth": truth,
        "profile": "none-with-trials",
        "names": names,
        "titles": results.split_titles(encounters),
        "first": names[0],
        "encounters": encounters,
        "notes": notes,
        "scores": scores,
        "answer": SimpleNamespace(update=lambda shown: page.display(shown)),
        "danger_table": danger_table,
        "dangers": dangers,
        "record": RECORD,
        "train": train,
        "same": {name: part for name, part in same.items() if part is not None},
        "splits": splits,
        "facts_are_known": all(part.is_exact for part in scores.values()),
        "seed": 17,
        "step": None,
    }
    exec(cells_for_real_data(root), values)
    return splits


def headings(shown: list[str]) -> list[str]:
    return [each.splitlines()[0][3:] for each in shown if each.startswith("## ")]


def check_schema(splits: dict) -> None:
    schema = evaluation.SCHEMA_FILE.read_text(encoding="utf-8")
    jsonschema.validate({"splits": splits}, {**json.loads(schema), "required": []})


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("aci-bench", ["test1", "test2"]),
        ("aci-bench+mts-dialog", ["aci_test1", "aci_test2", "mts_test1"]),
    ],
)
def test_both_comparisons_appear_for_the_real_corpora(
    corpora, root, tmp_path, shown, source, names
):
    splits = run_cells(root, tmp_path, source, names, parts="divisions")
    assert [name for name in splits if "official" in splits[name]] == names[:2]
    assert "released" in splits[names[0]]["official"]
    expected = [f"`{name}` by the corpus's own evaluator" for name in names[:2]]
    if "mts_test1" in names:
        expected.insert(0, "Beside figures that others published")
    people = ["Do people agree with the fact score?", "Does ROUGE rise while truth falls?"]
    assert headings(shown) == expected + people
    answer = shown[0]
    assert f"On `{names[0]}`, with ROUGE-1 **" in answer
    assert "Does ROUGE rise while truth falls" in answer
    (table,) = [each for each in shown if f"<code>{names[0]}</code>, full notes" in each]
    for system in ("GPT-4", "BART+SAMSum by division", "dialogue copied", "fine-tuned"):
        assert f"<td>{system}</td>" in table
    assert "base without adapter" not in table
    assert table.index("nearest training note<") < table.index("dialogue copied")
    divisions = [each for each in shown if f"<code>{names[0]}</code>, ROUGE-" in each]
    assert len(divisions) == 3
    assert all("<th>assessment and plan</th>" in each for each in divisions)
    (stemmed,) = [at for at, each in enumerate(shown) if each.startswith("**With stemming")]
    assert "<td>fine-tuned</td>" in shown[stemmed + 1]
    assert any(each.startswith("The fact score agrees with people at r = 0.7") for each in shown)
    assert any(each.startswith(f"{names[0]}:\nROUGE-1") for each in shown)
    check_schema(splits)


@pytest.mark.corpus
@pytest.mark.slow
def test_mts_dialog_stands_beside_quoted_figures_and_under_both_protocols(
    corpora, root, tmp_path, shown
):
    splits = run_cells(root, tmp_path, "mts-dialog", ["test1", "test2"], parts="section")
    assert headings(shown) == [
        "Beside figures that others published",
        "Do people agree with the fact score?",
        "Does ROUGE rise while truth falls?",
    ]
    (table,) = [each for each in shown if "quoted: " in each]
    assert "<td>test1, header predicted</td>" in table
    assert "<td>test2, header given</td>" in table
    assert not any("_named" in each for each in shown)
    assert list(splits) == ["test1", "test1_named", "test2", "test2_named"]
    check_schema(splits)


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize("source", ["aci-bench", "mts-dialog"])
def test_no_word_of_a_visit_is_shown(corpora, root, tmp_path, shown, source):
    """No run of six words of a dialogue or note: what is described is counted."""
    run_cells(root, tmp_path, source, ["test1"], parts="divisions")
    visible = " ".join(" ".join(shown).lower().split())
    for each in load_source(source, seed=17, sizes={}, own_shares={})["test1"][:N]:
        for text in (each.dialogue_text, each.note_text):
            words = text.lower().split()
            runs = [" ".join(words[i : i + 6]) for i in range(len(words) - 5)]
            assert runs
            assert not any(run in visible for run in runs)


def test_of_generated_visits_nothing_of_it_is_said(root, monkeypatch, shown):
    monkeypatch.delenv("MEDISUM_CORPORA", raising=False)
    visits = list(generate_tests(N, seed=5, split="test"))
    notes = [each.note_text for each in visits]
    scores = evaluation.score_split(visits, {"copy": notes, "nearest": notes, "finetuned": notes})
    run_on(root, {"test": scores}, {"test": dict.fromkeys(scores.systems, notes)}, visits)
    answer, _, differences = shown
    assert "Differences on all encounters" in differences
    assert "published" not in answer
    assert "truth" not in answer
