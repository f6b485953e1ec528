"""The second part of a visit: history, medicines, allergies, family and habits, topic by topic."""

from __future__ import annotations

from medisum_utils.synthesis.casebook import Term
from medisum_utils.synthesis.cases import Prescription
from medisum_utils.synthesis.dialogue import Key, Script, prescription_keys
from medisum_utils.synthesis.soap import NONE_LINES
from medisum_utils.synthesis.speech import bare_verb


def denied_topic(script: Script, topic: str) -> None:
    """A whole topic that the doctor asks about and the patient denies."""
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
            script.doctor("echo", keys, x=term.term)


def conditions(script: Script) -> None:
    """Past conditions, reported by the patient or read from the chart."""
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
    rng, keys = script.rng, prescription_keys("medicine", item)
    if not item.dose:
        script.patient("medicine", keys, x=item.name)
        if rng.random() < 0.5:
            script.unanswered("ask_dose")
        return
    slots = prescription_slots(script, item)
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
    """A wrong dose now and the right one later; the right one now for a medicine of one dose."""
    _, _, unit = item.dose.partition(" ")
    doses = [f"{dose} {unit}" for dose in script.book.medicines[item.name].doses]
    others = [dose for dose in doses if dose != item.dose]
    if not others:
        script.patient("medicine_full", keys, x=item.name, **slots)
        return
    wrong = script.rng.choice(others)
    script.patient("medicine_full", [keys[0], *keys[2:]], x=item.name, **slots | {"dose": wrong})
    script.corrections.append(
        lambda: script.patient("correct_dose", [keys[1]], x=item.name, w=wrong, dose=slots["dose"])
    )


def prescription_slots(script: Script, item: Prescription) -> dict[str, str]:
    """Dose, and route and frequency, as spoken; "by mouth" is left out."""
    dose = script.voices.quantity(item.dose)
    return {"dose": dose, "freq": f"{item.route} {script.voices.frequency(item.frequency)}".strip()}


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
            script.patient("allergy", keys, x=allergen)
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
    digits = "".join(filter(str.isdigit, text))
    number = script.voices.number(digits) if digits else ""
    if habit == "smoking":
        form = {"s": "smokes", "n": "never_smoked", "q": "quit"}[text[0]]
        script.patient(form, keys, n=number)
    elif habit == "alcohol":
        script.patient("drinks" if digits else "no_alcohol", keys, n=number)
    elif habit in ("work", "living"):
        script.patient(habit, keys, x=text.removeprefix("works as ").removeprefix("lives "))
    elif script.voices.p_relative:
        script.say("patient", f"I {bare_verb(text)}.", keys)
    else:
        script.patient("exercise", keys, x=bare_verb(text))
