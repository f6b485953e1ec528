"""What published systems wrote for ACI-Bench's first test, scored here and not quoted.

The released outputs stand in the corpus' repository under `baselines/predictions`; they are read
from the folder that `MEDISUM_CORPORA` names, and are not among the files that are downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medisum_utils.corpora_fetch import MIRROR_VARIABLE
from medisum_utils.encounter import Encounter
from medisum_utils.score_files import read_table, row_order
from medisum_utils.scoring import score_many

OUTPUTS = Path("wyim/aci-bench/baselines/predictions")
TEST1 = Path("wyim/aci-bench/data/challenge_data/clinicalnlp_taskB_test1.csv")
N_TEST1 = 40
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
    """Whether these are the 40 encounters of ACI-Bench's first test, in any order."""
    first = {encounter.source for encounter in encounters} == {"aci-bench"}
    return first and {e.split for e in encounters} == {"test1"} and len(encounters) == N_TEST1


def published_table(
    folder: Path, encounters: Sequence[Encounter], own: Mapping[str, Sequence[str]], seed: int
) -> pd.DataFrame:
    """Published systems, then `own`, by protocol aci-bench, in percent.

    Columns ROUGE-1, ROUGE-2, ROUGE-Lsum of the full note and ROUGE-1 of the four divisions; every
    system is scored against the same references, in the order of the file.

    Raises: FileNotFoundError for a missing file; ValueError for other encounters.
    """
    table = read_table(folder / TEST1)
    ids = [f"aci-{i}" for i in table.texts(("encounter_id",))]
    place = {encounter.id: number for number, encounter in enumerate(encounters)}
    if set(ids) != set(place):
        raise ValueError(f"expected the {len(ids)} encounters of test1, got {len(place)} others")
    notes = {name: _in_order(table, folder / OUTPUTS / file) for name, file in SYSTEMS.items()}
    notes |= {name: [texts[place[i]] for i in ids] for name, texts in own.items()}
    reports = score_many(table.texts(("note",)), notes, seed=seed, n_workers=1)
    rows = {}
    for name, report in reports.items():
        rouge, divisions = report.data["rouge"], report.data["divisions"]
        rows[name] = {
            "ROUGE-1": rouge["rouge1"]["mean"],
            "ROUGE-2": rouge["rouge2"]["mean"],
            "ROUGE-Lsum": rouge["rougeLsum"]["mean"],
            **{
                d.replace("_", " "): part["rouge"]["rouge1"]["mean"]
                for d, part in divisions.items()
            },
        }
    return pd.DataFrame(rows).T.rename_axis("system")


def _in_order(reference, path: Path) -> list[str]:
    other = read_table(path)
    order, _ = row_order(reference, other, "auto")
    cells = other.texts(("note",), may_be_empty=True)
    return [cells[place] for place in order]
