"""The cell of 04 that compares with published systems and with people, on data that it is for.

No profile that is run everywhere has such data, so that a fault there would show only in somebody's
long run. The cell is taken from the notebook as it stands.
"""

from __future__ import annotations

import jupytext
import pytest

from medisum_utils import evaluation, figures
from medisum_utils.data.sources import load_source
from medisum_utils.encounter import read_jsonl, write_jsonl
from medisum_utils.evaluation import (
    agreement,
    page,
    plots,
    published,
    systems,
    tables,
    text as sentences,
)

N = 3  # encounters of each split; what is compared is the code, not the scores


def comparing_cell(root) -> str:
    notebook = jupytext.read(root / "notebooks" / "04_eval.py")
    (cell,) = [each.source for each in notebook.cells if "published_table" in each.source]
    return cell


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The data of everything that is displayed, and the titles of the figures that are saved."""
    displayed: list[str] = []
    monkeypatch.setattr(page, "display", lambda output: displayed.append(output.data))

    def save(figure, step, name) -> None:
        axis = figure.axes[0]  # its title stands left in this project's style, else in the middle
        displayed.append(axis.get_title("left") or axis.get_title())

    monkeypatch.setattr(figures, "save", save)
    return displayed


def run_cell(root, tmp_path, source: str, names: list[str]) -> None:
    """Runs the cell on the first encounters of some splits, read from files as 04 reads them."""
    splits = load_source(source, seed=17, sizes={}, own_shares={})
    encounters, notes = {}, {}
    for name in names:
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, splits[name])
        encounters[name] = read_jsonl(path)[:N]
        written = [encounter.note_text for encounter in encounters[name]]
        notes[name] = {
            "copy": systems.copied(encounters[name]),
            "base": written[:1],  # fewer than all: not in the comparison
            "finetuned": written,
        }
    values = {
        "agreement": agreement,
        "figures": figures,
        "page": page,
        "plots": plots,
        "published": published,
        "sentences": sentences,
        "tables": tables,
        "names": names,
        "encounters": encounters,
        "notes": notes,
        "scores": {name: evaluation.score_split(encounters[name], notes[name]) for name in names},
        "facts_are_known": False,
        "seed": 17,
        "step": None,
    }
    exec(comparing_cell(root), values)


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
    run_cell(root, tmp_path, source, names)
    heading, table, people, figure = shown  # once each: the other tests have nothing to compare
    assert heading.startswith("## Beside published systems")
    for system in ("GPT-4", "BART+SAMSum by division", "dialogue copied", "fine-tuned"):
        assert f"<td>{system}</td>" in table
    assert "base without adapter" not in table
    assert people.startswith("## Do people agree with the fact score?")
    assert figure.startswith("The fact score agrees with people at r = 0.7")


@pytest.mark.corpus
@pytest.mark.slow
def test_mts_dialog_alone_is_compared_with_people_alone(corpora, root, tmp_path, shown):
    run_cell(root, tmp_path, "mts-dialog", ["test1", "test2"])
    assert len(shown) == 2
    assert shown[0].startswith("## Do people agree with the fact score?")


def test_without_the_corpora_neither_is_said(root, monkeypatch, shown):
    monkeypatch.delenv("MEDISUM_CORPORA", raising=False)
    names = {"names": [], "encounters": {}, "facts_are_known": False}
    exec(comparing_cell(root), {**names, "published": published, "agreement": agreement})
    assert shown == []
