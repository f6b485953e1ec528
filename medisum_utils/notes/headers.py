"""Note headers and their place in SOAP, as tables, and the splitting of a note by its headers.

`corpora_headers.csv` is the one visible table. MTS-Dialog's 20 headers have no official mapping;
ours follows where a clinician would look: told history is subjective, found and measured is
objective, named is assessment, done and decided (procedure, emergency course, disposition) is plan.
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
WHOLE_NOTE = "Note"  # the header of text that stands under none


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
    """Header to one of `SECTIONS` or "assessment_and_plan"; see `header_table`."""
    table = header_table(corpus)
    return dict(zip(table["header"], table["soap"], strict=True))


def split_aci_note(text: str) -> tuple[NoteSection, ...]:
    """Parts an ACI-Bench note at the lines that are a known header, with or without a colon.

    A header counts as it is spelled in the table only: its notes have subheaders such as
    "Medications" in title case, which stay text.
    """
    soap = soap_of_headers("aci-bench")

    def header_of(line: str) -> tuple[str, str, str] | None:
        name = line.strip().removesuffix(":").rstrip()
        return (name, soap[name], "") if name in soap else None

    return _split(text, header_of)


def split_own_note(text: str) -> tuple[NoteSection, ...]:
    """Parts a note at SOAP headers, on their own line or before a colon, in any case.

    "S:", "## Plan", "**A/P:** rest" are headers; a note without any is one section "Note".
    """
    soap = soap_of_headers("own")
    names = "|".join(re.escape(name) for name in sorted(soap, key=len, reverse=True))
    pattern = re.compile(
        rf"[\s#*]*(?P<name>{names})[\s*]*(?P<colon>:[\s*]*)?(?P<rest>.*)", re.IGNORECASE
    )

    def header_of(line: str) -> tuple[str, str, str] | None:
        found = pattern.fullmatch(line)
        if not found:
            return None
        alone = not found["rest"] and len(found["name"]) > 1
        if not (found["colon"] or alone):
            return None
        return found["name"], soap[found["name"].upper()], found["rest"]

    return _split(text, header_of)


def _split(
    text: str, header_of: Callable[[str], tuple[str, str, str] | None]
) -> tuple[NoteSection, ...]:
    """Sections in the note's order; `header_of(line)` is (header, soap, rest of the line)."""
    parts: list[tuple[str, str, list[str]]] = [(WHOLE_NOTE, "", [])]
    for line in unix_lines(text).split("\n"):
        found = header_of(line)
        if found:
            parts.append((found[0], found[1], [found[2]] if found[2] else []))
        else:
            parts[-1][2].append(line.rstrip())
    sections = [NoteSection(name, soap, "\n".join(lines).strip()) for name, soap, lines in parts]
    return tuple(sections if sections[0].text else sections[1:])
