"""A note as the parts that a model is asked for: whole, by the section it is, or by division.

A profile chooses one of `SCHEMES`:

- "whole": the note in one answer to the dialogue;
- "section": notes of one section, as MTS-Dialog has them. The model first names the section, then
  writes it. Where a task gives the section, its name is put in the model's mouth;
- "divisions": the four of ACI-Bench, one after the other, so that each comes once and in order. A
  note of one section is asked for as in "section", so that both corpora can teach one adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medisum_utils.encounter import Encounter
from medisum_utils.notes.divisions import (
    ACI_DIVISIONS,
    ACI_LINE_BREAK,
    ACI_MISSING,
    aci_divisions,
)
from medisum_utils.notes.headers import CORPUS_HEADER, title_of

WHOLE, SECTION, BY_DIVISION = SCHEMES = ("whole", "section", "divisions")
NOT_DISCUSSED = "Not discussed."  # what stands for a part that the visit gives nothing for
DIVISION_TITLES = dict(
    zip(
        ACI_DIVISIONS,
        ("Subjective", "Physical examination", "Results", "Assessment and plan"),
        strict=True,
    )
)
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
    # As the corpus writes its notes: no colon behind a header, an empty line below it.
    raw = "\n\n".join(f"{section.header}\n\n{section.text}" for section in encounter.note)
    texts = aci_divisions(raw).values()
    return [
        Part(part.request, _plain(text))
        for part, text in zip(parts_to_write(scheme), texts, strict=True)
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
    """The answers as one note; parts that were not discussed are left out."""
    if len(answers) == 1:
        return answers[0]
    said = (answer.strip() for answer in answers)
    return "\n\n".join(answer for answer in said if answer not in ("", NOT_DISCUSSED))


def _plain(division: str) -> str:
    text = division.removesuffix(ACI_LINE_BREAK).replace(ACI_LINE_BREAK, "\n").strip()
    return NOT_DISCUSSED if division == ACI_MISSING or not text else text
