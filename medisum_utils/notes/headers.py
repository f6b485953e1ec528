"""Maps note headers to SOAP sections, and splits notes at their headers.

`corpora_headers.csv` is the table. MTS-Dialog's 20 headers have no official mapping; ours follows
where a clinician would look: reported history is subjective, findings and measurements are
objective, diagnoses are assessment, and actions and decisions (procedure, emergency course,
disposition) are plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.encounter import NoteSection
from medisum_utils.notes.text_files import unix_lines

if TYPE_CHECKING:
    import pandas

HEADERS_FILE = Path(__file__).with_name("corpora_headers.csv")
WHOLE_NOTE = "Note"  # the header for text without one


def header_table(corpus: str) -> pandas.DataFrame:
    """The headers of "mts-dialog", "aci-bench" or "own": columns header, title, soap.

    Raises: ValueError for another corpus.
    """
    import pandas

    table = pandas.read_csv(HEADERS_FILE, dtype=str, keep_default_na=False)
    if corpus not in set(table["corpus"]):
        raise ValueError(f"expected one of {sorted(set(table['corpus']))}, got {corpus!r}")
    rows = table[table["corpus"] == corpus]
    return rows.drop(columns="corpus").reset_index(drop=True)


@cache
def soap_of_headers(corpus: str) -> Mapping[str, str]:
    """Maps headers to one of `SECTIONS` or "assessment_and_plan"; see `header_table`."""
    table = header_table(corpus)
    return dict(zip(table["header"], table["soap"], strict=True))


def split_aci_note(text: str) -> tuple[NoteSection, ...]:
    """Splits an ACI-Bench note at lines that are a known header, with or without a colon.

    Headers must be spelled exactly as in the table: subheaders such as "Medications", in title
    case, stay part of the text.
    """
    soap = soap_of_headers("aci-bench")

    def header_of(line: str) -> tuple[str, str, str] | None:
        name = line.strip().removesuffix(":").rstrip()
        return (name, soap[name], "") if name in soap else None

    return _split(text, header_of)


def split_own_note(text: str) -> tuple[NoteSection, ...]:
    """Splits a note at SOAP headers, alone on a line or before a colon, in upper or lower case.

    "S:", "## Plan", "**A/P:** rest" are headers; a note without headers is one section "Note".
    """
    soap = soap_of_headers("own")
    names = "|".join(re.escape(name) for name in sorted(soap, key=len, reverse=True))
    pattern = re.compile(
        rf"[\s#*]*(?P<name>{names})[\s*]*(?P<colon>:[\s*]*)?(?P<rest>.*)", re.IGNORECASE
    )

    def header_of(line: str) -> tuple[str, str, str] | None:
        match = pattern.fullmatch(line)
        if not match:
            return None
        alone = not match["rest"] and len(match["name"]) > 1
        if not (match["colon"] or alone):
            return None
        return match["name"], soap[match["name"].upper()], match["rest"]

    return _split(text, header_of)


def _split(
    text: str, header_of: Callable[[str], tuple[str, str, str] | None]
) -> tuple[NoteSection, ...]:
    """Sections in the note's order; `header_of(line)` is (header, soap, rest of the line)."""
    pieces: list[tuple[str, str, list[str]]] = [(WHOLE_NOTE, "", [])]
    for line in unix_lines(text).split("\n"):
        header = header_of(line)
        if header:
            pieces.append((header[0], header[1], [header[2]] if header[2] else []))
        else:
            pieces[-1][2].append(line.rstrip())
    sections = [NoteSection(name, soap, "\n".join(lines).strip()) for name, soap, lines in pieces]
    return tuple(sections if sections[0].text else sections[1:])
