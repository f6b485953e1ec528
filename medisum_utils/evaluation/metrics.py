"""The entries of `metrics.json`: means over the notes of a split, by system, section and kind.

Everything there is a fraction with a 95% interval; `metrics_schema.json` says its form.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medisum_utils import runs
from medisum_utils.evaluation import fact_counts
from medisum_utils.evaluation.scores import SplitScores, SystemScores
from medisum_utils.evaluation.systems import WrittenNotes
from medisum_utils.facts import dialogue_omissions, score_note
from medisum_utils.facts.statements import read_note
from medisum_utils.notes.divisions import soap_divisions
from medisum_utils.scoring import FACT_NAMES
from medisum_utils.scoring.rouge import interval

SCHEMA_FILE = Path(__file__).with_name("metrics_schema.json")
SPOKEN_KINDS = ("medicine", "allergy", "denial", "number")


def split_metrics(
    scores: SplitScores,
    same: SplitScores | None,
    data_sha256: str,
    seed: int,
    written: Mapping[str, WrittenNotes] | None = None,
) -> dict[str, Any]:
    """The entry of one split in `metrics.json`.

    `same` is `same_encounters` of the scores; `written` holds the notes of the systems that are
    models, whose decoding is reported.
    """
    entry: dict[str, Any] = {
        "n": len(scores.encounters),
        "data_sha256": data_sha256,
        "protocol": scores.protocol,
        "facts_by": "record" if scores.is_exact else "statements",
        "systems": {
            name: {
                **_note_metrics(system, seed),
                "sections": _section_metrics(scores, system, seed),
                "kinds": _kind_metrics(scores, system, seed),
            }
            for name, system in scores.systems.items()
        },
    }
    for name, notes in (written or {}).items():
        entry["systems"][name]["decoding"] = {
            "seconds": round(notes.seconds, 2),
            "n_tokens": notes.n_tokens,
            "n_unfinished": notes.n_unfinished,
            "n_cut_dialogues": notes.n_cut_dialogues,
        }
    if same is not None:
        systems = {name: _note_metrics(system, seed) for name, system in same.systems.items()}
        entry["same_encounters"] = {"n": len(same.encounters), "systems": systems}
    return entry


def _means(values: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    return {name: interval(per_note, seed) for name, per_note in values.items()}


def _note_metrics(system: SystemScores, seed: int) -> dict[str, Any]:
    """Means over whole notes: n, the ROUGEs and facts."""
    facts = system.facts
    entry = {"n": system.n, **_means(system.rouge, seed)}
    entry["facts"] = None if facts is None else _means(facts, seed)
    if system.stemmed is not None:
        entry["stemmed"] = _means(system.stemmed, seed)
    if system.statements is not None:
        entry["statements"] = _means(system.statements, seed)
    return entry


def _section_metrics(scores: SplitScores, system: SystemScores, seed: int) -> dict | None:
    """ROUGE of each section over the notes whose reference has it, and its facts."""
    if system.sections is None:
        return None
    counted = {}
    if scores.is_exact and system.judged is not None:
        counted = fact_counts.by_section(system.judged, seed)
    entries = {}
    for name, part in system.sections.items():
        entry = {"n": len(part.places), "n_missing": part.n_missing, **_means(part.values, seed)}
        if name in counted:
            entry["facts"] = counted[name]
        elif not scores.is_exact and (judged := _judged_section(scores, system, name)):
            facts = {measure: [getattr(note, measure) for note in judged] for measure in FACT_NAMES}
            entry["facts"] = _means(facts, seed)
        entries[name] = entry
    return entries


def _judged_section(scores: SplitScores, system: SystemScores, name: str) -> list:
    """The facts of one section of real notes, where the reference says something there."""
    if scores.protocol == "mts":  # the note is the section
        return [system.judged[place] for place in system.sections[name].places]
    judged = []
    for place, text in enumerate(system.texts):
        wanted = soap_divisions(scores.references[place]).divisions[name]
        if read_note(wanted):
            part = soap_divisions(text).divisions[name]
            judged.append(score_note(wanted, part, scores.encounters[place].dialogue_text))
    return judged


def _kind_metrics(scores: SplitScores, system: SystemScores, seed: int) -> dict | None:
    """By kind: exact rates, or for real notes the share of spoken facts that they leave out."""
    if system.judged is None:
        return None
    if scores.is_exact:
        return fact_counts.by_kind(system.judged, seed)
    dialogues = [encounter.dialogue_text for encounter in scores.encounters[: system.n]]
    spoken, omitted = (
        [
            Counter(fact.kind for fact in dialogue_omissions(*pair))
            for pair in zip(dialogues, texts, strict=True)
        ]
        for texts in ([""] * system.n, system.texts)
    )
    entries = {}
    for kind in SPOKEN_KINDS:
        n_spoken = [counts[kind] for counts in spoken]
        if n := sum(n_spoken):
            rate = fact_counts.ratio([counts[kind] for counts in omitted], n_spoken, seed)
            entries[kind] = {"n": n, "omission": rate}
    return entries


def data_digest(paths: Sequence[str | os.PathLike]) -> str:
    """One SHA-256 over the names and contents of the data files."""
    lines = "".join(f"{runs.sha256_file(path)}  {Path(path).name}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
