"""The first half of a visit: what the patient tells, topic by topic."""

from __future__ import annotations

import re

from medisum_utils.synthesis.casebook import Term
from medisum_utils.synthesis.cases import Prescription
from medisum_utils.synthesis.dialogue import Key, Script, prescription_keys
from medisum_utils.synthesis.soap import NONE_LINES
from medisum_utils.synthesis.speech import bare_verb

ARTICLE = re.compile(r"^(a|an|the|this|these|some) ")


def greeting(script: Script) -> None:
    """Hello, small talk, and the complaint; the form of address tells the patient's sex."""
    case, voices, rng = script.case, script.voices, script.rng
    sex = [("sex", case.sex)]
    script.doctor("greet_relative" if voices.child else "greet", sex)
    if rng.random() < 0.4:
        opening, reply = rng.choice(script.common("smalltalk"))
        script.say("doctor", opening)
        script.say("relative" if voices.child else "patient", reply)
    complaint(script)


def complaint(script: Script) -> None:
    """What the patient comes with, its side and how long it has lasted."""
    case, rng = script.case, script.rng
    term = case.problem.complaint
    phrase, needs_echo = script.spoken(term)
    # The opening complaint is the note's headline: a lay wording is always named once.
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
        script.echo(term.term, [("complaint", term.term)])
        script.patient("yes")
    if case.side and not sided:
        script.doctor("ask_side")
        script.patient("side", [("laterality", f"{case.side} {term.term}")], x=case.side)


def duration_key(script: Script) -> Key:
    return ("duration", "for {} {}".format(*script.case.duration))


def duration_text(script: Script, number: int | None = None) -> str:
    n, unit = script.case.duration
    spoken = script.voices.number(str(number or n))
    wrong = script.voices.number(str((number or n) + script.rng.choice((1, 2, 3))))
    return f"{script.repaired(spoken, wrong) if number is None else spoken} {unit}"


def duration(script: Script) -> None:
    """How long; sometimes vague at first, sometimes corrected at the end of the talk."""
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
    """Age, asked or read from the chart."""
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
    """A number out of ten, at times repaired at once or corrected later."""
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
    script.doctor("ask_worse")
    for item in script.case.worse:
        script.patient("worse", [("worse", f"worse with {item}")], x=item)


def better(script: Script) -> None:
    script.doctor("ask_better")
    for item in script.case.better:
        script.patient("better", [("better", f"better with {item}")], x=item)


def symptoms(script: Script) -> None:
    """Symptoms volunteered, asked one by one or in groups, confirmed and denied."""
    case, rng = script.case, script.rng
    waiting = [(term, True) for term in case.reported] + [(term, False) for term in case.denied]
    rng.shuffle(waiting)
    while waiting:
        group = [waiting.pop() for _ in range(min(len(waiting), rng.choice((1, 1, 1, 2, 2, 3))))]
        present = [term for term, is_present in group if is_present]
        absent = [term for term, is_present in group if not is_present]
        if len(group) == 3 and not present:
            _ask_group(script, "ask_three", absent, "none_of_these")
        elif len(group) == 2 and len(absent) == 2:
            _ask_group(script, "ask_two", absent, "none_of_these")
        elif len(group) == 2 and len(present) == 2:
            _ask_group(script, "ask_two", present, "both")
        elif len(group) == 2 and rng.random() < 0.7:
            _ask_one_yes_one_no(script, present[0], absent[0])
        else:
            for term in present:
                reported_symptom(script, term)
            for term in absent:
                denied_symptom(script, term)


def _symptom_keys(terms: list[Term], *, present: bool) -> list[Key]:
    return [("symptom" if present else "denial", term.term) for term in terms]


def _as_asked(script: Script, term: Term) -> str:
    """A symptom in the doctor's mouth; for `test_unseen` always the clinical term."""
    if script.unseen or not term.lay or script.rng.random() < 0.7:
        return term.term
    phrase = script.voices.person(script.rng.choice(term.lay), "doctor")
    return ARTICLE.sub("", phrase)


def _ask_group(script: Script, ask: str, terms: list[Term], answer: str) -> None:
    keys = _symptom_keys(terms, present=answer == "both")
    names = dict(zip("xyz", (_as_asked(script, term) for term in terms), strict=False))
    script.doctor(ask, keys, **names)
    script.patient(answer, keys)


def _ask_one_yes_one_no(script: Script, yes: Term, no: Term) -> None:
    keys = _symptom_keys([yes], present=True) + _symptom_keys([no], present=False)
    first, second = script.rng.sample([yes.term, no.term], 2)
    script.doctor("ask_two", x=first, y=second)
    script.patient("yes_no", keys, x=yes.term, y=no.term)


def reported_symptom(script: Script, term: Term) -> None:
    keys = _symptom_keys([term], present=True)
    if script.rng.random() < 0.5:
        script.doctor("ask_symptom", keys, x=_as_asked(script, term))
        script.patient("yes", keys)
        return
    phrase, needs_echo = script.spoken(term)
    if script.lines[-1].speaker == "doctor" or script.rng.random() < 0.3:
        script.doctor("ask_more")
    script.patient("volunteer", [] if needs_echo else keys, x=phrase)
    if needs_echo:
        script.echo(term.term, keys)


def denied_symptom(script: Script, term: Term) -> None:
    keys = _symptom_keys([term], present=False)
    if script.rng.random() < 0.85:
        script.doctor("ask_symptom", keys, x=_as_asked(script, term))
        script.patient("no", keys)
    else:
        script.patient("deny", keys, x=term.term)


def denied_topic(script: Script, topic: str) -> None:
    """A whole topic asked about and denied."""
    keys = [("denial", NONE_LINES[topic][1])]
    script.doctor(f"ask_{topic}", keys)
    script.patient("none_topic", keys)


def _history(script: Script, ask: str, kind: str, terms: list[Term], answer: str) -> None:
    script.doctor(ask)
    for term in terms:
        phrase, needs_echo = script.spoken(term)
        keys = [(kind, term.term)]
        script.patient(answer, [] if needs_echo else keys, x=phrase)
        if needs_echo:
            script.echo(term.term, keys)


def conditions(script: Script) -> None:
    """Past conditions, told by the patient or known from the chart alone."""
    terms = script.case.conditions
    if script.rng.random() < 0.35:
        for term in terms:
            script.doctor("chart_condition", [("condition", term.term)], x=term.term)
            script.patient("yes")
    elif len(terms) == 2 and script.rng.random() < 0.4:
        keys = [("condition", term.term) for term in terms]
        script.doctor("ask_conditions")
        script.patient("conditions_two", keys, x=terms[0].term, y=terms[1].term)
    else:
        _history(script, "ask_conditions", "condition", terms, "conditions")


def surgeries(script: Script) -> None:
    _history(script, "ask_surgeries", "surgery", script.case.surgeries, "surgery")


def medicines(script: Script) -> None:
    script.doctor("ask_medicines")
    for item in script.case.medicines:
        _medicine(script, item)


def _medicine(script: Script, item: Prescription) -> None:
    voices, rng = script.voices, script.rng
    keys = prescription_keys("medicine", item)
    if not item.dose:
        script.patient("medicine", keys, x=item.name)
        if rng.random() < 0.5:
            script.unanswered("ask_dose")
        return
    dose = voices.quantity(item.dose)
    slots = {"dose": dose, "freq": frequency_text(script, item)}
    draw = rng.random()
    if draw < 0.15:
        script.doctor("chart_medicine", keys, x=item.name, **slots)
        script.patient("yes")
    elif draw < 0.5:
        script.patient("medicine_full", keys, x=item.name, **slots)
    elif draw < 0.9:
        script.patient("medicine", keys[:1], x=item.name)
        script.doctor("ask_dose")
        script.patient("dose_freq", keys[1:], **slots)
    else:
        _corrected_dose(script, item, keys, slots)


def _corrected_dose(script: Script, item: Prescription, keys: list[Key], slots: dict) -> None:
    others = [
        d for d in script.book.medicines[item.name].doses if not item.dose.startswith(d + " ")
    ]
    unit = item.dose.partition(" ")[2]
    wrong = f"{script.rng.choice(others)} {unit}" if others else ""
    if not wrong:
        script.patient("medicine_full", keys, x=item.name, **slots)
        return
    said_wrong = {"dose": wrong, "freq": slots["freq"]}
    script.patient("medicine_full", [keys[0], *keys[2:]], x=item.name, **said_wrong)
    script.corrections.append(
        lambda: script.patient("correct_dose", [keys[1]], x=item.name, w=wrong, dose=slots["dose"])
    )


def frequency_text(script: Script, item: Prescription) -> str:
    """Route and frequency as spoken; by mouth goes without saying."""
    spoken = script.voices.frequency(item.frequency)
    return f"{item.route} {spoken}".strip()


def allergies(script: Script) -> None:
    script.doctor("ask_allergies")
    for allergen, reaction in script.case.allergies:
        text = f"{allergen} causing {reaction}" if reaction else allergen
        keys = [("allergy", text)]
        if not reaction:
            script.patient("allergy", keys, x=allergen)
        elif script.rng.random() < 0.5:
            script.patient("allergy_full", keys, x=allergen, y=reaction)
        else:
            script.patient("allergy", x=allergen)
            script.doctor("ask_reaction")
            script.patient("reaction", keys, y=reaction)


def family(script: Script) -> None:
    script.doctor("ask_family")
    for relative, condition in script.case.family:
        keys = [("family", f"{relative} with {condition}")]
        script.patient("family", keys, x=relative, y=condition)


def social(script: Script) -> None:
    if script.rng.random() < 0.2:
        script.doctor("ask_social")
    for habit, text in script.case.social.items():
        _habit(script, habit, text)


def _habit(script: Script, habit: str, text: str) -> None:
    keys = [("social", text)]
    script.doctor(f"ask_{habit}")
    digits = "".join(ch for ch in text if ch.isdigit())
    number = script.voices.number(digits) if digits else ""
    if habit == "smoking":
        form = {"s": "smokes", "n": "never_smoked", "q": "quit"}[text[0]]
        script.patient(form, keys, n=number)
    elif habit == "alcohol":
        script.patient("drinks" if digits else "no_alcohol", keys, n=number)
    elif habit == "work":
        script.patient("work", keys, x=text.removeprefix("works as "))
    elif habit == "living":
        script.patient("living", keys, x=text.removeprefix("lives "))
    elif script.voices.p_relative:
        script.say("patient", f"I {bare_verb(text)}.", keys)
    else:
        script.patient("exercise", keys, x=bare_verb(text))
