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
from medisum_utils.scoring.files import AS_USUAL, Reading, check_texts, read_table, row_order
from medisum_utils.scoring.report import DivisionScores, Report, Scores, make_report
from medisum_utils.scoring.rouge import rouge_scores

PROTOCOLS = ("aci-bench", "mts", "soap")
FACT_NAMES = ("precision", "recall", "f1", "omission", "hallucination")
NOTE_COLUMNS = {"aci-bench": ("note",), "mts": ("section_text", "note"), "soap": ("note",)}
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
    groups = None
    if protocol == "mts" and GROUP_COLUMN in table.columns:
        groups = [header.strip() for header in table.texts(GROUP_COLUMN)]
    matched: dict[str, str] = {}

    def notes(path: str | os.PathLike | None, role: str, *columns: str) -> list[str] | None:
        if path is None:
            return None
        other = read_table(path)
        order, matched[role] = row_order(table, other, reading.match)
        cells = other.texts(*columns, may_be_empty=role != "dialogues")
        return [cells[place] for place in order]

    report = score(
        table.texts(*names),
        notes(predictions, "predictions", *names),
        dialogues=notes(dialogues, "dialogues", DIALOGUE_COLUMN),
        against=notes(against, "against", *names),
        protocol=protocol,
        groups=groups,
        seed=seed,
    )
    ids = None if reading.match == "row" else table.ids()
    per_note = {"ids": ids, **report.data["per_note"]}
    return Report({**report.data, "matched_by": matched, "per_note": per_note})


def per_note(
    references: Sequence[str],
    predictions: Sequence[str],
    dialogues: Sequence[str] | None,
    protocol: str,
    groups: Sequence[str] | None,
) -> Scores:
    """One system's scores of every note, in 0 to 1; see `score` for the arguments."""
    _check_protocol(protocol)
    _check_lengths(references, predictions=predictions, dialogues=dialogues, groups=groups)
    check_texts(references, "references")
    check_texts(predictions, "predictions", may_be_empty=True)
    headers = None
    if protocol == "aci-bench":
        divisions = _aci(references, predictions)
    elif protocol == "soap":
        divisions, headers = _soap(references, predictions)
    else:
        divisions = _grouped(references, predictions, groups or ())
    return Scores(
        n_empty_predictions=sum(not note.strip() for note in predictions),
        rouge=rouge_scores(references, predictions),
        divisions=divisions,
        facts=None if dialogues is None else _facts(references, predictions, dialogues),
        headers=headers,
    )


def _aci(references: Sequence[str], predictions: Sequence[str]) -> dict[str, DivisionScores]:
    """Scores every note in every division; a missing one is the evaluator's own word, not empty."""
    sides = [[aci_divisions(note) for note in notes] for notes in (references, predictions)]
    everywhere = range(len(references))
    return {
        name: _division(*_texts(sides, name), everywhere, missing=ACI_MISSING)
        for name in ACI_DIVISIONS
    }


def _soap(
    references: Sequence[str], predictions: Sequence[str]
) -> tuple[dict[str, DivisionScores], dict[str, Any]]:
    """Scores a division where the reference has it, and counts headers."""
    sides = [[soap_divisions(note) for note in notes] for notes in (references, predictions)]
    divisions = {}
    for name in SOAP_DIVISIONS:
        texts = _texts([[note.divisions for note in notes] for notes in sides], name)
        comparable = [
            place
            for place, note in enumerate(sides[1])
            if not (note.combines and name in ("assessment", "plan"))
        ]
        divisions[name] = _division(*texts, comparable, missing="", only_present=True)
    headers = {
        side: {
            "unknown": dict(Counter(h for note in notes for h in note.unknown_headers)),
            "n_without": sum(not note.has_headers for note in notes),
        }
        for side, notes in zip(("references", "predictions"), sides, strict=True)
    }
    return divisions, headers


def _grouped(
    references: Sequence[str], predictions: Sequence[str], groups: Sequence[str]
) -> dict[str, DivisionScores]:
    """Scores the notes of each group separately, largest group first."""
    # An empty prediction is one without text, be there white space.
    predictions = [note if note.strip() else "" for note in predictions]
    places = {group: [] for group, _ in Counter(groups).most_common()}
    for place, group in enumerate(groups):
        places[group].append(place)
    return {
        group: _division(references, predictions, at, missing="") for group, at in places.items()
    }


def _texts(sides: list[list[dict[str, str]]], division: str) -> list[list[str]]:
    """A division's text in the references and in the predictions."""
    return [[note[division] for note in notes] for notes in sides]


def _division(
    references: Sequence[str],
    predictions: Sequence[str],
    places: Sequence[int],
    *,
    missing: str,
    only_present: bool = False,
) -> DivisionScores:
    """Scores one division of the notes at `places`, or where the reference has it."""
    is_missing = [(references[i] == missing, predictions[i] == missing) for i in places]
    scored = [i for i in places if not (only_present and references[i] == missing)]
    return DivisionScores(
        places=scored,
        values=rouge_scores([references[i] for i in scored], [predictions[i] for i in scored]),
        n_missing=is_missing.count((False, True)),
        n_added=is_missing.count((True, False)),
    )


def _facts(
    references: Sequence[str], predictions: Sequence[str], dialogues: Sequence[str]
) -> dict[str, list[float]]:
    from medisum_utils.facts import score_note  # its word lists are read only when needed

    check_texts(dialogues, "dialogues")
    notes = [score_note(*texts) for texts in zip(references, predictions, dialogues, strict=True)]
    return {name: [getattr(note, name) for note in notes] for name in FACT_NAMES}


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
