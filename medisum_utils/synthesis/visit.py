"""The last part of a visit: the doctor's findings, assessment and plan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from medisum_utils.synthesis.background import prescription_slots
from medisum_utils.synthesis.dialogue import Script, prescription_keys


def examination(script: Script) -> None:
    """Vitals and findings, stated by the doctor only."""
    case = script.case
    if case.vitals or case.exam:
        script.doctor("to_exam")
        _nod(script)
    for name, value in case.vitals.items():
        spoken_value = script.voices.quantity(value)
        script.doctor("vital", [("vital", f"{name} {value}")], x=name, y=spoken_value)
    _one_or_two(script, "exam", case.exam, p_two=0.4, p_nod=0.2)


def _one_or_two(
    script: Script, kind: str, items: Sequence[str], *, p_two: float, p_nod: float
) -> None:
    """States items one by one, or sometimes two in one sentence."""
    waiting = list(items)
    while waiting:
        keys = [(kind, item) for item in waiting[:2]]
        if len(waiting) > 1 and script.rng.random() < p_two:
            script.doctor(f"{kind}_two", keys, x=waiting.pop(0), y=waiting.pop(0))
        else:
            script.doctor(kind, keys[:1], x=waiting.pop(0))
        _nod(script, p_nod)


def results(script: Script) -> None:
    for test, value in script.case.results:
        spoken_value = script.voices.quantity(value) if value[0].isdigit() else value
        script.doctor("result", [("result", f"{test} {value}")], x=test, y=spoken_value)
        _nod(script, 0.4)


def assessment(script: Script) -> None:
    case = script.case
    name = case.problem.name
    key = "diagnosis_relative" if script.voices.child else "diagnosis"
    script.doctor(key, [("diagnosis", name)], x=name)
    if case.qualifier:
        keys = [("status", f"{name} {case.qualifier}")]
        script.doctor("qualifier", keys, x=case.qualifier)
    _nod(script, 0.5)
    for condition, status in case.statuses:
        keys = [("diagnosis", condition), ("status", f"{condition} {status}")]
        script.doctor("status", keys, x=condition, y=status)
        _nod(script, 0.3)


def plan(script: Script) -> None:
    """The plan, in an order that varies between visits."""
    case = script.case
    topics = [
        partial(_prescribing, script),
        partial(_one_or_two, script, "order", case.orders, p_two=0.5, p_nod=0.3),
        partial(_each, script, "referral", case.referrals, p_nod=0.4),
        partial(_each, script, "advice", case.advice, p_nod=0.3),
    ]
    script.rng.shuffle(topics)
    for topic in topics:
        topic()
    _return_visit(script)


def _prescribing(script: Script) -> None:
    case = script.case
    for kind in ("start", "change"):
        for item in getattr(case, kind):
            slots = prescription_slots(script, item)
            script.doctor(kind, prescription_keys(kind, item), x=item.name, **slots)
            _nod(script, 0.4)
    _each(script, "stop", case.stop, p_nod=0.4)
    for name in case.keep:
        script.doctor("keep", [("continue", name)], x=name)


def _each(script: Script, kind: str, items: Sequence[str], *, p_nod: float) -> None:
    for item in items:
        script.doctor(kind, [(kind, item)], x=item)
        _nod(script, p_nod)


def _return_visit(script: Script) -> None:
    case = script.case
    if case.follow_up:
        n, unit = case.follow_up
        spoken_time = f"{script.voices.number(str(n))} {unit}"
        script.doctor("follow_up", [("follow_up", f"{n} {unit}")], x=spoken_time)
    signs = case.precautions
    keys = [("precaution", sign) for sign in signs]
    if len(signs) == 2:
        script.doctor("precaution_two", keys, x=signs[0], y=signs[1])
    elif signs:
        script.doctor("precaution", keys, x=signs[0])
    _nod(script, 0.6)


def _nod(script: Script, p: float = 0.5) -> None:
    if script.rng.random() < p:
        script.patient("ok")


def closing(script: Script) -> None:
    script.doctor("closing")
    script.patient("thanks")
