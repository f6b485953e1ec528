"""The casebook: word lists of problems, medicines and everything else that a case may contain.

The lists are data (`casebook/*.yaml`, `casebook/medicines.csv`). Some problems and medicines are
held out entirely: only the split `test_unseen` draws them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "casebook"
CHILD_SPECIALITIES = {"dermatology", "ear_nose_throat", "infectious_disease", "respiratory"}


@dataclass(frozen=True, slots=True)
class Medicine:
    """A medicine with the doses and frequencies in which it is prescribed."""

    name: str
    doses: tuple[str, ...]
    unit: str
    routes: tuple[str, ...]
    frequencies: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True, slots=True)
class Term:
    """A clinical term with the lay phrases that people use for it."""

    term: str
    lay: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One presenting problem and everything that may go with it; see casebook/README.md."""

    name: str
    speciality: str
    held_out: bool
    complaint: Term
    lateral: bool
    sex: str
    min_age: int
    duration: tuple[str, ...]
    character: tuple[str, ...]
    worse: tuple[str, ...]
    better: tuple[str, ...]
    symptoms: tuple[Term, ...]
    exam: tuple[str, ...]
    results: tuple[dict, ...]
    qualifiers: tuple[str, ...]
    medicines: tuple[str, ...]
    orders: tuple[str, ...]
    referrals: tuple[str, ...]
    advice: tuple[str, ...]
    precautions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Casebook:
    """All lists; `common` holds those that are shared by all problems."""

    problems: tuple[Problem, ...]
    medicines: dict[str, Medicine]
    common: dict


def _terms(mapping: dict[str, list[str]]) -> tuple[Term, ...]:
    return tuple(Term(term, tuple(lay)) for term, lay in mapping.items())


def _problem(record: dict, speciality: str) -> Problem:
    lists = (
        "duration character worse better exam results qualifiers medicines orders referrals "
        "advice precautions"
    )
    return Problem(
        name=record["name"],
        speciality=speciality,
        held_out=bool(record.get("held_out")),
        complaint=Term(record["complaint"], tuple(record["lay"])),
        lateral=bool(record.get("lateral")),
        sex=record.get("sex", ""),
        min_age=record.get("min_age", 1 if speciality in CHILD_SPECIALITIES else 18),
        symptoms=_terms(record["symptoms"]),
        **{name: tuple(record[name]) for name in lists.split()},
    )


def _medicine(row: dict[str, str]) -> Medicine:
    return Medicine(
        name=row["name"],
        doses=tuple(row["doses"].split("|")),
        unit=row["unit"],
        routes=tuple(row["routes"].split("|")),
        frequencies=tuple(row["frequencies"].split("|")),
        held_out=row["held_out"] == "1",
    )


@lru_cache(maxsize=1)
def load_casebook() -> Casebook:
    """Reads the word lists once; a KeyError names a field that a record lacks."""
    problems = []
    for path in sorted((FOLDER / "problems").glob("*.yaml")):
        records = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        problems += [_problem(record, path.stem) for record in records]
    with (FOLDER / "medicines.csv").open(encoding="utf-8", newline="") as file:
        medicines = [_medicine(row) for row in csv.DictReader(file)]
    common = yaml.load((FOLDER / "common.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    for key in ("conditions", "surgeries"):
        common[key] = _terms(common[key])
    return Casebook(tuple(problems), {m.name: m for m in medicines}, common)
