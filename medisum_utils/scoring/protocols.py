"""Scores notes against their references: `python -m medisum_utils score`, and as functions.

Protocols:

- `aci-bench`: the published evaluator's conventions, so that scores compare with its tables;
- `mts`: one section per row, with the same scores for each section header of the references;
- `soap`: subjective, objective, assessment and plan as a clinician reads them. A division is
  scored over the encounters whose reference has it; a prediction without it scores 0. Assessment
  and plan are scored separately only if the prediction does not combine them under one header.

ROUGE is the mean F1 of the notes, without stemmer; scores are in percent, p in 0 to 1.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from medisum_utils.notes.divisions import (
    ACI_DIVISIONS,
    ACI_MISSING,
    SOAP_DIVISIONS,
    aci_divisions,
    soap_divisions,
)
from medisum_utils.scoring.files import AS_USUAL, Reading, Table, check_texts, read_table, row_order
from medisum_utils.scoring.report import DivisionScores, Report, Scores, make_report
from medisum_utils.scoring.rouge import rouge_scores

PROTOCOLS = ("aci-bench", "mts", "soap")
FACT_NAMES = ("precision", "recall", "f1", "omission", "hallucination")
NOTE_COLUMNS = {
    "aci-bench": ("note",),
    "mts": ("section_text", "note"),
    "soap": ("note",),
}
DIALOGUE_COLUMN = "dialogue"
GROUP_COLUMN = "section_header"  # MTS-Dialog's


def score(
    references: Sequence[str],
    predictions: Sequence[str],
    *,
    dialogues: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
    protocol: str = "aci-bench",
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Report:
    """Scores `predictions[i]` against `references[i]`, in percent with 95% intervals.

    `against` is another system's notes: each score then comes with the paired difference,
    this system minus the other. `dialogues` adds the fact scores. `groups` names the group of
    each note (protocol mts: its section header).

    Raises: ValueError for an unknown protocol, different lengths, or bad cells (`score_files`).
    """
    own = per_note(references, predictions, dialogues, protocol, groups)
    other = None
    if against is not None:
        other = per_note(references, against, dialogues, protocol, groups)
    return make_report(own, other, protocol, seed)


def score_files(
    references: str | os.PathLike,
    predictions: str | os.PathLike,
    *,
    dialogues: str | os.PathLike | None = None,
    against: str | os.PathLike | None = None,
    protocol: str = "aci-bench",
    reading: Reading = AS_USUAL,
    seed: int = 0,
) -> Report:
    """Scores the notes in one CSV file against those in another; see `score`.

    `reading` names the column of the notes in every file; by default the protocol's
    `NOTE_COLUMNS` are tried. Dialogues are read from the column "dialogue". `files.py` lists the
    rules for input.

    Raises: ValueError for files that break a rule; OSError for one that cannot be read.
    """
    _check_protocol(protocol)
    names = (reading.column,) if reading.column else NOTE_COLUMNS[protocol]
    table = read_table(references)
    matched: dict[str, str] = {}

    def notes(path: str | os.PathLike, columns: Sequence[str], role: str) -> list[str]:
        other = read_table(path)
        order, matched[role] = row_order(table, other, reading.match)
        cells = other.texts(columns, may_be_empty=role in ("predictions", "against"))
        return [cells[place] for place in order]

    result = score(
        table.texts(names),
        notes(predictions, names, "predictions"),
        dialogues=notes(dialogues, (DIALOGUE_COLUMN,), "dialogues") if dialogues else None,
        against=notes(against, names, "against") if against else None,
        protocol=protocol,
        groups=_groups(table, protocol),
        seed=seed,
    )
    return result.with_source(matched=matched, ids=table.ids() if reading.match != "row" else None)


def per_note(
    references: Sequence[str],
    predictions: Sequence[str],
    dialogues: Sequence[str] | None,
    protocol: str,
    groups: Sequence[str] | None,
) -> Scores:
    """Returns one system's scores of every note, in 0 to 1; see `score` for the arguments."""
    _check_protocol(protocol)
    _check_lengths(references, predictions=predictions, dialogues=dialogues, groups=groups)
    check_texts(references, "references")
    check_texts(predictions, "predictions", may_be_empty=True)
    divisions, headers = _divide(references, predictions, protocol, groups)
    return Scores(
        n_empty_predictions=sum(not note.strip() for note in predictions),
        rouge=rouge_scores(references, predictions),
        divisions=divisions,
        facts=None if dialogues is None else _facts(references, predictions, dialogues),
        headers=headers,
    )


def _divide(
    references: Sequence[str],
    predictions: Sequence[str],
    protocol: str,
    groups: Sequence[str] | None,
) -> tuple[dict[str, DivisionScores], dict[str, Any] | None]:
    if protocol == "aci-bench":
        return _aci(references, predictions), None
    if protocol == "soap":
        return _soap(references, predictions)
    return _grouped(references, predictions, groups), None


def _aci(references: Sequence[str], predictions: Sequence[str]) -> dict[str, DivisionScores]:
    """Scores every note in every division; a missing one is the evaluator's own word, not empty."""
    reference_divisions = [aci_divisions(note) for note in references]
    prediction_divisions = [aci_divisions(note) for note in predictions]
    return {
        name: _division(
            [texts[name] for texts in reference_divisions],
            [texts[name] for texts in prediction_divisions],
            missing=ACI_MISSING,
            all_notes=True,
        )
        for name in ACI_DIVISIONS
    }


def _soap(
    references: Sequence[str], predictions: Sequence[str]
) -> tuple[dict[str, DivisionScores], dict[str, Any]]:
    sides = {
        "references": [soap_divisions(note) for note in references],
        "predictions": [soap_divisions(note) for note in predictions],
    }
    combined = [note.combines for note in sides["predictions"]]
    divisions = {
        name: _division(
            [note.divisions[name] for note in sides["references"]],
            [note.divisions[name] for note in sides["predictions"]],
            missing="",
            left_out=combined if name in ("assessment", "plan") else None,
        )
        for name in SOAP_DIVISIONS
    }
    headers = {
        side: {
            "unknown": dict(Counter(h for note in notes for h in note.unknown_headers)),
            "n_without": sum(not note.has_headers for note in notes),
        }
        for side, notes in sides.items()
    }
    return divisions, headers


def _division(
    references: list[str],
    predictions: list[str],
    missing: str,
    *,
    all_notes: bool = False,
    left_out: list[bool] | None = None,
) -> DivisionScores:
    """Scores one division in notes whose reference has it, or in all, except those `left_out`."""
    left_out = left_out or [False] * len(references)
    notes = list(zip(references, predictions, left_out, strict=True))
    places = [
        place for place, (a, _, out) in enumerate(notes) if not out and (all_notes or a != missing)
    ]
    return DivisionScores(
        places=places,
        values=rouge_scores([references[i] for i in places], [predictions[i] for i in places]),
        n_missing=sum(b == missing != a for a, b, out in notes if not out),
        n_added=sum(a == missing != b for a, b, out in notes if not out),
    )


def _grouped(
    references: Sequence[str], predictions: Sequence[str], groups: Sequence[str] | None
) -> dict[str, DivisionScores]:
    """Scores the notes of each group separately, largest group first."""
    result = {}
    for group, _ in Counter(groups or ()).most_common():
        places = [place for place, name in enumerate(groups or ()) if name == group]
        values = rouge_scores([references[i] for i in places], [predictions[i] for i in places])
        n_missing = sum(not predictions[i].strip() for i in places)
        result[group] = DivisionScores(places, values, n_missing, n_added=0)
    return result


def _facts(
    references: Sequence[str], predictions: Sequence[str], dialogues: Sequence[str]
) -> dict[str, list[float | None]]:
    from medisum_utils.facts import score_note  # its word lists are read only when needed

    check_texts(dialogues, "dialogues")
    notes = [score_note(*texts) for texts in zip(references, predictions, dialogues, strict=True)]
    return {name: [getattr(note, name) for note in notes] for name in FACT_NAMES}


def _groups(table: Table, protocol: str) -> list[str] | None:
    if protocol != "mts" or GROUP_COLUMN not in table.columns:
        return None
    return [header.strip() for header in table.texts(GROUP_COLUMN)]


def _check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"expected a protocol of {', '.join(PROTOCOLS)}, got {protocol!r}")


def _check_lengths(references: Sequence[str], **others: Sequence[str] | None) -> None:
    if not references:
        raise ValueError("expected at least one reference, got none")
    for name, texts in others.items():
        if texts is not None and len(texts) != len(references):
            raise ValueError(
                f"expected as many {name} as references, got {len(texts)} and {len(references)}"
            )
