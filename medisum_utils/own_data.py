"""Your own encounters: a JSONL or CSV file of dialogue and note.

Columns or keys: `dialogue` (lines such as `Doctor: ...`), `note` (plain, or with SOAP headers) and,
if you like, `id`; others are left alone. An error names file and line, never what stands there.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from medisum_utils.encounter import Encounter
from medisum_utils.note_headers import split_own_note
from medisum_utils.transcript import parse_turns

REQUIRED = ("dialogue", "note")
_MISSING = {"", "nan", "none", "null", "<na>"}  # how exports write a value that is not there


def load_own(path: str | os.PathLike, split: str = "own") -> list[Encounter]:
    """Reads encounters from a `.jsonl` or `.csv` file, UTF-8 with or without a byte order mark.

    Without `id`, an encounter is named after its place: own-000001 is the first.

    Raises: ValueError that names file and line for a line that is corrupt, a dialogue or note that
    is missing, empty or no text, a dialogue without speakers, or an id used twice;
    FileNotFoundError.
    """
    path = Path(path)
    readers = {".jsonl": _jsonl_records, ".csv": _csv_records}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected a file named .jsonl or .csv, got {path.suffix!r}")
    text = _read_utf8(path)
    encounters: list[Encounter] = []
    lines: dict[str, int] = {}
    for line, record in readers[path.suffix.lower()](path, text):
        where = f"{path}, line {line}"
        encounter = _encounter(where, record, split, len(encounters) + 1)
        if encounter.id in lines:
            raise ValueError(
                f"{where}: expected an id of its own, got that of line {lines[encounter.id]}"
            )
        lines[encounter.id] = line
        encounters.append(encounter)
    if not encounters:
        raise ValueError(f"{path}: expected encounters, got an empty file")
    return encounters


def _encounter(where: str, record: Mapping, split: str, number: int) -> Encounter:
    dialogue, note = (_required_text(where, record, name) for name in REQUIRED)
    try:
        turns = parse_turns(dialogue)
    except ValueError as error:
        raise ValueError(f"{where}: dialogue: {error}") from None
    return Encounter(
        id=_identifier(where, record, number),
        source="own",
        split=split,
        turns=turns,
        note=split_own_note(note),
    )


def _required_text(where: str, record: Mapping, name: str) -> str:
    if name not in record:
        raise ValueError(f"{where}: expected {' and '.join(REQUIRED)}, got no {name}")
    value = record[name]
    if value is None or value != value or (isinstance(value, str) and _is_missing(value)):
        raise ValueError(f"{where}: expected text as {name}, got an empty or missing value")
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected text as {name}, got {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{where}: expected Unicode text as {name}, got a lone surrogate")
    return value


def _identifier(where: str, record: Mapping, number: int) -> str:
    if "id" not in record:
        return f"own-{number:06d}"
    value = record["id"]
    if isinstance(value, bool) or not isinstance(value, str | int) or _is_missing(str(value)):
        raise ValueError(f"{where}: expected an id, text or a whole number, got none")
    return str(value).strip()


def _is_missing(value: str) -> bool:
    return value.strip().lower() in _MISSING


def _read_utf8(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: expected UTF-8, got a byte that is none; "
            "save the file as UTF-8 (Excel: CSV UTF-8)"
        ) from None


def _jsonl_records(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    """Yields (line number, record); empty lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: expected one JSON object per line, "
                f"got invalid JSON ({error.msg} at column {error.colno})"
            ) from None
        except RecursionError:
            raise ValueError(
                f"{path}, line {number}: expected one flat JSON object, got deep nesting"
            ) from None
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise ValueError(f"{path}, line {number}: expected a JSON object, got {kind}")
        yield number, record


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (number of the record's first line, record); fields may span lines in quotes."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if header is None:
                header = _header(path, row)
            elif row:
                if len(row) != len(header):
                    raise ValueError(
                        f"{path}, line {line}: expected {len(header)} fields as in the header, "
                        f"got {len(row)}"
                    )
                yield line, dict(zip(header, row, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: expected CSV, got a row with {error}") from None


def _header(path: Path, row: list[str]) -> list[str]:
    """The column names; a header without the needed ones may be text, and is not shown."""
    names = [name.strip().lower() for name in row]
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"{path}, line 1: expected comma-separated columns {' and '.join(REQUIRED)}, got "
            f"{len(names)} columns without {' and '.join(missing)}"
        )
    repeated = [name for name in (*REQUIRED, "id") if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{path}, line 1: expected each column once, got {repeated} twice")
    return names
