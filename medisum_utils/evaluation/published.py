"""What published systems wrote for ACI-Bench's first test, scored here and not quoted.

The released outputs stand in the corpus' repository under `baselines/predictions`; they are read
from the folder that `MEDISUM_CORPORA` names, and are not among the files that are downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medisum_utils.data.corpora_fetch import MIRROR_VARIABLE
from medisum_utils.encounter import Encounter
from medisum_utils.scoring import score
from medisum_utils.scoring.files import read_table, row_order

OUTPUTS = Path("wyim/aci-bench/baselines/predictions")
TEST1 = Path("wyim/aci-bench/data/challenge_data/clinicalnlp_taskB_test1.csv")
# The encounters of TEST1: who they are does not depend on what a profile calls their split.
TEST1_IDS = frozenset(f"aci-D2N{number:03d}" for number in range(88, 128))
SYSTEMS = {
    "transcript": "transcript_clinicalnlp_taskB_test1.csv",
    "nearest training note (UMLS)": "UMLS_similarity_clinicalnlp_taskB_test1.csv",
    "BART": "BART_large_clinicalnlp_taskB_test1_full.csv",
    "BART+SAMSum": "bart-large-xsum-samsum_clinicalnlp_taskB_test1_full.csv",
    "BART+SAMSum by division": (
        "bart-large-xsum-samsum_clinicalnlp_taskB_test1_division_combined.csv"
    ),
    "BioBART": "BioBART_clinicalnlp_taskB_test1_full.csv",
    "BioBART by division": "BioBART_clinicalnlp_taskB_test1_division_combined.csv",
    "LED by division": "LED_clinicalnlp_taskB_test1_division_combined.csv",
    "Text-Davinci-003": "test1Text-Davinci-003_.csv",
    "ChatGPT": "test1ChatGPT_.csv",
    "GPT-4": "test1GPT-4_.csv",
}


def corpora_folder() -> Path | None:
    """The local mirror of the corpora, None where there is none."""
    folder = os.environ.get(MIRROR_VARIABLE)
    return Path(folder).expanduser() if folder else None


def is_aci_test1(encounters: Sequence[Encounter]) -> bool:
    """Whether these are encounters of ACI-Bench's first test, all 40 or some, in any order.

    They are known by source and id: a split is called test1 where the corpus is read alone, and
    aci_test1 where both corpora are joined.
    """
    ids = [encounter.id for encounter in encounters]
    return (
        bool(ids)
        and all(encounter.source == "aci-bench" for encounter in encounters)
        and len(set(ids)) == len(ids)
        and TEST1_IDS.issuperset(ids)
    )


def published_table(
    folder: Path, encounters: Sequence[Encounter], own: Mapping[str, Sequence[str]], seed: int
) -> pd.DataFrame:
    """Published systems, then `own`, by protocol aci-bench, as fractions.

    Columns n, ROUGE-1, ROUGE-2, ROUGE-Lsum of the full note and ROUGE-1 of the four divisions.
    Every row is scored on the same `encounters`, which may be some of the 40. A system of `own`
    that wrote fewer notes than there are encounters gets its n and no figures.

    Raises: FileNotFoundError for a missing file; ValueError for other encounters, or for more notes
    than encounters.
    """
    if not is_aci_test1(encounters):
        n_known = len(TEST1_IDS.intersection(encounter.id for encounter in encounters))
        raise ValueError(
            f"expected encounters of ACI-Bench's test1, each once, got {len(encounters)} with "
            f"{n_known} of its ids"
        )
    table = read_table(folder / TEST1)
    place = {encounter.id: number for number, encounter in enumerate(encounters)}
    ids = [f"aci-{i}" for i in table.texts(("encounter_id",))]
    if set(ids) != TEST1_IDS:
        raise ValueError(f"{TEST1.name}: expected the {len(TEST1_IDS)} encounters of test1")
    rows = [row for row, i in enumerate(ids) if i in place]  # in the order of the file
    notes = {name: _in_order(table, folder / OUTPUTS / file) for name, file in SYSTEMS.items()}
    notes = {name: [texts[row] for row in rows] for name, texts in notes.items()}
    longest = max((len(texts) for texts in own.values()), default=0)
    if longest > len(encounters):
        raise ValueError(f"expected at most {len(encounters)} notes of a system, got {longest}")
    whole = {name: texts for name, texts in own.items() if len(texts) == len(encounters)}
    notes |= {name: [texts[place[ids[row]]] for row in rows] for name, texts in whole.items()}
    references = table.texts(("note",))
    references = [references[row] for row in rows]
    reports = {name: score(references, texts, seed=seed) for name, texts in notes.items()}
    scored = {name: {"n": len(rows), **_means(report.data)} for name, report in reports.items()}
    scored |= {name: {"n": len(own[name])} for name in own if name not in whole}
    return pd.DataFrame(list(scored.values()), index=pd.Index(scored, name="system"))


def _means(report: Mapping[str, Any]) -> dict[str, float]:
    """The mean of each column that a report, which is in percent, has a score for."""
    columns = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-Lsum": "rougeLsum"}
    return {name: report["rouge"][key]["mean"] / 100 for name, key in columns.items()} | {
        division.replace("_", " "): part["rouge"]["rouge1"]["mean"] / 100
        for division, part in report["divisions"].items()
    }


def _in_order(reference, path: Path) -> list[str]:
    other = read_table(path)
    order, _ = row_order(reference, other, "auto")
    cells = other.texts(("note",), may_be_empty=True)
    return [cells[place] for place in order]
