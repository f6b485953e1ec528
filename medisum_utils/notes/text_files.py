"""Reads text files from outside the project: encoding, line ends and CSV rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

MAX_CHARACTERS = 1_000_000  # per text, about 20 hours of speech; csv's own limit is 131,072


def unix_lines(text: str) -> str:
    """The text with `\\n` as the only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_utf8(path: Path, name: str) -> str:
    """The text of a file, without a byte order mark; errors refer to the file as `name`.

    Raises: ValueError with the line of the first byte that is not UTF-8; OSError for a file that
    cannot be read.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name}, line {line}: expected UTF-8, got an invalid byte; "
            "save the file as UTF-8 (Excel: CSV UTF-8)"
        ) from None


def csv_rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    """All rows of a CSV text, each with the number of its first line; empty lines are empty rows.

    Cells in quotes may span lines and hold up to `MAX_CHARACTERS`.

    Raises: ValueError with the line of a row that is not valid CSV, never with its text.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    usual_limit = csv.field_size_limit(MAX_CHARACTERS)  # the limit is global to the process
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise ValueError(
                f"{name}, line {line}: expected fields of at most {MAX_CHARACTERS:,} characters, "
                "got a longer one; is a quote never closed?"
            ) from None
        raise ValueError(f"{name}, line {line}: expected CSV, got a row with {error}") from None
    finally:
        csv.field_size_limit(usual_limit)
    return rows
