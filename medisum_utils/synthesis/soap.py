"""The grammar of notes: writes a case as a note and reads a note back into facts.

`write_note` and `read_facts` are inverse: reading a written note gives every fact of the case and
nothing else (a property test checks this). Reading a model's note with the same grammar makes its
fact scores exact: each statement is compared with the record.

Each line has one kind of statement; items are separated by ", " and the line ends with ".".
"""

from __future__ import annotations

import re

from medisum_utils.encounter import Fact, NoteSection
from medisum_utils.synthesis.cases import Case, Prescription

HEADERS = {
    "subjective": "Subjective",
    "objective": "Objective",
    "assessment": "Assessment",
    "plan": "Plan",
}

# Line prefix -> kind of its items. The order is the order of the note.
LISTS = {
    "subjective": {
        "Reports": "symptom",
        "Denies": "denial",
        "Past medical history:": "condition",
        "Past surgical history:": "surgery",
        "Medications:": "medicine",
        "Allergies:": "allergy",
        "Family history:": "family",
        "Social history:": "social",
    },
    "objective": {"Vitals:": "vital", "Exam:": "exam", "Results:": "result"},
    "assessment": {},
    "plan": {
        "Start": "start",
        "Change": "change",
        "Stop": "stop",
        "Continue": "continue",
        "Order": "order",
        "Refer to": "referral",
        "Advised to": "advice",
        "Follow up in": "follow_up",
        "Return sooner for": "precaution",
    },
}
# Lines for topics that were asked about and denied.
NONE_LINES = {
    "conditions": ("No chronic conditions.", "chronic conditions"),
    "surgeries": ("No prior surgeries.", "prior surgeries"),
    "medicines": ("No current medications.", "current medications"),
    "allergies": ("No known allergies.", "known allergies"),
    "family": ("No relevant family history.", "relevant family history"),
}
PRESCRIBED = {"medicine", "start", "change"}
OPENING = re.compile(
    r"(?:(?P<age>\d+)-year-old )?(?P<sex>man|woman|boy|girl)"
    r" with (?:(?P<side>left|right) )?(?P<complaint>.+?)(?: for (?P<duration>\d+ \w+))?\.",
    re.IGNORECASE,
)
COURSE = {
    "onset ": "onset",
    "severity ": "severity",
    "quality ": "quality",
    "worse with ": "worse",
    "better with ": "better",
}
DOSE = re.compile(r"(?P<name>.+?) (?P<dose>\d[\d.]* \S+)(?: (?P<rest>.+))?")
HAS_NUMBER = re.compile(r"\d")


def prescription_text(item: Prescription) -> str:
    """The medicine with dose, route and frequency, as far as known, in that order."""
    return " ".join(part for part in (item.name, item.dose, item.route, item.frequency) if part)


def _line(prefix: str, items: list[str]) -> list[str]:
    return [f"{prefix} {', '.join(items)}."] if items else []


def _subjective(case: Case) -> list[str]:
    age = f"{case.age}-year-old {case.sex}" if case.age is not None else case.sex.capitalize()
    complaint = f"{case.side} {case.problem.complaint.term}".strip()
    duration = " for {} {}".format(*case.duration) if case.duration else ""
    course = [f"onset {case.onset}"] if case.onset else []
    course += [f"severity {case.severity}/10"] if case.severity is not None else []
    course += [f"quality {case.character}"] if case.character else []
    course += [f"worse with {item}" for item in case.worse]
    course += [f"better with {item}" for item in case.better]
    lines = [f"{age} with {complaint}{duration}."]
    if course:
        text = ", ".join(course)
        lines.append(f"{text[0].upper()}{text[1:]}.")
    lines += _line("Reports", [term.term for term in case.reported])
    lines += _line("Denies", [term.term for term in case.denied])
    topics = {
        "conditions": ("Past medical history:", [c.term for c in case.conditions]),
        "surgeries": ("Past surgical history:", [s.term for s in case.surgeries]),
        "medicines": ("Medications:", [prescription_text(m) for m in case.medicines]),
        "allergies": ("Allergies:", [f"{a} causing {r}" if r else a for a, r in case.allergies]),
        "family": ("Family history:", [f"{who} with {what}" for who, what in case.family]),
    }
    for topic, (prefix, items) in topics.items():
        denied = [NONE_LINES[topic][0]] if topic in case.denied_topics else []
        lines += _line(prefix, items) or denied
    return lines + _line("Social history:", list(case.social.values()))


def _objective(case: Case) -> list[str]:
    return [
        *_line("Vitals:", [f"{name} {value}" for name, value in case.vitals.items()]),
        *_line("Exam:", case.exam),
        *_line("Results:", [f"{test} {value}" for test, value in case.results]),
    ]


def _assessment(case: Case) -> list[str]:
    lines = [", ".join(part for part in (case.problem.name, case.qualifier) if part)]
    lines += [f"{condition}, {status}" for condition, status in case.statuses]
    return [f"Diagnosis: {line}." for line in lines]


def _plan(case: Case) -> list[str]:
    changes = [prescription_text(item) for item in case.change]
    follow_up = ["{} {}".format(*case.follow_up)] if case.follow_up else []
    return [
        *_line("Start", [prescription_text(item) for item in case.start]),
        *_line("Change", changes),
        *_line("Stop", case.stop),
        *_line("Continue", case.keep),
        *_line("Order", case.orders),
        *_line("Refer to", case.referrals),
        *_line("Advised to", case.advice),
        *_line("Follow up in", follow_up),
        *_line("Return sooner for", case.precautions),
    ]


def write_note(case: Case) -> tuple[NoteSection, ...]:
    """Writes the case as a SOAP note; empty sections are left out."""
    lines = {
        "subjective": _subjective(case),
        "objective": _objective(case),
        "assessment": _assessment(case),
        "plan": _plan(case),
    }
    return tuple(
        NoteSection(HEADERS[soap], soap, "\n".join(text)) for soap, text in lines.items() if text
    )


def _fact(kind: str, section: str, text: str, value: str = "") -> Fact:
    polarity = "absent" if kind == "denial" else "present"
    return Fact(kind, section, text.strip(), polarity, value.strip())


def _prescription_facts(kind: str, section: str, item: str) -> list[Fact]:
    match = DOSE.fullmatch(item)
    if not match:
        return [_fact(kind, section, item)]
    name, dose, rest = match["name"], match["dose"], match["rest"]
    facts = [_fact(kind, section, name), _fact("dose", section, f"{name} {dose}", dose)]
    return facts + ([_fact("frequency", section, f"{name} {rest}", rest)] if rest else [])


def _opening_facts(match: re.Match) -> list[Fact]:
    section = "subjective"
    facts = [_fact("sex", section, match["sex"].lower())]
    if match["age"]:
        facts.append(_fact("age", section, f"{match['age']} years old", match["age"]))
    facts.append(_fact("complaint", section, match["complaint"]))
    if match["side"]:
        text = f"{match['side']} {match['complaint']}"
        facts.append(_fact("laterality", section, text, match["side"]))
    if match["duration"]:
        facts.append(_fact("duration", section, f"for {match['duration']}", match["duration"]))
    return facts


def _course_facts(line: str) -> list[Fact] | None:
    facts = []
    line = line[:1].lower() + line[1:]
    for item in line.removesuffix(".").split(", "):
        prefix = next((prefix for prefix in COURSE if item.startswith(prefix)), None)
        if prefix is None:
            return None
        kind = COURSE[prefix]
        value = item.removeprefix(prefix) if kind == "severity" else ""
        facts.append(_fact(kind, "subjective", item, value))
    return facts


def _list_facts(section: str, line: str) -> list[Fact] | None:
    for prefix, kind in LISTS[section].items():
        if not line.startswith(prefix + " "):
            continue
        facts = []
        for item in line.removeprefix(prefix).strip().removesuffix(".").split(", "):
            if kind in PRESCRIBED:
                facts += _prescription_facts(kind, section, item)
            else:
                value = item if HAS_NUMBER.search(item) else ""
                facts.append(_fact(kind, section, item, value))
        return facts
    return None


def _assessment_facts(line: str) -> list[Fact]:
    if not line.startswith("Diagnosis: "):
        return [_fact("other", "assessment", line.removesuffix("."))]
    name, _, status = line.removeprefix("Diagnosis: ").removesuffix(".").partition(", ")
    facts = [_fact("diagnosis", "assessment", name)]
    return facts + ([_fact("status", "assessment", f"{name} {status}")] if status else [])


def read_line(section: str, line: str) -> list[Fact]:
    """Reads one line; a line outside the grammar is one fact of kind "other"."""
    if section == "assessment":
        return _assessment_facts(line)
    if section == "subjective":
        for text, topic in NONE_LINES.values():
            if line == text:
                return [_fact("denial", section, topic)]
        if match := OPENING.fullmatch(line):
            return _opening_facts(match)
        if (facts := _course_facts(line)) is not None:
            return facts
    facts = _list_facts(section, line)
    return [_fact("other", section, line.removesuffix("."))] if facts is None else facts


def read_facts(note_text: str) -> list[Fact]:
    """Reads a note's text into facts, repetitions dropped; text before any header is "other"."""
    section, facts = "", []
    headers = {f"{header}:": soap for soap, header in HEADERS.items()}
    for line in (line.strip() for line in note_text.splitlines()):
        if line in headers:
            section = headers[line]
        elif line and section:
            facts += read_line(section, line)
        elif line:
            facts.append(_fact("other", "", line))
    return list(dict.fromkeys(facts))
