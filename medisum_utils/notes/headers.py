"""Maps note headers to SOAP sections, and splits notes at their headers.

`headers.csv` is the table. MTS-Dialog's 20 headers have no official mapping; ours follows where a
clinician would look: reported history is subjective, findings and measurements are objective,
diagnoses are assessment, and actions and decisions (procedure, emergency course, disposition) are
plan. Rows without a corpus are for `divisions` alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from medisum_utils.encounter import SECTIONS, NoteSection
from medisum_utils.notes.text_files import unix_lines

UNKNOWN = "unknown"
JOINT = "assessment_and_plan"  # where one header stands for both
WHOLE_NOTE = "Note"  # the header for text without one
CORPUS_HEADER = "section_header"  # key of `Encounter.meta`: MTS-Dialog's own header of the section

_SOAP_HEADER = re.compile(rf"({'|'.join(SECTIONS)})[ \t]*:[ \t]*", re.IGNORECASE)
_SECTION_NAMES = (*SECTIONS, "assessment and plan")
_LONE_HEADER = re.compile(r"([^\W\d_][^:]{0,58}?)[ \t]*:[ \t]*")


@cache
def header_rows() -> tuple[dict[str, str], ...]:
    """The rows of the table: corpus, header, title, soap, text_may_follow."""
    path = Path(__file__).with_name("headers.csv")
    return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@cache
def soap_of_headers(corpus: str) -> dict[str, str]:
    """Maps the headers of "mts-dialog", "aci-bench" or "own" to a section of `NoteSection.soap`."""
    return {row["header"]: row["soap"] for row in header_rows() if row["corpus"] == corpus}


def title_of(header: str) -> str:
    """The words for a corpus's header, as "Chief complaint" for "CC"; else the header itself."""
    return next(
        (row["title"] or header for row in header_rows() if row["header"] == header), header
    )


@cache
def soap_of_names() -> dict[str, str]:
    """Maps every header and title of the corpora, in lower case, to its section."""
    rows = [row for row in header_rows() if row["corpus"]]
    return {row[name].lower(): row["soap"] for row in rows for name in ("header", "title")}


def split_sections(note_text: str) -> dict[str, str]:
    """Splits a note at lines that start with `Subjective:`, `Objective:`, `Assessment:`, `Plan:`.

    Returns the text of each of `SECTIONS`, of `JOINT` for what stands under one header for
    assessment and plan, and under "unknown" the text before the first header; "" where there is
    none. A corpus header alone on its line ("Physical examination:", or "PHYSICAL EXAM" as
    ACI-Bench has it) also starts its section and stays in the text, but never an earlier section:
    "Medications:" within a plan is part of the plan. If it is a section's own name ("PLAN"), it
    does as the four above. The texts of a repeated section are joined. No other line is lost.
    """
    lines_of: dict[str, list[str]] = {name: [] for name in (*SECTIONS, JOINT, UNKNOWN)}
    current, reached = UNKNOWN, 0
    for line in note_text.splitlines():
        name = _lone_name(line)
        section = soap_of_names().get(name, "")
        place = SECTIONS.index("assessment" if section == JOINT else section) if section else -1
        if soap := _SOAP_HEADER.match(line):
            current = soap[1].lower()
            reached = SECTIONS.index(current)
            if not (line := line[soap.end() :]):
                continue
        elif place >= reached or name in _SECTION_NAMES:
            current, reached = section, place
            if name in _SECTION_NAMES:
                continue
        lines_of[current].append(line)
    return {name: "\n".join(lines).strip() for name, lines in lines_of.items()}


def _lone_name(line: str) -> str:
    """The name, in lower case, that a line consists of if it may be a corpus's header, else ""."""
    if lone := _LONE_HEADER.fullmatch(line):
        return lone[1].lower()
    bare = line.strip()
    return bare.lower() if bare in soap_of_headers("aci-bench") else ""


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
        if match and (match["colon"] or (not match["rest"] and len(match["name"]) > 1)):
            return match["name"], soap[match["name"].upper()], match["rest"]
        return None

    return _split(text, header_of)


def _split(
    text: str, header_of: Callable[[str], tuple[str, str, str] | None]
) -> tuple[NoteSection, ...]:
    """Sections in the note's order; `header_of(line)` is (header, soap, rest of the line)."""
    pieces: list[tuple[str, str, list[str]]] = [(WHOLE_NOTE, "", [])]
    for line in unix_lines(text).split("\n"):
        if header := header_of(line):
            name, soap, rest = header
            pieces.append((name, soap, [rest]))
        else:
            pieces[-1][2].append(line.rstrip())
    sections = [NoteSection(name, soap, "\n".join(lines).strip()) for name, soap, lines in pieces]
    return tuple(sections if sections[0].text else sections[1:])
