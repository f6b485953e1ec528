"""The tables of 01: how long encounters are, what they are about, which facts they have.

None of them holds text of a dialogue or a note; ids and headers are as the data have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medisum_utils.data import variety
from medisum_utils.data.sources import MTS, SYNTHETIC, Splits, is_generated
from medisum_utils.encounter import SECTIONS, Encounter
from medisum_utils.notes.headers import CORPUS_HEADER, header_rows
from medisum_utils.synthesis.augmented import EXCHANGED

ROUGE1_MEAN = "ROUGE-1 of its note, mean"
LENGTH_TITLES = {
    "n_turns": "turns",
    "dialogue_words": "dialogue (words)",
    "note_words": "note (words)",
    "words_per_turn": "words a turn",
}


def lengths_table(splits: Splits, official: Mapping[str, int]) -> pd.DataFrame:
    """A row a split: how many encounters, the count of the authors' own split, mean lengths.

    A column counts exchanged names where there are any; `official` lacks splits without such a
    count, and is {} for data without any.
    """
    rows = {
        split: variety.lengths(encounters).mean().rename(LENGTH_TITLES).round(1)
        for split, encounters in splits.items()
    }
    table = pd.DataFrame(rows).T
    counts = {"encounters": [len(encounters) for encounters in splits.values()]}
    if official:
        counts["official count"] = [official.get(split, "–") for split in splits]
    exchanged = [sum(EXCHANGED in each.meta for each in part) for part in splits.values()]
    if any(exchanged):
        counts["exchanged names"] = exchanged
    for place, (title, column) in enumerate(counts.items()):
        table.insert(place, title, column)
    return table


def composition_table(source: str, splits: Splits) -> pd.DataFrame:
    """How many encounters of each split are about what; those under exchanged names are left out.

    A row is a speciality of the generator, a header of MTS-Dialog, a subset or a source of other
    data. For generated ones, the problems in training and those held out of it are counted, too.
    """
    topic = {SYNTHETIC: "speciality", MTS: CORPUS_HEADER}.get(source, "subset")
    rows = [
        (split, each.meta.get(topic, each.source), each.meta.get("problem"))
        for split, encounters in splits.items()
        for each in encounters
        if EXCHANGED not in each.meta
    ]
    about = pd.DataFrame(rows, columns=["split", topic, "problem"])
    table = pd.crosstab(about[topic], about["split"])[list(splits)]
    if is_generated(source):
        problems = about.groupby([topic, "split"])["problem"].nunique().unstack(fill_value=0)
        table["problems in training"] = problems["train"]
        table["unseen problems"] = problems["test_unseen"]
    return table


def headers_in(splits: Splits) -> pd.DataFrame:
    """MTS-Dialog's headers with their place in SOAP, counted where a split has such notes."""
    table = pd.DataFrame(header_rows()).query("corpus == @MTS")[["header", "title", "soap"]]
    rows = [
        {"header": encounter.meta[CORPUS_HEADER], "split": split}
        for split, encounters in splits.items()
        for encounter in encounters
        if encounter.source == MTS
    ]
    if rows:
        counts = pd.DataFrame(rows).value_counts().unstack(fill_value=0)
        counts = counts[[split for split in splits if split in counts]].reindex(table["header"])
        table = table.join(counts.fillna(0).astype(int), on="header")
    return table.set_index("header")


def facts_of(encounters: Sequence[Encounter]) -> pd.DataFrame:
    """One row a fact; empty for data without a record of its facts.

    Columns: section, kind, position (of the first turn that says it, 0 first turn to 1 last),
    doctor (whether only the doctor says it), relative (whether a relative does).
    """
    rows = [
        (
            fact.section,
            fact.kind,
            fact.turns[0] / (len(encounter.turns) - 1),
            all(encounter.turns[turn].speaker == "doctor" for turn in fact.turns),
            any(encounter.turns[turn].speaker == "relative" for turn in fact.turns),
        )
        for encounter in encounters
        for fact in encounter.facts
    ]
    return pd.DataFrame(rows, columns=["section", "kind", "position", "doctor", "relative"])


def facts_by_kind(facts: pd.DataFrame, n_encounters: int) -> pd.DataFrame:
    """How many facts of a kind an encounter has, and who says them, in the order of the note."""
    kinds = facts.groupby(["section", "kind"])
    table = pd.DataFrame(
        {
            "facts an encounter": (kinds.size() / n_encounters).round(2),
            "only the doctor says it": kinds["doctor"].mean().map("{:.0%}".format),
            "a relative says it": kinds["relative"].mean().map("{:.0%}".format),
        }
    )
    return table.reindex(SECTIONS, level="section")


def measures_table(measured: pd.DataFrame) -> pd.DataFrame:
    """The measures of `variety.comparison` as text: counts whole, shares with three decimals."""

    def shown(measure: str, value: float) -> str:
        if measure == "encounters":
            return f"{value:,.0f}"
        return f"{value:,.1f}" if value > 2 else f"{value:.3f}"

    return measured.apply(lambda column: [shown(*item) for item in column.items()])


def nearest_table(
    neighbours: Mapping[str, variety.Nearest], retrieved: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """A row a test split: the nearest training dialogues, and what their notes would score.

    `retrieved` holds the ROUGE-1 of each query's nearest note, as `variety.nearest_note_rouge1`.
    """
    rows = {
        split: {
            "n": len(near.cosine),
            "mean cosine of the nearest dialogue": near.cosine.mean(),
            "highest cosine": near.cosine.max(),
            ROUGE1_MEAN: np.mean(retrieved[split]),
            "ROUGE-1 of its note, highest": np.max(retrieved[split]),
        }
        for split, near in neighbours.items()
    }
    return pd.DataFrame(rows).T.astype({"n": int})


def written_table(paths: Mapping[str, Path], manifest: Mapping[str, Any]) -> pd.DataFrame:
    """A row a split: n, bytes and sha256 of its file."""
    rows = {
        split: {
            "encounters": f"{entry['n']:,}",
            "MB": round(paths[split].stat().st_size / 1e6, 1),
            "SHA-256 begins": entry["sha256"][:12],
        }
        for split, entry in manifest.items()
    }
    return pd.DataFrame(rows).T
