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
from medisum_utils.encounter import Encounter
from medisum_utils.evaluation import fact_counts
from medisum_utils.evaluation.scores import SplitScores, SystemScores
from medisum_utils.evaluation.systems import Written
from medisum_utils.facts import dialogue_omissions
from medisum_utils.scoring.rouge import ROUGE_NAMES, interval

SCHEMA_FILE = Path(__file__).with_name("metrics_schema.json")
SPOKEN_KINDS = ("medicine", "allergy", "denial", "number")


def split_metrics(
    scores: SplitScores,
    same: SplitScores | None,
    data_sha256: str,
    seed: int,
    written: Mapping[str, Written] | None = None,
) -> dict[str, Any]:
    """The entry of one split in `metrics.json`.

    `same` is `same_encounters` of the scores; `written` holds the notes of the systems that are
    models, whose decoding is told.
    """
    entry: dict[str, Any] = {
        "n": len(scores.encounters),
        "data_sha256": data_sha256,
        "protocol": scores.protocol,
        "facts_by": "record" if scores.is_exact else "statements",
        "systems": {
            name: system_metrics(system, scores.encounters[: system.n], seed)
            for name, system in scores.systems.items()
        },
    }
    for name, result in (written or {}).items():
        entry["systems"][name]["decoding"] = decoding_metrics(result)
    if same is not None:
        systems = {name: note_metrics(system, seed) for name, system in same.systems.items()}
        entry["same_encounters"] = {"n": len(same.encounters), "systems": systems}
    return entry


def note_metrics(system: SystemScores, seed: int) -> dict[str, Any]:
    """One system's means over whole notes, with intervals: n, the ROUGEs and facts."""
    entry: dict[str, Any] = {
        "n": system.n,
        **{name: interval(system.rouge[name], seed) for name in ROUGE_NAMES},
        "facts": None,
    }
    if system.facts is not None:
        entry["facts"] = {name: interval(values, seed) for name, values in system.facts.items()}
    if system.stemmed is not None:
        entry["stemmed"] = {name: interval(system.stemmed[name], seed) for name in ROUGE_NAMES}
    return entry


def system_metrics(
    system: SystemScores, encounters: Sequence[Encounter], seed: int
) -> dict[str, Any]:
    """`note_metrics`, then by section and by kind of fact."""
    return {
        **note_metrics(system, seed),
        "sections": None if system.sections is None else _section_metrics(system, seed),
        "kinds": None if system.facts is None else _kind_metrics(system, encounters, seed),
    }


def _section_metrics(system: SystemScores, seed: int) -> dict[str, Any]:
    """ROUGE of each section over the notes whose reference has it, and its facts."""
    facts = {} if system.exact is None else fact_counts.by_section(system.exact, seed)
    entries = {}
    for name, part in system.sections.items():
        entry = {"n": len(part.places), "n_missing": part.n_missing}
        entry |= {rouge: interval(part.values[rouge], seed) for rouge in ROUGE_NAMES}
        if name in facts:
            entry["facts"] = facts[name]
        elif system.section_facts.get(name, {}).get("f1"):
            entry["facts"] = {
                measure: interval(values, seed)
                for measure, values in system.section_facts[name].items()
            }
        entries[name] = entry
    return entries


def _kind_metrics(
    system: SystemScores, encounters: Sequence[Encounter], seed: int
) -> dict[str, Any]:
    """By kind: exact rates, or for real notes the share of spoken facts that they leave out."""
    if system.exact is not None:
        return fact_counts.by_kind(system.exact, seed)
    spoken, lost = [], []
    for encounter, text in zip(encounters, system.texts, strict=True):
        dialogue = encounter.dialogue_text
        spoken.append(Counter(fact.kind for fact in dialogue_omissions(dialogue, "")))
        lost.append(Counter(fact.kind for fact in dialogue_omissions(dialogue, text)))
    return {
        kind: {
            "n": sum(counts[kind] for counts in spoken),
            "omission": fact_counts.ratio(
                [counts[kind] for counts in lost], [counts[kind] for counts in spoken], seed
            ),
        }
        for kind in SPOKEN_KINDS
        if any(counts[kind] for counts in spoken)
    }


def decoding_metrics(written: Written) -> dict[str, float | int]:
    """What it took a model to write its notes: seconds, tokens, and what was cut short."""
    return {
        "seconds": round(written.seconds, 2),
        "n_tokens": written.n_tokens,
        "n_unfinished": written.n_unfinished,
        "n_cut_dialogues": written.n_cut_dialogues,
    }


def data_digest(paths: Sequence[str | os.PathLike]) -> str:
    """One SHA-256 over the names and contents of the data files."""
    lines = "".join(f"{runs.sha256_file(path)}  {Path(path).name}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
