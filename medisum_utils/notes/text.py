"""Splits the text of a note into its SOAP sections."""

from __future__ import annotations

import csv
import re
from functools import cache

from medisum_utils.encounter import SECTIONS
from medisum_utils.notes.headers import HEADERS_FILE

UNKNOWN = "unknown"

_SOAP_HEADER = re.compile(r"(subjective|objective|assessment|plan)[ \t]*:[ \t]*", re.IGNORECASE)
_LONE_HEADER = re.compile(r"([^\W\d_][^:]{0,58}?)[ \t]*:[ \t]*")


def split_sections(note_text: str) -> dict[str, str]:
    """Splits a note at lines that start with `Subjective:`, `Objective:`, `Assessment:`, `Plan:`.

    Returns the text of each of `SECTIONS`, "" if the note lacks it, and under "unknown" the text
    before the first header or under a joint header for assessment and plan. A corpus header alone
    on its line ("Physical examination:") also starts its section and stays in the text, but never
    an earlier section: "Medications:" within a plan is part of the plan. The texts of a repeated
    section are joined. No line of the note is lost.
    """
    lines_of: dict[str, list[str]] = {name: [] for name in (*SECTIONS, UNKNOWN)}
    current, reached = UNKNOWN, 0
    for line in note_text.splitlines():
        if soap := _SOAP_HEADER.match(line):
            current = soap[1].lower()
            reached = SECTIONS.index(current)
            if not (line := line[soap.end() :]):
                continue
        elif header_section := _corpus_section(line):
            if header_section not in SECTIONS:
                current = UNKNOWN
            elif SECTIONS.index(header_section) >= reached:
                current, reached = header_section, SECTIONS.index(header_section)
        lines_of[current].append(line)
    return {name: "\n".join(lines).strip() for name, lines in lines_of.items()}


def _corpus_section(line: str) -> str:
    """The section of a line that is only a corpus header; "" for other lines."""
    header = _LONE_HEADER.fullmatch(line)
    return _soap_of_headers().get(header[1].lower(), "") if header else ""


@cache
def _soap_of_headers() -> dict[str, str]:
    """Maps every header and title of the corpora's table, in lower case, to its SOAP section."""
    with HEADERS_FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row[name].lower(): row["soap"] for row in rows for name in ("header", "title")}
