"""Your own encounters: a JSONL or CSV file of dialogue and note.

Columns or keys, in any case: `dialogue` (lines such as `Doctor: ...`), `note` (plain, or with SOAP
headers) and, if you like, `id` and `patient` (or `patient_id`); others are left alone. An error
names file and line, never what stands there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medisum_utils.data.grouping import PATIENT
from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.notes.headers import split_own_note
from medisum_utils.notes.text_files import MAX_CHARACTERS, csv_rows, read_utf8

REQUIRED = ("dialogue", "note")
PATIENT_NAMES = (PATIENT, "patient_id")  # one of them names whose visit it is
KNOWN = (*REQUIRED, "id", *PATIENT_NAMES)
_NO_PATIENT = (
    "expected a patient, text or a whole number, as on other lines, got none; name one that no "
    "other line has where the patient is unknown, or leave the patients out everywhere"
)
_MISSING = {"", "nan", "none", "null", "<na>"}  # how exports write a value that is not there


def load_own(path: str | os.PathLike) -> list[Encounter]:
    """Reads encounters from a `.jsonl` or `.csv` file, UTF-8 with or without a byte order mark.

    Without `id`, an encounter is named after its place: own-000001 is the first. A patient is kept
    as text in `meta["patient"]`; where one line names a patient, each must, since a visit of an
    unknown patient could not be kept out of a split. Turns without a word are left out.

    Raises: ValueError that names file and line for a line that is corrupt, a dialogue or note that
    is missing, empty, no text or longer than `MAX_CHARACTERS`, a dialogue without speakers, a note
    or section without a word that `facts.score_note` can score, a patient that is missing, or an
    id used twice; FileNotFoundError.
    """
    path = Path(path)
    readers = {".jsonl": _jsonl_records, ".csv": _csv_records}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected a file named .jsonl or .csv, got {path.suffix!r}")
    text = read_utf8(path, str(path))
    encounters: list[Encounter] = []
    lines: dict[str, int] = {}
    for line, record in readers[path.suffix.lower()](path, text):
        where = f"{path}, line {line}"
        encounter = _encounter(where, record, len(encounters) + 1)
        if encounter.id in lines:
            raise ValueError(
                f"{where}: expected an id of its own, got that of line {lines[encounter.id]}"
            )
        lines[encounter.id] = line
        encounters.append(encounter)
    if not encounters:
        raise ValueError(f"{path}: expected encounters, got an empty file")
    _require_patients(path, encounters, list(lines.values()))
    return encounters


def _require_patients(path: Path, encounters: list[Encounter], lines: list[int]) -> None:
    """CSV rows have all columns; lines of JSON may name a patient here and none there."""
    lacking = [
        line
        for line, encounter in zip(lines, encounters, strict=True)
        if PATIENT not in encounter.meta
    ]
    if 0 < len(lacking) < len(encounters):
        raise ValueError(f"{path}, line {lacking[0]}: {_NO_PATIENT}")


def _encounter(where: str, record: Mapping, number: int) -> Encounter:
    dialogue, note = (_required_text(where, record, name) for name in REQUIRED)
    try:
        turns = parse_turns(dialogue)
    except ValueError as error:
        raise ValueError(f"{where}: dialogue: {error}") from None
    sections = split_own_note(note)
    _require_words(where, sections)
    return Encounter(
        id=_identifier(where, record, number),
        source="own",
        split="own",
        turns=turns,
        note=sections,
        meta=_patient(where, record),
    )


def _require_words(where: str, sections: tuple[NoteSection, ...]) -> None:
    """Refuses what could not be scored: see `facts.score_note`, which reads a note like this."""
    from medisum_utils.facts.statements import (
        read_note,
    )  # its word lists are read only when asked for

    for number, section in enumerate(sections, start=1):
        if not read_note(section.text):
            place = f"section {number} of {len(sections)} ({section.soap or 'without a header'})"
            raise ValueError(
                f"{where}: expected a note with a word under each header, a-z or a number, "
                f"got none in {place}; write 'None.' or leave the header out"
            )


def _required_text(where: str, record: Mapping, name: str) -> str:
    if name not in record:
        raise ValueError(f"{where}: expected {' and '.join(REQUIRED)}, got no {name}")
    value = record[name]
    if value is None or value != value or (isinstance(value, str) and _is_missing(value)):
        raise ValueError(f"{where}: expected text as {name}, got an empty or missing value")
    if not isinstance(value, str):
        kind = "object" if isinstance(value, _Object) else type(value).__name__
        raise ValueError(f"{where}: expected text as {name}, got {kind}")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"{where}: expected at most {MAX_CHARACTERS:,} characters as {name}, got {len(value):,}"
        )
    if not _is_unicode(value):
        raise ValueError(f"{where}: expected Unicode text as {name}, got a lone surrogate")
    return value


def _identifier(where: str, record: Mapping, number: int) -> str:
    if "id" not in record:
        return f"own-{number:06d}"
    name = _name(record["id"])
    if name is None:
        raise ValueError(f"{where}: expected an id, text or a whole number, got none")
    return name


def _patient(where: str, record: Mapping) -> dict[str, str]:
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
    """An id as text; None for a missing or invalid one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or _is_missing(str(value)):
        return None
    return str(value).strip() if _is_unicode(str(value)) else None


def _is_unicode(value: str) -> bool:
    """Whether no surrogate stands alone, which no file in UTF-8 can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_missing(value: str) -> bool:
    return value.strip().lower() in _MISSING


def _jsonl_records(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    """Yields (line number, record); empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line, object_pairs_hook=_Object)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: expected one JSON object per line, "
                f"got invalid JSON ({error.msg} at column {error.colno})"
            ) from None
        except ValueError:  # Python's own limit
            raise ValueError(f"{where}: expected numbers of fewer digits, got thousands") from None
        except RecursionError:
            raise ValueError(f"{where}: expected one flat JSON object, got deep nesting") from None
        if not isinstance(record, _Object):
            raise ValueError(f"{where}: expected a JSON object, got {type(record).__name__}")
        names = [name.strip().lower() for name, _ in record.pairs]
        _require_once(where, "key", names)
        yield number, dict(zip(names, (value for _, value in record.pairs), strict=True))


class _Object:
    """A JSON object with all its keys, also those that stand twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (number of the record's first line, record); fields may span lines in quotes."""
    header: list[str] | None = None
    for line, row in csv_rows(text, str(path)):
        if header is None:
            header = _header(path, row)
        elif row:
            if len(row) != len(header):
                raise ValueError(
                    f"{path}, line {line}: expected {len(header)} fields as in the header, "
                    f"got {len(row)}"
                )
            yield line, dict(zip(header, row, strict=True))


def _header(path: Path, row: list[str]) -> list[str]:
    """The column names; a header without the needed ones may be text, and is not shown."""
    names = [name.strip().lower() for name in row]
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"{path}, line 1: expected comma-separated columns {' and '.join(REQUIRED)}, got "
            f"{len(names)} columns without {' and '.join(missing)}"
        )
    _require_once(f"{path}, line 1", "column", names)
    return names


def _require_once(where: str, kind: str, names: list[str]) -> None:
    """Refuses known names that stand twice, in whatever case; others are left alone."""
    repeated = [name for name in KNOWN if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"{where}: expected each {kind} once, got {repeated} twice (case and space aside)"
        )
