"""The casebook: word lists of problems, medicines and everything else that a case may contain.

The lists are data (`casebook/*.yaml`, `casebook/medicines.csv`). Some problems and medicines are
held out entirely: only the split `test_unseen` draws them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    defaults = {
        "held_out": False,
        "lateral": False,
        "sex": "",
        "min_age": 1 if speciality in CHILD_SPECIALITIES else 18,
    }
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    fields["complaint"] = Term(record["complaint"], fields.pop("lay"))
    fields["symptoms"] = _terms(record["symptoms"])
    return Problem(speciality=speciality, **defaults | fields)


def _medicine(name: str, unit: str, held_out: str, **lists: str) -> Medicine:
    return Medicine(
        name=name,
        unit=unit,
        held_out=held_out == "1",
        **{key: tuple(text.split("|")) for key, text in lists.items()},
    )


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; the C loader is several times as fast as Python's."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


@lru_cache(maxsize=1)
def load_casebook() -> Casebook:
    """Reads the word lists once; a TypeError names a field that a record lacks."""
    problems = tuple(
        _problem(record, path.stem)
        for path in sorted((FOLDER / "problems").glob("*.yaml"))
        for record in read_yaml(path)
    )
    with (FOLDER / "medicines.csv").open(encoding="utf-8", newline="") as file:
        medicines = {row["name"]: _medicine(**row) for row in csv.DictReader(file)}
    common = read_yaml(FOLDER / "common.yaml")
    for key in ("conditions", "surgeries"):
        common[key] = _terms(common[key])
    return Casebook(problems, medicines, common)
