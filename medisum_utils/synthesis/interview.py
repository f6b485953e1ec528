"""The first part of a visit: greeting, complaint, its course and the other symptoms."""

from __future__ import annotations

import re

from medisum_utils.synthesis.casebook import Term
from medisum_utils.synthesis.dialogue import Key, Script

ARTICLE = re.compile(r"^(a|an|the|this|these|some) ")


def greeting(script: Script) -> None:
    """Greeting, small talk and the complaint; the form of address states the patient's sex."""
    case, voices, rng = script.case, script.voices, script.rng
    sex = [("sex", case.sex)]
    script.doctor("greet_relative" if voices.child else "greet", sex)
    if rng.random() < 0.4:
        opening, reply = rng.choice(script.common("smalltalk"))
        script.say("doctor", opening)
        script.say("relative" if voices.child else "patient", reply)
    complaint(script)


def complaint(script: Script) -> None:
    """The patient's complaint, its side and its duration."""
    case, rng = script.case, script.rng
    term = case.problem.complaint
    phrase, needs_echo = script.spoken(term)
    # The complaint opens the note: a lay wording is always repeated in clinical terms.
    needs_echo = needs_echo or phrase != term.term
    keys: list[Key] = [] if needs_echo else [("complaint", term.term)]
    sided = bool(case.side) and phrase == term.term and rng.random() < 0.5
    text = f"{case.side} {phrase}" if sided else phrase
    keys += [("laterality", f"{case.side} {term.term}")] if sided else []
    if case.duration and rng.random() < 0.3:
        keys.append(duration_key(script))
        script.patient("complaint_duration", keys, x=text, d=duration_text(script))
    else:
        script.patient("complaint", keys, x=text)
        if case.duration:
            script.open_topics.append(duration)
    if needs_echo:
        script.doctor("echo", [("complaint", term.term)], x=term.term)
        script.patient("yes")
    if case.side and not sided:
        script.doctor("ask_side")
        script.patient("side", [("laterality", f"{case.side} {term.term}")], x=case.side)


def duration_key(script: Script) -> Key:
    return ("duration", "for {} {}".format(*script.case.duration))


def duration_text(script: Script, number: int | None = None) -> str:
    """The duration as spoken, sometimes repaired; another number as it stands."""
    n, unit = script.case.duration
    spoken = script.voices.number(str(number or n))
    wrong = script.voices.number(str((number or n) + script.rng.choice((1, 2, 3))))
    return f"{script.repaired(spoken, wrong) if number is None else spoken} {unit}"


def duration(script: Script) -> None:
    """The duration; sometimes vague at first, sometimes corrected at the end of the dialogue."""
    rng, keys = script.rng, [duration_key(script)]
    script.doctor("ask_duration")
    if rng.random() < 0.2:
        script.patient("vague")
        script.doctor("ask_exact")
    if rng.random() < 0.1:
        n, unit = script.case.duration
        wrong = duration_text(script, n + rng.choice((1, 2, 4)))
        script.patient("duration", d=wrong)
        right = duration_text(script, n)
        script.corrections.append(
            lambda: script.patient("correct_duration", keys, d=right, w=wrong)
        )
    else:
        script.patient("duration", keys, d=duration_text(script))


def age(script: Script) -> None:
    """The age, asked for or read from the chart."""
    case, voices = script.case, script.voices
    keys = [("age", f"{case.age} years old")]
    number = voices.number(str(case.age))
    suffix = "_relative" if voices.child else ""
    if script.rng.random() < 0.5:
        script.doctor(f"tell_age{suffix}", keys, age=number)
        script.patient("yes")
    else:
        script.doctor(f"ask_age{suffix}")
        script.patient("age", keys, age=number)


def onset(script: Script) -> None:
    script.doctor("ask_onset")
    script.patient(script.case.onset, [("onset", f"onset {script.case.onset}")])


def severity(script: Script) -> None:
    """A number out of ten, sometimes repaired at once or corrected later."""
    n, rng = script.case.severity, script.rng
    keys = [("severity", f"severity {n}/10")]
    right = script.voices.number(str(n))
    wrong = script.voices.number(str(n - 1 if n > 5 else n + 2))
    script.doctor("ask_severity")
    if rng.random() < 0.1:
        script.patient("severity", n=wrong)
        script.corrections.append(
            lambda: script.patient("correct_severity", keys, n=right, w=wrong)
        )
    else:
        script.patient("severity", keys, n=script.repaired(right, wrong))


def character(script: Script) -> None:
    quality = script.case.character
    script.doctor("ask_character")
    script.patient("character", [("quality", f"quality {quality}")], x=quality)


def worse(script: Script) -> None:
    _influences(script, "worse", script.case.worse)


def better(script: Script) -> None:
    _influences(script, "better", script.case.better)


def _influences(script: Script, kind: str, items: list[str]) -> None:
    script.doctor(f"ask_{kind}")
    for item in items:
        script.patient(kind, [(kind, f"{kind} with {item}")], x=item)


def symptoms(script: Script) -> None:
    """Symptoms volunteered, or asked about one by one or in groups, confirmed or denied."""
    case, rng = script.case, script.rng
    waiting = [(term, True) for term in case.reported] + [(term, False) for term in case.denied]
    rng.shuffle(waiting)
    while waiting:
        group = [waiting.pop() for _ in range(min(len(waiting), rng.choice((1, 1, 1, 2, 2, 3))))]
        present = [term for term, is_present in group if is_present]
        absent = [term for term, is_present in group if not is_present]
        if len(absent) == len(group) > 1:
            ask = "ask_three" if len(group) == 3 else "ask_two"
            _ask_group(script, ask, absent, "none_of_these")
        elif len(present) == len(group) == 2:
            _ask_group(script, "ask_two", present, "both")
        elif len(group) == 2 and rng.random() < 0.7:
            _ask_one_yes_one_no(script, present[0], absent[0])
        else:
            for term in present:
                reported_symptom(script, term)
            for term in absent:
                denied_symptom(script, term)


def _as_asked(script: Script, term: Term) -> str:
    """A symptom in the doctor's words; for `test_unseen` always the clinical term."""
    if script.unseen or not term.lay or script.rng.random() < 0.7:
        return term.term
    phrase = script.voices.person(script.rng.choice(term.lay), "doctor")
    return ARTICLE.sub("", phrase)


def _ask_group(script: Script, ask: str, terms: list[Term], answer: str) -> None:
    kind = "symptom" if answer == "both" else "denial"
    keys = [(kind, term.term) for term in terms]
    names = dict(zip("xyz", (_as_asked(script, term) for term in terms), strict=False))
    script.doctor(ask, keys, **names)
    script.patient(answer, keys)


def _ask_one_yes_one_no(script: Script, yes: Term, no: Term) -> None:
    keys = [("symptom", yes.term), ("denial", no.term)]
    first, second = script.rng.sample([yes.term, no.term], 2)
    script.doctor("ask_two", x=first, y=second)
    script.patient("yes_no", keys, x=yes.term, y=no.term)


def reported_symptom(script: Script, term: Term) -> None:
    keys = [("symptom", term.term)]
    if script.rng.random() < 0.5:
        script.doctor("ask_symptom", keys, x=_as_asked(script, term))
        script.patient("yes", keys)
        return
    phrase, needs_echo = script.spoken(term)
    if script.lines[-1].speaker == "doctor" or script.rng.random() < 0.3:
        script.doctor("ask_more")
    script.patient("volunteer", [] if needs_echo else keys, x=phrase)
    if needs_echo:
        script.doctor("echo", keys, x=term.term)


def denied_symptom(script: Script, term: Term) -> None:
    keys = [("denial", term.term)]
    if script.rng.random() < 0.85:
        script.doctor("ask_symptom", keys, x=_as_asked(script, term))
        script.patient("no", keys)
    else:
        script.patient("deny", keys, x=term.term)
