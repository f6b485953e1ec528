"""What published systems wrote for ACI-Bench's first test, scored here and not quoted.

The released outputs stand in the corpus' repository under `baselines/predictions`; they are read
from the folder that `MEDISUM_CORPORA` names, and are not among the files that are downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medisum_utils.data.corpora_fetch import corpora_folder as corpora_folder
from medisum_utils.encounter import Encounter
from medisum_utils.scoring import score
from medisum_utils.scoring.files import read_table

OUTPUTS = Path("wyim/aci-bench/baselines/predictions")
TEST1 = Path("wyim/aci-bench/data/challenge_data/clinicalnlp_taskB_test1.csv")
# The encounters of TEST1: who they are does not depend on what a profile calls their split.
TEST1_IDS = frozenset(f"aci-D2N{number:03d}" for number in range(88, 128))
SYSTEMS_FILE = Path(__file__).with_name("published_systems.csv")
ROUGES = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-Lsum": "rougeLsum"}


def is_aci_test1(encounters: Sequence[Encounter]) -> bool:
    """Whether these are encounters of ACI-Bench's first test, all 40 or some, in any order.

    They are known by source and id: a split is called test1 where the corpus is read alone, and
    aci_test1 where both corpora are joined.
    """
    ids = {encounter.id for encounter in encounters if encounter.source == "aci-bench"}
    return 0 < len(encounters) == len(ids) and ids <= TEST1_IDS


def published_table(
    folder: Path, encounters: Sequence[Encounter], own: Mapping[str, Sequence[str]], seed: int
) -> pd.DataFrame:
    """Published systems, then `own`, by protocol aci-bench, as fractions.

    Columns n, ROUGE-1, ROUGE-2, ROUGE-Lsum of the full note and ROUGE-1 of the four divisions.
    Every row is scored on the same `encounters`, which may be some of the 40; each system of `own`
    has a note for each of them.

    Raises: FileNotFoundError for a missing file; ValueError for other encounters or numbers of
    notes.
    """
    if not is_aci_test1(encounters):
        raise ValueError(
            f"expected encounters of ACI-Bench's test1, each once, got {len(encounters)} with "
            f"{len(TEST1_IDS.intersection(each.id for each in encounters))} of its ids"
        )
    released = pd.read_csv(SYSTEMS_FILE, index_col="system")["file"]
    notes = {
        name: _notes_of(encounters, folder / OUTPUTS / file) for name, file in released.items()
    }
    references = _notes_of(encounters, folder / TEST1)
    rows = {}
    for name, texts in {**notes, **own}.items():
        report = score(references, texts, seed=seed).data
        percents = {title: report["rouge"][rouge] for title, rouge in ROUGES.items()}
        for division, part in report["divisions"].items():
            percents[division.replace("_", " ")] = part["rouge"]["rouge1"]
        rows[name] = {"n": report["n"]}
        rows[name] |= {title: percent["mean"] / 100 for title, percent in percents.items()}
    return pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="system"))


def _notes_of(encounters: Sequence[Encounter], path: Path) -> list[str]:
    """A file's note of each encounter."""
    table = read_table(path)
    notes = dict(zip(table.ids() or (), table.texts("note", may_be_empty=True), strict=False))
    ids = [encounter.id.removeprefix("aci-") for encounter in encounters]
    if missing := [each for each in ids if each not in notes]:
        raise ValueError(f"{path.name}: expected a note of each encounter, got none of {missing}")
    return [notes[each] for each in ids]
