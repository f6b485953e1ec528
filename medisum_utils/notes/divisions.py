"""Cuts a note into its divisions: as the ACI-Bench evaluator does, or as a clinician reads SOAP."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medisum_utils.notes.headers import HEADERS_FILE

ACI_DIVISIONS = ("subjective", "objective_exam", "objective_results", "assessment_and_plan")
SOAP_DIVISIONS = ("subjective", "objective", "assessment", "plan", "assessment_and_plan")

# The published evaluator scores a missing division as this word and joins lines with that mark,
# and both count as tokens of ROUGE. Its figures cannot be had without them.
ACI_MISSING = "#####EMPTY#####"
ACI_LINE_BREAK = "__lf1__"

# What the published tagger takes for the start of a division, without spaces. A name that ends
# in ":" also counts without it if it is alone on its line; one that does not, counts as the
# beginning of any line. VITALS alone, INSTRUCTIONS and most history headers are unknown to it.
_ACI_STARTS = {
    "subjective": (
        "cc:|chiefcomplaint|reasonforvisit:|hpi|hpinotes:|history:|historyofpresentillness|"
        "intervalhistory:|intervalhx:|subjective:|ros:|reviewofsystem:|reviewofsystems:|"
        "socialhistory|pasthistory"
    ),
    "objective_exam": "physicalexam|pe:|physicalfindings:|examination:|exam:|vitalsreviewed",
    "objective_results": "results|findings:",
    "assessment_and_plan": (
        "assessment:|a:|plan:|planofcare:|medicaldecision-makingplan:|summaryplan|p:|ap:|a/p:|"
        "assessmentandplan|assessment&plan:|disposition/plan:"
    ),
}
_ACI_HEADERS = {name: tuple(words.split("|")) for name, words in _ACI_STARTS.items()}

_MORE_HEADERS_FILE = Path(__file__).with_name("soap_headers.csv")
_MARKUP = re.compile(r"^[\s#]+|\*\*")  # "## Plan", "**Plan:**"
# What looks like a header: a few words before a colon, or a line all in capitals.
_NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z/&' -]{0,40}?)\s*:(?P<rest>.*)")
_CAPITALS = re.compile(r"[A-Z][A-Z/&' -]{1,40}")


@dataclass(frozen=True, slots=True)
class SoapNote:
    """A note's text by SOAP division, "" where absent, and what the tagger did not know.

    `unknown_headers` are lines that look like headers and map to no division; they and the text
    below stay with the division before. `has_headers` is False where no header was known,
    `combines` is True where text stands under one header for assessment and plan.
    """

    divisions: dict[str, str]
    unknown_headers: tuple[str, ...]
    has_headers: bool
    combines: bool


def aci_divisions(note: str) -> dict[str, str]:
    """Returns the text of each of `ACI_DIVISIONS`, as the published evaluator scores it.

    A division runs from the first line that starts it, header included, to the first line of the
    division that comes next in the note; later headers of a division already begun start nothing.
    A note that starts without a header starts in subjective. Line ends become `ACI_LINE_BREAK`;
    a division without any line is `ACI_MISSING`.
    Source: wyim/aci-bench at 5d3cd4d, evaluation/evaluate_fullnote.py and sectiontagger.py.
    """
    lines = note.replace(ACI_LINE_BREAK, "\n").split("\n")
    starts: dict[str, int] = {}
    for number, line in enumerate(lines):
        division = _aci_division(line)
        if number == 0 and division is None:
            division = "subjective"
        if division is not None:
            starts.setdefault(division, number)
    ends = sorted([*starts.values(), len(lines)])
    divisions = dict.fromkeys(ACI_DIVISIONS, ACI_MISSING)
    for division, start in starts.items():
        end = ends[ends.index(start) + 1]
        text = ACI_LINE_BREAK.join(lines[start:end])
        # The break before the next division belongs to this one, and counts as a token.
        divisions[division] = text if end == len(lines) else text + ACI_LINE_BREAK
    return divisions


def _aci_division(line: str) -> str | None:
    """Returns the division that a line starts, or None."""
    if line.lstrip().startswith("IMPRESSION"):  # in lower case it belongs to the results
        return "assessment_and_plan"
    squeezed = "".join(line.split()).lower()
    for division, headers in _ACI_HEADERS.items():
        if squeezed.startswith(headers) or f"{squeezed}:" in headers:
            return division
    return None


def soap_divisions(note: str) -> SoapNote:
    """Cuts a note into `SOAP_DIVISIONS` by the headers that start its lines.

    Headers, with or without a colon and in any case, are not part of the text; a division's
    pieces are joined in the note's order. Vitals, exams and results go to objective,
    instructions and orders to plan, and text before the first header to subjective.
    "assessment_and_plan" holds assessment, plan and what stands under a header for both, so that
    any two notes can be compared; "assessment" and "plan" hold only what the note keeps apart.
    """
    pieces: list[tuple[str, str]] = []
    unknown: list[str] = []
    division, has_headers = "subjective", False
    for line in note.splitlines():
        name, rest = _header(line)
        found = _division_of(name, rest)
        if found:
            division, has_headers = found, True
        elif found is None and name and not rest:
            unknown.append(name)
        text = rest if found else line.strip()
        if text:
            pieces.append((division, text))
    both = ("assessment", "plan", "assessment_and_plan")
    texts = {name: _joined(pieces, (name,)) for name in SOAP_DIVISIONS}
    combines = bool(texts["assessment_and_plan"])
    texts["assessment_and_plan"] = _joined(pieces, both)
    return SoapNote(texts, tuple(unknown), has_headers, combines)


def _header(line: str) -> tuple[str, str]:
    """Returns what may be a line's header and what follows it, both "" for other lines."""
    line = " ".join(_MARKUP.sub("", line).split())
    if match := _NAMED.fullmatch(line):
        return match["name"], match["rest"].strip()
    if _CAPITALS.fullmatch(line) or (len(line) > 1 and line.lower() in _soap_of_headers()):
        return line, ""
    return "", ""


def _division_of(name: str, rest: str) -> str | None:
    """Returns a header's division, "" for a part of a section, None for an unknown header."""
    if name.lower() == "impression" and not name.isupper():
        return ""  # a radiologist's, within the results
    division, text_may_follow = _soap_of_headers().get(name.lower(), (None, True))
    return division if text_may_follow or not rest else ""


@cache
def _soap_of_headers() -> dict[str, tuple[str, bool]]:
    """Header in lower case to its division and whether text may follow on its line.

    The corpora's own table, then `soap_headers.csv`: what it lacks, headers that begin a division
    only alone on their line (with text behind a colon they are as often an item of another one:
    "Labs: to be repeated" in a plan), and, without a division, parts of a section.
    """
    table: dict[str, tuple[str, bool]] = {}
    for row in _rows(HEADERS_FILE):
        for header in (row["header"], row["title"]):
            table[header.lower()] = (row["soap"], True)
    for row in _rows(_MORE_HEADERS_FILE):
        table[row["header"]] = (row["soap"], row["text_may_follow"] == "1")
    return table


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _joined(pieces: list[tuple[str, str]], divisions: tuple[str, ...]) -> str:
    return "\n".join(text for division, text in pieces if division in divisions)
