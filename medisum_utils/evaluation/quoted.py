"""Figures that others published on MTS-Dialog, quoted beside this run's and not measured here.

`published_figures.csv` has each with its source: its test, whether the section header was to be
predicted or was given, F1 as fractions, and what makes it hard to compare. Both official evaluators
take ROUGE without stemming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medisum_utils.data.sources import MTS
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation.tables import name_of, with_interval
from medisum_utils.runs.results import NAMED, complete_systems
from medisum_utils.scoring.report import TITLES

FIGURES_FILE = Path(__file__).with_name("published_figures.csv")
TESTS = ("test1", "test2")
ROUGES = ("rouge1", "rougeL")
HERE = "measured here"


def quoted_figures() -> pd.DataFrame:
    """The published figures: test, header, system, rouge1, rougeL, source, remark; "" for none."""
    return pd.read_csv(FIGURES_FILE, dtype=str, keep_default_na=False)


def mts_test(encounters: Sequence[Encounter]) -> str:
    """Which of MTS-Dialog's two tests these encounters are of, all of it or a part; "" for none."""
    for test in TESTS:
        if encounters and all(
            each.source == MTS and each.id.startswith(f"mts-{test}-") for each in encounters
        ):
            return test
    return ""


def beside_figures(
    splits: Mapping[str, Any], encounters: Mapping[str, Sequence[Encounter]]
) -> pd.DataFrame:
    """This run's systems and, below them, others' figures for the same test and protocol.

    `splits` are those of metrics.json. Where nothing is published for a test and protocol, it is
    left out; the table is empty where that is so of all, as of data other than MTS-Dialog.
    """
    figures, rows = quoted_figures(), {}
    for split, entry in splits.items():
        test = mts_test(encounters[split])
        header = "given" if split.endswith(NAMED) else "predicted"
        is_twofold = split.endswith(NAMED) or f"{split}{NAMED}" in splits
        same_task = figures[(figures["test"] == test) & (figures["header"] == header)]
        if not is_twofold or same_task.empty:
            continue
        where = f"{test}, header {header}"
        for system, scores in complete_systems(entry).items():
            rouges = {TITLES[rouge]: with_interval(scores[rouge]) for rouge in ROUGES}
            rows[where, name_of(system)] = rouges | {
                "whose figure": HERE,
                "remark": f"{scores['n']} encounters",
            }
        for row in same_task.to_dict("records"):
            rouges = {TITLES[rouge]: row[rouge] or "–" for rouge in ROUGES}
            rows[where, row["system"]] = rouges | {
                "whose figure": f"quoted: {row['source']}",
                "remark": row["remark"],
            }
    index = pd.MultiIndex.from_tuples(list(rows), names=["test", "system"]) if rows else None
    return pd.DataFrame(list(rows.values()), index=index)
