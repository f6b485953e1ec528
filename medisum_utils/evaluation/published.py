"""ACI-Bench's tests by the published evaluator, beside what published systems wrote for the first.

Nothing is quoted here. The released outputs stand in the corpus' repository under
`baselines/predictions` and are scored by the code that scores this project's notes. Figures that
can only be quoted are in `quoted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medisum_utils.data.corpora import ACI_BENCH
from medisum_utils.data.corpora_fetch import corpus_files, is_at_hand
from medisum_utils.data.sources import ACI
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation.scores import OURS
from medisum_utils.evaluation.tables import name_of, with_interval
from medisum_utils.notes.parts import DIVISION_TITLES
from medisum_utils.scoring.files import read_table
from medisum_utils.scoring.protocols import per_note
from medisum_utils.scoring.report import TITLES, Scores
from medisum_utils.scoring.rouge import interval, paired_difference

PROTOCOL = "aci-bench"
RELEASED = "aci-bench-released"  # as `data/corpora_sources.csv` calls the outputs
# The encounters of the first test: who they are does not depend on what a profile calls their
# split, which is test1 where the corpus is read alone and aci_test1 where both are joined.
TEST1_IDS = frozenset(f"aci-D2N{number:03d}" for number in range(88, 128))
SYSTEMS_FILE = Path(__file__).with_name("published_systems.csv")
ROUGES = ("rouge1", "rouge2", "rougeLsum")  # the paper's "ROUGE-L" of full notes is ROUGE-Lsum


def is_aci_test(encounters: Sequence[Encounter]) -> bool:
    """Whether these are encounters of ACI-Bench alone whose notes, as published, are at hand."""
    return (
        bool(encounters)
        and all(encounter.source == ACI for encounter in encounters)
        and is_at_hand(ACI)
    )


def is_aci_test1(encounters: Sequence[Encounter]) -> bool:
    """Whether these are encounters of ACI-Bench's first test, all 40 or some, in any order."""
    ids = {encounter.id for encounter in encounters if encounter.source == ACI}
    return 0 < len(encounters) == len(ids) and ids <= TEST1_IDS


def released_files() -> dict[str, Path]:
    """The released outputs by file name, downloaded if need be; none where that cannot be done.

    A report says so then: it is not worth the loss of a finished evaluation.

    Raises: ValueError for a file that differs from its digest.
    """
    try:
        return {path.name: path for path in corpus_files(RELEASED).values()}
    except (FileNotFoundError, ConnectionError):
        return {}


def official_scores(
    encounters: Sequence[Encounter], own: Mapping[str, Sequence[str]], seed: int
) -> dict[str, Any]:
    """The entry `official` of a split in metrics.json: `own` notes and, on test 1, `released` ones.

    Means of F1 as fractions with 95% intervals, of the full note and of the four divisions, where a
    note is cut at its headers as the published evaluator does: lines are joined, and a division
    that a note lacks stands as one placeholder word. Who wrote fewer notes than there are
    encounters is left out; `released` is empty where the outputs are not at hand. `ours_minus` is
    the fine-tuned model minus a released system, paired by encounter.

    Raises: FileNotFoundError for a missing file; ValueError for encounters that are not in the
    corpus.
    Source: wyim/aci-bench at 5d3cd4d, evaluation/evaluate_fullnote.py.
    """
    references = _published_notes(encounters)
    scores = {
        name: per_note(references, list(texts), None, PROTOCOL, None)
        for name, texts in own.items()
        if len(texts) == len(encounters)
    }
    entry: dict[str, Any] = {
        "protocol": PROTOCOL,
        "n": len(encounters),
        "systems": {name: _estimates(each, seed) for name, each in scores.items()},
    }
    if not is_aci_test1(encounters):
        return entry
    files, entry["released"] = released_files(), {}
    systems = pd.read_csv(SYSTEMS_FILE, index_col="system")["file"] if files else {}
    for name, file in systems.items():
        texts = _chosen(encounters, _notes_in(files[file]), file)
        theirs = per_note(references, texts, None, PROTOCOL, None)
        entry["released"][name] = _estimates(theirs, seed)
        if OURS in scores:
            entry["released"][name]["ours_minus"] = {
                rouge: paired_difference(scores[OURS].rouge[rouge], theirs.rouge[rouge], seed)
                for rouge in ROUGES
            }
    return entry


def _published_notes(encounters: Sequence[Encounter]) -> list[str]:
    """The references as the corpus has them: their line breaks count in the divisions."""
    files, notes = corpus_files(ACI), {}
    for path, _ in ACI_BENCH.values():
        notes |= _notes_in(files[path])
    return _chosen(encounters, notes, ACI)


def _notes_in(path: Path) -> dict[str, str]:
    table = read_table(path)
    return dict(zip(table.ids() or (), table.texts("note", may_be_empty=True), strict=False))


def _chosen(encounters: Sequence[Encounter], notes: Mapping[str, str], where: str) -> list[str]:
    """Each encounter's note."""
    ids = [encounter.id.removeprefix("aci-") for encounter in encounters]
    if missing := [each for each in ids if each not in notes]:
        raise ValueError(f"{where}: expected a note of each encounter, got none of {missing}")
    return [notes[each] for each in ids]


def _estimates(scores: Scores, seed: int) -> dict[str, Any]:
    entry: dict[str, Any] = {rouge: interval(scores.rouge[rouge], seed) for rouge in ROUGES}
    entry["divisions"] = {
        name: {rouge: interval(part.values[rouge], seed) for rouge in ROUGES}
        | {"n_missing": part.n_missing, "n_added": part.n_added}
        for name, part in scores.divisions.items()
    }
    return entry


def _rows(official: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Released systems first, the fine-tuned model last."""
    released = {("released", name): each for name, each in official.get("released", {}).items()}
    own = {("this run", name_of(name)): each for name, each in official["systems"].items()}
    return {**released, **own}


def whole_table(official: Mapping[str, Any]) -> pd.DataFrame:
    """ROUGE of full notes, and by how much the fine-tuned model is ahead in ROUGE-1."""
    rows = {
        key: {
            **{TITLES[rouge]: with_interval(each[rouge]) for rouge in ROUGES},
            "fine-tuned minus it, ROUGE-1": with_interval(
                each["ours_minus"]["rouge1"] if "ours_minus" in each else None
            ),
        }
        for key, each in _rows(official).items()
    }
    return _table(rows)


def division_table(official: Mapping[str, Any], rouge: str) -> pd.DataFrame:
    """One ROUGE of the four divisions."""
    rows = {
        key: {
            title.lower(): with_interval(each["divisions"][name][rouge])
            for name, title in DIVISION_TITLES.items()
        }
        for key, each in _rows(official).items()
    }
    return _table(rows)


def _table(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(list(rows), names=["notes", "system"])
    return pd.DataFrame(list(rows.values()), index=index)


def best_released(official: Mapping[str, Any]) -> str | None:
    """The released system with the highest ROUGE-1, None where none is compared."""
    released = official.get("released", {})
    return max(released, key=lambda name: released[name]["rouge1"]["mean"], default=None)


def lacking_divisions(official: Mapping[str, Any], system: str = OURS) -> tuple[int, int, int]:
    """Of a system's divisions: how many there could be, are missing, and are there unasked.

    Missing are those that the reference has and the note, cut at its headers, has not.
    """
    divisions = official["systems"][system]["divisions"].values()
    missing, added = (sum(each[key] for each in divisions) for key in ("n_missing", "n_added"))
    return official["n"] * len(divisions), missing, added
