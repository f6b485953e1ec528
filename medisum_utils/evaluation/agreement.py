"""How well scores agree with people: the MTS-Dialog correlation study as a table with intervals.

No weight is fitted, so there is nothing to cross-validate; but the word lists, rules and constants
of `facts` were revised with this development half in view. Its figures are in-sample; those of the
other half would be the ones to trust.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from medisum_utils.facts import score_note
from medisum_utils.facts.vocabulary import vocabulary
from medisum_utils.scoring import FACT_NAMES
from medisum_utils.scoring.rouge import rouge_scores

STUDY = Path("abachaa/MTS-Dialog/Correlation-Study/correlation-study-dev-half.csv")
TEXTS = ["Reference Summary", "Automatic Summary"]
# Each fact score with the column of people's counts that it is held against.
PEOPLE = {
    "f1": "FactualF1",
    "omission": "OmissionRate",
    "precision": "FactualPrecision",
    "recall": "FactualRecall",
    "hallucination": "HallucinationRate",
}
COLUMNS = ["ID", "Dialogue", *TEXTS, *PEOPLE.values()]
N_RESAMPLES = 2_000


def study_file(corpora: Path | None) -> Path | None:
    """The study's file in the corpora's folder, None where folder or file is not there."""
    path = corpora / STUDY if corpora else None
    return path if path is not None and path.is_file() else None


def load_study(path: str | os.PathLike) -> pd.DataFrame:
    """Reads the study: one row per automatic summary, four of each dialogue.

    Raises: FileNotFoundError; ValueError for a missing column or an empty cell.
    Source: abachaa/MTS-Dialog, Correlation-Study (Ben Abacha et al., EACL 2023).
    """
    study = pd.read_csv(path, encoding="utf-8-sig")
    if missing := [column for column in COLUMNS if column not in study]:
        raise ValueError(f"{path}: expected columns {COLUMNS}, got none named {missing}")
    if empty := [column for column in COLUMNS if study[column].isna().any()]:
        raise ValueError(f"{path}: expected a value in every row, got empty cells in {empty}")
    return study


def fact_scores(study: pd.DataFrame) -> pd.DataFrame:
    """The five fact scores of every summary, a column each."""
    texts = study[[*TEXTS, "Dialogue"]].itertuples(index=False, name=None)
    notes = [score_note(*row) for row in texts]
    rows = [{name: getattr(note, name) for name in FACT_NAMES} for note in notes]
    return pd.DataFrame(rows, index=study.index)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def content_word_recall(reference: str, prediction: str) -> float:
    """The share of the reference's distinct content words that stand in the prediction."""
    wanted = set(_words(reference)) - vocabulary().stop
    return len(wanted & set(_words(prediction))) / len(wanted) if wanted else 1.0


def length_share(reference: str, prediction: str) -> float:
    """The prediction's length over the reference's in words, at most 1: what knows no content."""
    return min(1.0, len(_words(prediction)) / max(1, len(_words(reference))))


def plain_scores(study: pd.DataFrame) -> pd.DataFrame:
    """The scores of every summary that know no facts, a column each."""
    references, summaries = (study[column].tolist() for column in TEXTS)
    pairs = list(zip(references, summaries, strict=True))
    scores = {
        "ROUGE-1 F1": rouge_scores(references, summaries)["rouge1"],
        "content-word recall": [content_word_recall(*pair) for pair in pairs],
        "length only": [length_share(*pair) for pair in pairs],
    }
    return pd.DataFrame(scores, index=study.index)


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson r, NaN where one side does not vary."""
    if not (np.ptp(first) and np.ptp(second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def correlation(
    score: pd.Series, people: pd.Series, dialogue: pd.Series, *, seed: int
) -> tuple[float, float, float]:
    """Pearson r and its 95% percentile interval, resampling whole dialogues.

    The four summaries of a dialogue share their reference, so summaries are no independent sample.
    """
    x, y = score.to_numpy(float), people.to_numpy(float)
    groups = [np.flatnonzero(dialogue.to_numpy() == name) for name in dialogue.unique()]
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(N_RESAMPLES):
        chosen = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        resampled.append(_pearson(x[chosen], y[chosen]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return _pearson(x, y), float(low), float(high)


def agreement_table(study: pd.DataFrame, *, seed: int = 17) -> pd.DataFrame:
    """The report's table: score, people's measure, Pearson r, low, high.

    The three that know no facts are set against people's factual F1, and their complement against
    the omission rate; r is signed so that 1 is full agreement.
    """
    facts, plain = fact_scores(study), plain_scores(study)
    compared = [(f"facts {name}", people, facts[name]) for name, people in PEOPLE.items()]
    for name in plain:
        compared += [(name, PEOPLE["f1"], plain[name]), (name, PEOPLE["omission"], -plain[name])]
    rows = []
    for name, people, score in compared:
        r, low, high = correlation(score, study[people], study["ID"], seed=seed)
        rows.append({"score": name, "people": people, "r": r, "low": low, "high": high})
    return pd.DataFrame(rows)
