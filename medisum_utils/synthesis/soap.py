"""The grammar of notes: writes a case as a note and reads a note back into facts.

`write_note` and `read_facts` are inverse: reading a written note gives every fact of the case and
nothing else (a property test checks this). Reading a model's note with the same grammar makes its
fact scores exact: each statement is compared with the record.

Each line has one kind of statement; items are separated by ", " and the line ends with ".".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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
# Topics of a case -> the kind of their facts.
TOPIC_KINDS = {
    "conditions": "condition",
    "surgeries": "surgery",
    "medicines": "medicine",
    "allergies": "allergy",
    "family": "family",
}
PRESCRIBED = {"medicine", "start", "change"}
OPENING = re.compile(
    r"(?:(?P<age>\d+)-year-old )?(?P<sex>man|woman|boy|girl)"
    r" with (?:(?P<side>left|right) )?(?P<complaint>.+?)(?: for (?P<duration>\d+ \w+))?\.",
    re.IGNORECASE,
)
# Opening words of an item of the course -> its kind.
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


def _lists(
    section: str, items: Mapping[str, list[str]], denied_topics: Iterable[str] = ()
) -> list[str]:
    """The lines of a section's lists, from the items of each kind."""
    denials = {TOPIC_KINDS[topic]: NONE_LINES[topic][0] for topic in denied_topics}
    lines = []
    for prefix, kind in LISTS[section].items():
        if items[kind]:
            lines.append(f"{prefix} {', '.join(items[kind])}.")
        elif kind in denials:
            lines.append(denials[kind])
    return lines


def _subjective(case: Case) -> list[str]:
    age = f"{case.age}-year-old {case.sex}" if case.age is not None else case.sex.capitalize()
    complaint = f"{case.side} {case.problem.complaint.term}".strip()
    duration = " for {} {}".format(*case.duration) if case.duration else ""
    lines = [f"{age} with {complaint}{duration}."]
    course = [f"onset {case.onset}"] if case.onset else []
    course += [f"severity {case.severity}/10"] if case.severity is not None else []
    course += [f"quality {case.character}"] if case.character else []
    course += [f"worse with {item}" for item in case.worse]
    course += [f"better with {item}" for item in case.better]
    if course:
        text = ", ".join(course)
        lines.append(f"{text[0].upper()}{text[1:]}.")
    items = {
        "symptom": [term.term for term in case.reported],
        "denial": [term.term for term in case.denied],
        "condition": [term.term for term in case.conditions],
        "surgery": [term.term for term in case.surgeries],
        "medicine": [prescription_text(item) for item in case.medicines],
        "allergy": [f"{a} causing {r}" if r else a for a, r in case.allergies],
        "family": [f"{relative} with {condition}" for relative, condition in case.family],
        "social": list(case.social.values()),
    }
    return lines + _lists("subjective", items, case.denied_topics)


def _objective(case: Case) -> list[str]:
    items = {
        "vital": [f"{name} {value}" for name, value in case.vitals.items()],
        "exam": case.exam,
        "result": [f"{test} {value}" for test, value in case.results],
    }
    return _lists("objective", items)


def _assessment(case: Case) -> list[str]:
    diagnoses = [(case.problem.name, case.qualifier), *case.statuses]
    return [f"Diagnosis: {', '.join(filter(None, parts))}." for parts in diagnoses]


def _plan(case: Case) -> list[str]:
    items = {
        "start": [prescription_text(item) for item in case.start],
        "change": [prescription_text(item) for item in case.change],
        "stop": case.stop,
        "continue": case.keep,
        "order": case.orders,
        "referral": case.referrals,
        "advice": case.advice,
        "follow_up": ["{} {}".format(*case.follow_up)] if case.follow_up else [],
        "precaution": case.precautions,
    }
    return _lists("plan", items)


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
    age, side, complaint, duration = match.group("age", "side", "complaint", "duration")
    facts = [("sex", match["sex"].lower(), "")]
    facts += [("age", f"{age} years old", age)] if age else []
    facts += [("complaint", complaint, "")]
    facts += [("laterality", f"{side} {complaint}", side)] if side else []
    facts += [("duration", f"for {duration}", duration)] if duration else []
    return [_fact(kind, "subjective", text, value) for kind, text, value in facts]


def _course_facts(line: str) -> list[Fact] | None:
    facts = []
    for item in f"{line[:1].lower()}{line[1:]}".removesuffix(".").split(", "):
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
