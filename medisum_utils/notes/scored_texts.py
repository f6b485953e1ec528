"""Which text of a note is scored: whole SOAP notes, and single sections without their header.

01 and 04 both score the nearest training note, and use this module so that the scores agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from medisum_utils.encounter import Encounter
from medisum_utils.notes.headers import WHOLE_NOTE, soap_of_names


def protocol_of(encounters: Sequence[Encounter]) -> str:
    """The protocol of `scoring`: "mts" if every note is one section, else "soap".

    Raises: ValueError for no encounters.
    """
    if not encounters:
        raise ValueError("expected encounters to score, got none")
    return "mts" if all(len(encounter.note) == 1 for encounter in encounters) else "soap"


def without_headers(note: str) -> str:
    """A note without the lines that consist of a known header only."""
    headers = {f"{name}:" for name in (*soap_of_names(), WHOLE_NOTE.lower())}
    lines = note.splitlines()
    return "\n".join(line for line in lines if line.strip().lower() not in headers).strip()


def scored_references(encounters: Sequence[Encounter]) -> list[str]:
    """Each encounter's reference, in the form that is scored.

    Raises: ValueError for no encounters.
    """
    if protocol_of(encounters) == "mts":
        return [encounter.note[0].text for encounter in encounters]
    return [encounter.note_text for encounter in encounters]


def scored_notes(encounters: Sequence[Encounter], notes: Sequence[str]) -> list[str]:
    """Notes on these encounters, in the form that is scored.

    Raises: ValueError for no encounters.
    """
    if protocol_of(encounters) == "mts":
        return [without_headers(note) for note in notes]
    return list(notes)
