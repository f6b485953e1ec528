"""Your own encounters: a JSONL or CSV file of dialogue and note, and the profile that reads it.

Columns or keys, in any case: `dialogue` (lines such as `Doctor: ...`), `note` (plain, or with SOAP
headers) and, if you like, `id` and `patient` (or `patient_id`); others are left alone. An error
names file and line, never what stands there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from medisum_utils.data.grouping import PATIENT
from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import Encounter
from medisum_utils.facts.statements import read_note
from medisum_utils.notes.headers import split_own_note
from medisum_utils.notes.text_files import MAX_CHARACTERS, csv_rows, read_utf8
from medisum_utils.runs.paths import processed_dir, shown_path
from medisum_utils.runs.profiles import OWN_PROFILE, checked_name, profile_names

REQUIRED = ("dialogue", "note")
PATIENT_NAMES = (PATIENT, "patient_id")  # one of them names whose visit it is
KNOWN = (*REQUIRED, "id", *PATIENT_NAMES)
_NO_PATIENT = (
    "expected a patient, text or a whole number, as on other lines, got none; name one that no "
    "other line has where the patient is unknown, or leave the patients out everywhere"
)
_MISSING = {"", "nan", "none", "null", "<na>"}  # how exports write a value that is not there


def is_own(source: str) -> bool:
    """Whether a source is a user's JSONL or CSV file, by its name."""
    return Path(source).suffix.lower() in (".jsonl", ".csv")


def profile_of(data: str | os.PathLike, name: str | None = None) -> str:
    """Writes the profile of a user's file and returns its name, by default the file's.

    It stands beside the data that it makes, in `data/processed/<name>/profile.yaml`, which git
    ignores, so that later commands (`run --profile visits --from 04_eval`) find it. What it leaves
    out follows from the source: splits, tests, and that no text is shown.

    Raises: FileNotFoundError for a missing file; ValueError for one of another kind, or a name that
    another profile has.
    """
    path = Path(data).expanduser().absolute()
    if not is_own(str(path)):
        raise ValueError(f"--data {path.name}: expected a file named .csv or .jsonl")
    if not path.is_file():
        raise FileNotFoundError(f"--data {data}: expected a CSV or JSONL file, found none there")
    name = checked_name(name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "own")
    instead = "give the run another name with --profile"
    if name in profile_names():
        raise ValueError(f"{name!r} is one of the project's own profiles; {instead}")
    profile = processed_dir(name) / OWN_PROFILE
    content = {"01_data": {"source": str(path)}}
    if profile.is_file() and yaml.safe_load(profile.read_text(encoding="utf-8")) != content:
        raise ValueError(
            f"{shown_path(profile)} is of another file than {path.name}; {instead}, or delete it"
        )
    profile.parent.mkdir(parents=True, exist_ok=True)
    profile.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return name


def load_own(path: Path) -> list[Encounter]:
    """Reads encounters from a `.jsonl` or `.csv` file, UTF-8 with or without a byte order mark.

    Without `id`, an encounter is named after its place: own-000001 is the first. A patient is kept
    as text in `meta["patient"]`; where one line names a patient, each must, since a visit of an
    unknown patient could not be kept out of a split. Turns without a word are left out.

    Raises: ValueError that names file and line for a line that is corrupt, a dialogue or note that
    is missing, empty, no text or longer than `MAX_CHARACTERS`, a dialogue without speakers, a note
    or section without a word that `facts.score_note` can score, a patient that is missing, or an
    id used twice; FileNotFoundError.
    """
    if not is_own(str(path)):
        raise ValueError(f"{path}: expected a file named .jsonl or .csv, got {path.suffix!r}")
    records = _csv_records if path.suffix.lower() == ".csv" else _jsonl_records
    text = read_utf8(path, str(path))
    encounters: dict[str, Encounter] = {}
    lines: dict[str, int] = {}
    for line, record in records(path, text):
        where = f"{path}, line {line}"
        encounter = _encounter(where, record, len(encounters) + 1)
        if encounter.id in lines:
            raise ValueError(
                f"{where}: expected an id of its own, got that of line {lines[encounter.id]}"
            )
        encounters[encounter.id], lines[encounter.id] = encounter, line
    if not encounters:
        raise ValueError(f"{path}: expected encounters, got an empty file")
    # CSV rows have all columns; lines of JSON may name a patient here and none there.
    lacking = [lines[key] for key, encounter in encounters.items() if PATIENT not in encounter.meta]
    if 0 < len(lacking) < len(encounters):
        raise ValueError(f"{path}, line {lacking[0]}: {_NO_PATIENT}")
    return list(encounters.values())


def _encounter(where: str, record: Mapping[str, Any], number: int) -> Encounter:
    dialogue, note = (_required_text(where, record, name) for name in REQUIRED)
    try:
        turns = parse_turns(dialogue)
    except ValueError as error:
        raise ValueError(f"{where}: dialogue: {error}") from None
    sections = split_own_note(note)
    for place, section in enumerate(sections, start=1):
        if not read_note(section.text):  # `facts.score_note` could not score it
            raise ValueError(
                f"{where}: expected a note with a word under each header, a-z or a number, got "
                f"none in section {place} of {len(sections)} ({section.soap or 'without a header'})"
                "; write 'None.' or leave the header out"
            )
    identifier = f"own-{number:06d}"
    if "id" in record:
        identifier = _name(record["id"])
        if identifier is None:
            raise ValueError(f"{where}: expected an id, text or a whole number, got none")
    meta = _patient(where, record)
    return Encounter(identifier, "own", "own", turns, sections, meta=meta)


def _required_text(where: str, record: Mapping[str, Any], name: str) -> str:
    if name not in record:
        raise ValueError(f"{where}: expected {' and '.join(REQUIRED)}, got no {name}")
    value = record[name]
    if value is None or value != value or (isinstance(value, str) and _is_missing(value)):
        raise ValueError(f"{where}: expected text as {name}, got an empty or missing value")
    if not isinstance(value, str):
        kind = "object" if isinstance(value, tuple) else type(value).__name__
        raise ValueError(f"{where}: expected text as {name}, got {kind}")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"{where}: expected at most {MAX_CHARACTERS:,} characters as {name}, got {len(value):,}"
        )
    if not _is_unicode(value):
        raise ValueError(f"{where}: expected Unicode text as {name}, got a lone surrogate")
    return value


def _patient(where: str, record: Mapping[str, Any]) -> dict[str, str]:
    names = [name for name in PATIENT_NAMES if name in record]
    if not names:
        return {}
    if len(names) > 1:
        raise ValueError(f"{where}: expected {' or '.join(PATIENT_NAMES)}, got both")
    patient = _name(record[names[0]])
    if patient is None:
        raise ValueError(f"{where}: {_NO_PATIENT}")
    return {PATIENT: patient}


def _name(value: Any) -> str | None:
    """An id or a patient as text; None for a missing or invalid one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or _is_missing(str(value)):
        return None
    return str(value).strip() if _is_unicode(str(value)) else None


def _is_unicode(value: str) -> bool:
    """Whether no surrogate stands alone, which no file in UTF-8 can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_missing(value: str) -> bool:
    return value.strip().lower() in _MISSING


def _jsonl_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, record); empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line, object_pairs_hook=tuple)  # a key may stand twice
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: expected one JSON object per line, "
                f"got invalid JSON ({error.msg} at column {error.colno})"
            ) from None
        except ValueError:  # Python's own limit
            raise ValueError(f"{where}: expected numbers of fewer digits, got thousands") from None
        except RecursionError:
            raise ValueError(f"{where}: expected one flat JSON object, got deep nesting") from None
        if not isinstance(record, tuple):
            raise ValueError(f"{where}: expected a JSON object, got {type(record).__name__}")
        names = _names(where, "key", [name for name, _ in record])
        yield number, dict(zip(names, (value for _, value in record), strict=True))


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (number of the record's first line, record); fields may span lines in quotes."""
    header: list[str] = []
    for line, row in csv_rows(text, str(path)):
        where = f"{path}, line {line}"
        if line == 1:
            header = _header(where, row)
        elif row:
            if len(row) != len(header):
                raise ValueError(
                    f"{where}: expected {len(header)} fields as in the header, got {len(row)}"
                )
            yield line, dict(zip(header, row, strict=True))


def _header(where: str, row: list[str]) -> list[str]:
    """The column names; a header without the needed ones may be text, and is not shown."""
    names = _names(where, "column", row)
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"{where}: expected comma-separated columns {' and '.join(REQUIRED)}, got "
            f"{len(names)} columns without {' and '.join(missing)}"
        )
    return names


def _names(where: str, kind: str, written: list[str]) -> list[str]:
    """The names in lower case; refuses known ones that stand twice, others are left alone."""
    names = [name.strip().lower() for name in written]
    repeated = [name for name in KNOWN if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"{where}: expected each {kind} once, got {repeated} twice (case and space aside)"
        )
    return names
