"""A note as the parts that a model is asked for: whole, by the section it is, or by division.

A profile chooses one of `SCHEMES`:

- "whole": the note in one answer to the dialogue;
- "section": notes of one section, as MTS-Dialog has them. The model first names the section, then
  writes it. Where a task gives the section, its name is put in the model's mouth;
- "divisions": the four of ACI-Bench, one after the other, so that each comes once and in order. A
  note under the SOAP headers is cut into the same four and keeps its headers; a note of one section
  is asked for as in "section". So all sources can teach one adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.notes.divisions import (
    ACI_DIVISIONS,
    ACI_LINE_BREAK,
    ACI_MISSING,
    aci_division_of,
    aci_divisions,
)
from medisum_utils.notes.headers import CORPUS_HEADER, soap_of_headers, title_of

WHOLE, SECTION, BY_DIVISION = SCHEMES = ("whole", "section", "divisions")
NOT_DISCUSSED = "Not discussed."  # what stands for a part that the visit gives nothing for
DIVISION_TITLES = dict(
    zip(
        ACI_DIVISIONS,
        ("Subjective", "Physical examination", "Results", "Assessment and plan"),
        strict=True,
    )
)
SUBJECTIVE, EXAM, RESULTS, PLAN = ACI_DIVISIONS
# Names before the colon of a line of an objective section; below any other name, it is examination.
_RESULT_NAMES = (
    *("results", "result", "labs", "lab results", "laboratory", "laboratory results", "tests"),
    *("imaging", "imaging results", "studies", "x-ray", "ekg", "ecg", "electrocardiogram"),
)
# The sections of SOAP in a division, and what stands above a written one that lacks a header: in a
# note under SOAP headers, and in one as ACI-Bench writes them.
_SOAP_OF = {
    SUBJECTIVE: ("subjective",),
    EXAM: ("objective",),
    RESULTS: ("objective",),
    PLAN: ("assessment", "plan", "assessment_and_plan"),
}
_SOAP_TOPS = {
    SUBJECTIVE: "Subjective:",
    EXAM: "Objective:",
    RESULTS: "Results:",
    PLAN: "Assessment and plan:",
}
_ACI_TOPS = {
    SUBJECTIVE: "SUBJECTIVE\n",
    EXAM: "PHYSICAL EXAM\n",
    RESULTS: "RESULTS\n",
    PLAN: "ASSESSMENT AND PLAN\n",
}
_NAME_IT, _WRITE_IT = "Which section is it?", "Write it."


@dataclass(frozen=True, slots=True)
class Part:
    """One request to the model and its answer, None while that is still to be written.

    The first request of a note stands below the dialogue; "" asks for nothing beyond it. An answer
    that is not `in_note` steers the ones that follow, as the name of a section does.
    """

    request: str
    answer: str | None = None
    in_note: bool = True


def parts_of(encounter: Encounter, scheme: str) -> list[Part]:
    """The parts of an encounter's note with their answers, in the order of asking.

    A division that the note lacks is answered by `NOT_DISCUSSED`.

    Raises: ValueError for an unknown scheme, or for several sections where the scheme knows one.
    """
    if scheme == WHOLE:
        return [Part("", encounter.note_text)]
    if len(encounter.note) == 1 and scheme in SCHEMES:
        (section,) = encounter.note
        name, text = parts_to_write(SECTION, section_title(encounter))
        return [name, Part(text.request, section.text)]
    if scheme == SECTION:
        raise ValueError(
            f"{encounter.id}: expected a note of one section for parts: {SECTION}, got "
            f"{len(encounter.note)}; take one of {(WHOLE, BY_DIVISION)}"
        )
    asked = parts_to_write(scheme)
    texts = _soap_texts if _is_soap(encounter.note) else _aci_texts
    return [
        Part(part.request, text or NOT_DISCUSSED)
        for part, text in zip(asked, texts(encounter.note).values(), strict=True)
    ]


def parts_to_write(scheme: str, section: str = "") -> list[Part]:
    """The parts that a model is asked for; with `section`, notes of one section are about that one.

    Raises: ValueError for an unknown scheme.
    """
    if scheme == WHOLE:
        return [Part("")]
    if scheme == SECTION or (section and scheme == BY_DIVISION):
        return [Part(_NAME_IT, section or None, in_note=False), Part(_WRITE_IT)]
    if scheme == BY_DIVISION:
        return [
            Part(f"Write this part of the note: {title}.") for title in DIVISION_TITLES.values()
        ]
    raise ValueError(f"expected parts to be one of {SCHEMES}, got {scheme!r}")


def section_title(encounter: Encounter) -> str:
    """The title of the one section of a note, from the header that its corpus gave it."""
    return title_of(encounter.meta.get(CORPUS_HEADER) or encounter.note[0].header)


def join_parts(answers: Sequence[str]) -> str:
    """The answers as one note; parts that were not discussed are left out.

    A written division that does not begin with a header of its own gets one, so that each is found
    again, by the published evaluator of ACI-Bench and by readers of SOAP notes. What `parts_of`
    gave has them all.
    """
    if len(answers) == 1:
        return answers[0]
    said = [answer.strip() for answer in answers]
    said = ["" if answer == NOT_DISCUSSED else answer for answer in said]
    if len(said) == len(ACI_DIVISIONS):
        said = _with_headers(dict(zip(ACI_DIVISIONS, said, strict=True)))
    return "\n\n".join(filter(None, said))


def _with_headers(texts: dict[str, str]) -> list[str]:
    """The written divisions, each under a header; see `join_parts`."""
    is_soap = _soap_header(texts[SUBJECTIVE]) == "subjective"
    tops = dict(_SOAP_TOPS if is_soap else _ACI_TOPS)
    begin = {name for name, text in texts.items() if _begins(name, text)}
    if is_soap and not texts[EXAM]:  # the results are all of the objective section
        tops[RESULTS] = tops[EXAM]
        begin -= {RESULTS} if _soap_header(texts[RESULTS]) != "objective" else set()
    return [
        f"{tops[name]}\n{text}" if text and name not in begin else text
        for name, text in texts.items()
    ]


def _begins(division: str, text: str) -> bool:
    """Whether a text begins with a header of its division."""
    soap = _soap_header(text)
    return soap in _SOAP_OF[division] if soap else aci_division_of(_first(text)) == division


def _soap_header(text: str) -> str:
    """The section of the SOAP header and its colon with which a text begins, "" without one."""
    name, colon, _ = _first(text).partition(":")
    return soap_of_headers("own").get(name.strip().upper(), "") if colon else ""


def _first(text: str) -> str:
    return text.split("\n", 1)[0]


def _is_soap(note: Sequence[NoteSection]) -> bool:
    """Whether every section stands under a SOAP header, as in generated notes."""
    return all(section.header.upper() in soap_of_headers("own") for section in note)


def _soap_texts(note: Sequence[NoteSection]) -> dict[str, str]:
    """A note under SOAP headers by division, headers included, the objective section in two."""
    texts: dict[str, list[str]] = {name: [] for name in ACI_DIVISIONS}
    for section in note:
        top = f"{section.header}:\n"
        if section.soap == "objective":
            exam, results = _examined_and_measured(section.text)
            if exam:
                texts[EXAM].append(top + exam)
            if results:
                texts[RESULTS].append(results if exam else top + results)
        else:
            name = SUBJECTIVE if section.soap == "subjective" else PLAN
            texts[name].append(top + section.text)
    return {name: "\n\n".join(pieces) for name, pieces in texts.items()}


def _examined_and_measured(objective: str) -> tuple[str, str]:
    """Vital signs and examination, and results of tests: a line with neither name goes on."""
    lines: tuple[list[str], list[str]] = ([], [])
    is_result = False
    for line in objective.splitlines():
        name, colon, _ = line.partition(":")
        if colon:
            is_result = name.strip().lower() in _RESULT_NAMES
        lines[is_result].append(line)
    exam, results = ("\n".join(part).strip() for part in lines)
    return exam, results


def _aci_texts(note: Sequence[NoteSection]) -> dict[str, str]:
    """A note by division as the published evaluator of ACI-Bench cuts it."""
    # As the corpus writes its notes: no colon behind a header, an empty line below it.
    raw = "\n\n".join(f"{section.header}\n\n{section.text}" for section in note)
    return {name: _plain(text) for name, text in aci_divisions(raw).items()}


def _plain(division: str) -> str:
    if division == ACI_MISSING:
        return ""
    return division.removesuffix(ACI_LINE_BREAK).replace(ACI_LINE_BREAK, "\n").strip()
