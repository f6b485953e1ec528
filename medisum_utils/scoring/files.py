"""Reads columns of notes from CSV files, checks them, and matches the rows of two files.

The rules for input; breaking one is an error unless the rule says otherwise:

- UTF-8, with or without a byte order mark; CRLF and lone CR become LF in every cell;
- the column exists, each row has as many cells as the header, and there is at least one row;
- a cell that reads NaN (nan, NaN, <NA>, NaT, null) is an error: it is a missing value that some
  program wrote as text. "None." is a valid note;
- an empty reference or dialogue is an error; an empty prediction means that the system
  wrote nothing: it is kept, scored and counted;
- rows are matched by id if both files have an id column (`ID_COLUMNS`), by row if neither has; if
  only one has, the caller must say "row". By id, both files have the same ids, each once; by row,
  the same number of rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medisum_utils.notes.text_files import csv_rows, read_utf8, unix_lines

ID_COLUMNS = ("id", "encounter_id")  # upper or lower case
MISSING_WORDS = frozenset({"nan", "<na>", "nat", "null"})
MATCHES = ("auto", "id", "row")
_N_NAMED = 5  # how many ids or rows an error lists before it counts the rest


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file's cells by column, and the name that errors use for it."""

    name: str
    columns: dict[str, list[str]]

    @property
    def n_rows(self) -> int:
        """How many rows the file has below its header."""
        return len(next(iter(self.columns.values())))

    def texts(self, *names: str, may_be_empty: bool = False) -> list[str]:
        """The cells of the first column in `names` that the file has.

        Raises: ValueError for a missing column, a NaN cell, or an empty cell.
        """
        column = next((name for name in names if name in self.columns), None)
        if column is None:
            expected = " or ".join(repr(name) for name in names)
            raise ValueError(
                f"{self.name}: expected a column {expected}, got {', '.join(self.columns)}"
            )
        cells = self.columns[column]
        check_texts(cells, f"{self.name}, column {column!r}", may_be_empty=may_be_empty)
        return cells

    def ids(self) -> list[str] | None:
        """The id column's cells, None if the file has no such column.

        Raises: ValueError for an empty or a repeated id.
        """
        by_name = {column.strip().lower(): column for column in reversed(self.columns)}
        column = next((by_name[name] for name in ID_COLUMNS if name in by_name), None)
        if column is None:
            return None
        ids = [cell.strip() for cell in self.columns[column]]
        if empty := [number for number, key in enumerate(ids, start=1) if not key]:
            raise ValueError(
                f"{self.name}, column {column!r}: expected an id, got none in {_some(empty)}"
            )
        if repeated := _repeated(ids):
            raise ValueError(
                f"{self.name}, column {column!r}: expected each id once, got more of "
                f"{_some(repeated)} (match by row if they name no encounter)"
            )
        return ids


@dataclass(frozen=True, slots=True)
class Reading:
    """How files of notes are read: which `column`, and how rows are matched.

    Without a column the protocol's default columns are tried. `match` is one of `MATCHES`; see
    `row_order`.
    """

    column: str | None = None
    match: str = "auto"


AS_USUAL = Reading()


def read_table(path: str | os.PathLike) -> Table:
    """Reads a whole CSV file and converts its line ends to LF.

    Raises: ValueError for a file that breaks a rule above; OSError for one that cannot be read.
    """
    name = Path(path).name
    rows = [
        [unix_lines(cell) for cell in row]
        for _, row in csv_rows(read_utf8(Path(path), name), name)
        if row
    ]
    if len(rows) < 2:
        raise ValueError(f"{name}: expected a header and at least one row, got {len(rows)} lines")
    header, *rows = rows
    if repeated := _repeated(header):
        raise ValueError(f"{name}: expected each column once, got {_some(repeated)} twice")
    if ragged := [number for number, row in enumerate(rows, start=1) if len(row) != len(header)]:
        raise ValueError(
            f"{name}: expected {len(header)} cells in each row, got another number in "
            f"row {_some(ragged)}"
        )
    return Table(name, {column: [row[i] for row in rows] for i, column in enumerate(header)})


def check_texts(texts: Iterable[object], name: str, *, may_be_empty: bool = False) -> None:
    """Refuses cells that are not text, NaN written as text and, by default, empty texts.

    Raises: ValueError that names the rows, numbered from 1 below the header, never their text.
    """
    problems: dict[str, list[int]] = {}
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            problems.setdefault(type(text).__name__, []).append(number)
        elif text.strip().lower() in MISSING_WORDS:
            problems.setdefault("NaN", []).append(number)
        elif not text.strip() and not may_be_empty:
            problems.setdefault("an empty cell", []).append(number)
    for problem, numbers in problems.items():
        raise ValueError(f"{name}: expected text, got {problem} in row {_some(numbers)}")


def row_order(reference: Table, other: Table, match: str = "auto") -> tuple[list[int], str]:
    """For each row of `reference`, the matching row of `other`; and how they were matched.

    `match` is "id", "row", or "auto": by id if both files have ids, by row if neither has.
    Raises: ValueError for files that do not match, and with "auto" if only one has ids.
    """
    if match not in MATCHES:
        raise ValueError(f"expected match to be one of {', '.join(MATCHES)}, got {match!r}")
    if match != "row":
        ids, other_ids = reference.ids(), other.ids()
        if ids is not None and other_ids is not None:
            return _order_by_id(ids, other_ids, reference.name, other.name), "id"
        if match == "id" or ids is not None or other_ids is not None:
            lacking = reference.name if ids is None else other.name
            raise ValueError(
                f"{lacking}: expected a column {' or '.join(ID_COLUMNS)} in both files, got none "
                "in this one (match by row if the rows are in the same order)"
            )
    if reference.n_rows != other.n_rows:
        raise ValueError(
            f"expected as many rows in {other.name} as in {reference.name}, "
            f"got {other.n_rows} and {reference.n_rows}"
        )
    return list(range(reference.n_rows)), "row"


def _order_by_id(ids: list[str], other_ids: list[str], name: str, other_name: str) -> list[int]:
    row_of_id = {key: number for number, key in enumerate(other_ids)}
    missing = [key for key in ids if key not in row_of_id]
    extra = sorted(set(other_ids) - set(ids))
    if missing or extra:
        raise ValueError(
            f"expected the ids of {name} in {other_name}, got {len(other_ids)} rows for "
            f"{len(ids)}: lacking {_some(missing)}; not in {name}: {_some(extra)}"
        )
    return [row_of_id[key] for key in ids]


def _repeated(items: Iterable[str]) -> list[str]:
    return [item for item, n in Counter(items).items() if n > 1]


def _some(items: Sequence[object]) -> str:
    shown = ", ".join(str(item) for item in items[:_N_NAMED])
    more = len(items) - _N_NAMED
    return f"{shown} and {more} more" if more > 0 else shown or "none"
