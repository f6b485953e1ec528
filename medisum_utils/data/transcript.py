"""Speaker-labelled text to turns: `Doctor: ...`, `[doctor] ...`, and what real files do to them."""

from __future__ import annotations

import re

from medisum_utils.encounter import Turn
from medisum_utils.notes.text_files import unix_lines

# Each role with its labels, in lower case; MTS-Dialog's typos are mapped to what they mean.
_ROLES = (
    "doctor dr docotr physician clinician gp d; patient pt p; guest_family gest_family; "
    "guest_clinician guest_clinican; patient_guest; guest; nurse; family; relative; parent; "
    "mother; father; partner; wife; husband; son; daughter; caregiver; carer; interpreter"
)
ROLES = {label: labels.split()[0] for labels in _ROLES.split(";") for label in labels.split()}
_LABEL = "(?:" + "|".join(sorted(ROLES, key=len, reverse=True)) + ")(?:[_ ]?[0-9])?"
_NAMED_DOCTOR = r"(?:dr|doctor)\.? [^\W\d_][\w'-]{0,30}"  # "Dr. Singh:"

# A colon ends a label; after one with an underscore, which is no word of speech, a full stop may.
_PLAIN = rf"(?:(?P<plain>{_LABEL})(?:\s*:|(?<=_family)\.)|(?P<named>{_NAMED_DOCTOR})\s*:)"
_TURN_START = re.compile(rf"\s*(?:\[(?P<tag>{_LABEL})\]|{_PLAIN})(?P<text>.*)", re.IGNORECASE)

# A second speaker in a line follows the end of a sentence and says something: a doctor who is only
# addressed ("Yes, Doctor:") starts no turn.
_SECOND_SPEAKER = re.compile(
    r"(?<=[.?!])\s+(?=(?:Doctor|Patient|Guest_family|Guest_clinician)(?:_?[0-9])?:\s*\S)"
)
_MARK = re.compile(r"Sp [0-9]+")  # a transcriber's
_SPEECH = re.compile(r"[^\W_]")


def parse_turns(text: str, first_speaker: str | None = None) -> tuple[Turn, ...]:
    """The turns of a transcript; a line without a label goes on with the turn above it.

    Roles are lower-case; white space is single; lines and turns without a word are left out.
    `first_speaker` says the words before the first label, if there are any.

    Raises: ValueError if words stand before the first label, or there is no turn.
    """
    spoken: list[tuple[str, list[str]]] = []
    for number, line in enumerate(_lines(text), start=1):
        start = _TURN_START.fullmatch(line)
        if start:
            label = "doctor" if start["named"] else start["tag"] or start["plain"]
            spoken.append((_role(label), [start["text"]]))
        elif _is_leftover(line):
            continue
        elif spoken:
            spoken[-1][1].append(line)
        elif first_speaker:
            spoken.append((first_speaker, [line]))
        else:
            raise ValueError(
                "expected a dialogue whose every turn starts with a speaker ('Doctor: ...' or "
                f"'[doctor] ...'), got line {number} before any known speaker"
            )
    joined = [(role, " ".join(" ".join(parts).split())) for role, parts in spoken]
    turns = tuple(Turn(role, words) for role, words in joined if not _is_leftover(words))
    if not turns:
        raise ValueError("expected a dialogue with turns such as 'Doctor: ...', got none")
    return turns


def _is_leftover(words: str) -> bool:
    """Whether a line is a transcriber's mark, or has no word at all."""
    return not _SPEECH.search(words) or bool(_MARK.fullmatch(words.strip()))


def _lines(text: str) -> list[str]:
    """The lines of a transcript, one speaker each, without quotes around the whole."""
    text = unix_lines(text)
    bare = text.strip()
    if bare.startswith('"') and bare.endswith('"') and bare.count('"') == 2:
        text = bare[1:-1]
    return [part for line in text.split("\n") for part in _SECOND_SPEAKER.split(line)]


def _role(label: str) -> str:
    """The role of a label; a number stays: Guest_family2 and guest_family_2 are one person."""
    name = label.strip().lower()
    number = name[-1] if name[-1].isdigit() else ""
    role = ROLES[name.rstrip("0123456789").rstrip("_ ")]
    return f"{role}_{number}" if number else role
