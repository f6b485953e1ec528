"""Splits a note into divisions, as the ACI-Bench evaluator does or as a clinician reads SOAP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from medisum_utils.notes.headers import header_rows

ACI_DIVISIONS = ("subjective", "objective_exam", "objective_results", "assessment_and_plan")
SOAP_DIVISIONS = ("subjective", "objective", "assessment", "plan", "assessment_and_plan")

# The published evaluator scores a missing division as the first string and joins lines with the
# second. Both count as ROUGE tokens, so its scores cannot be reproduced without them.
ACI_MISSING = "#####EMPTY#####"
ACI_LINE_BREAK = "__lf1__"

# The headers at which the published tagger starts a division, without spaces. A header that ends
# in ":" also counts without the colon if it is alone on its line; any other header counts at the
# start of any line. The tagger does not know VITALS alone, INSTRUCTIONS and most history headers.
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

_MARKUP = re.compile(r"^[\s#]+|\*\*")  # "## Plan", "**Plan:**"
# Lines that look like headers: a few words before a colon, or all capitals.
_NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z/&' -]{0,40}?)\s*:(?P<rest>.*)")
_CAPITALS = re.compile(r"[A-Z][A-Z/&' -]{1,40}")


@dataclass(frozen=True, slots=True)
class SoapNote:
    """A note's text by SOAP division, "" for a missing one, and its unknown headers.

    `unknown_headers` are lines that look like headers but map to no division; they and the text
    below them stay in the preceding division. `has_headers` is False if no header is known,
    `combines` is True if there is text under a joint header for assessment and plan.
    """

    divisions: dict[str, str]
    unknown_headers: tuple[str, ...]
    has_headers: bool
    combines: bool


def aci_divisions(note: str) -> dict[str, str]:
    """Returns the text of each of `ACI_DIVISIONS`, as the published evaluator scores it.

    A division runs from the first line that starts it, header included, to the first line of the
    next division in the note; later headers of a division that has started are ignored. Text
    before the first header is subjective. Line ends become `ACI_LINE_BREAK`; a division without
    lines is `ACI_MISSING`.
    Source: wyim/aci-bench at 5d3cd4d, evaluation/evaluate_fullnote.py and sectiontagger.py.
    """
    lines = note.replace(ACI_LINE_BREAK, "\n").split("\n")
    starts: dict[str, int] = {}
    for number, line in enumerate(lines):
        division = aci_division_of(line)
        if number == 0 and division is None:
            division = "subjective"
        if division is not None:
            starts.setdefault(division, number)
    ends = sorted([*starts.values(), len(lines)])
    divisions = dict.fromkeys(ACI_DIVISIONS, ACI_MISSING)
    for division, start in starts.items():
        end = ends[ends.index(start) + 1]
        text = ACI_LINE_BREAK.join(lines[start:end])
        # The line break before the next division belongs to this one and counts as a token.
        divisions[division] = text if end == len(lines) else text + ACI_LINE_BREAK
    return divisions


def aci_division_of(line: str) -> str | None:
    """Returns the division that a line starts, or None."""
    if line.lstrip().startswith("IMPRESSION"):  # in lower case it is part of the results
        return "assessment_and_plan"
    squeezed = "".join(line.split()).lower()
    for division, headers in _ACI_HEADERS.items():
        if squeezed.startswith(headers) or f"{squeezed}:" in headers:
            return division
    return None


def soap_divisions(note: str) -> SoapNote:
    """Splits a note into `SOAP_DIVISIONS` at the headers that start its lines.

    Headers, with or without a colon and in upper or lower case, are not part of the text; the
    pieces of a division are joined in the note's order. Vitals, exams and results go to
    objective, instructions and orders to plan, text before the first header to subjective.
    "assessment_and_plan" holds assessment, plan and the text under a joint header, so that any
    two notes can be compared; "assessment" and "plan" hold only text under separate headers.
    """
    pieces: list[tuple[str, str]] = []
    unknown: list[str] = []
    division, has_headers = "subjective", False
    for line in note.splitlines():
        name, rest = _header(line)
        header_division = _division_of(name, rest)
        if header_division:
            division, has_headers = header_division, True
        elif header_division is None and name and not rest:
            unknown.append(name)
        text = rest if header_division else line.strip()
        if text:
            pieces.append((division, text))
    both = ("assessment", "plan", "assessment_and_plan")
    texts = {name: _joined(pieces, (name,)) for name in SOAP_DIVISIONS}
    combines = bool(texts["assessment_and_plan"])
    texts["assessment_and_plan"] = _joined(pieces, both)
    return SoapNote(texts, tuple(unknown), has_headers, combines)


def _header(line: str) -> tuple[str, str]:
    """Returns a line's possible header and the text after it; both are "" for other lines."""
    line = " ".join(_MARKUP.sub("", line).split())
    if match := _NAMED.fullmatch(line):
        return match["name"], match["rest"].strip()
    if _CAPITALS.fullmatch(line) or (len(line) > 1 and line.lower() in _soap_of_headers()):
        return line, ""
    return "", ""


def _division_of(name: str, rest: str) -> str | None:
    """Returns a header's division, "" for a subheader, None for an unknown header."""
    if name.lower() == "impression" and not name.isupper():
        return ""  # a radiologist's impression, part of the results
    division, text_may_follow = _soap_of_headers().get(name.lower(), (None, True))
    return division if text_may_follow or not rest else ""


@cache
def _soap_of_headers() -> dict[str, tuple[str, bool]]:
    """Maps each header in lower case to its division and whether text may follow on its line.

    Rows without a corpus come last: further headers, headers that start a division only if alone on
    their line (followed by text, they are often an item of another division, as "Labs: to be
    repeated" in a plan), and subheaders, which have no division.
    """
    return {
        row[name].lower(): (row["soap"], row["text_may_follow"] == "1")
        for row in header_rows()
        for name in ("header", "title")
        if row[name]
    }


def _joined(pieces: list[tuple[str, str]], divisions: tuple[str, ...]) -> str:
    return "\n".join(text for division, text in pieces if division in divisions)
