"""Draws cases from the casebook: what is true of one patient on one day."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from medisum_utils.synthesis.casebook import Casebook, Medicine, Problem, Term

STATUSES = ("well controlled", "stable", "not at goal", "worsening", "improving", "in remission")


@dataclass(frozen=True, slots=True)
class Prescription:
    """A medicine as prescribed; dose and frequency are "" if nobody mentions them."""

    name: str
    dose: str = ""
    route: str = ""
    frequency: str = ""


@dataclass(slots=True)
class Case:
    """What is true of one patient on one day; None or empty means that nobody mentions it.

    `denied_topics` names the empty lists that the doctor asks about and the patient denies.
    """

    problem: Problem
    sex: str
    age: int | None = None
    side: str = ""
    duration: tuple[int, str] | None = None
    onset: str = ""
    severity: int | None = None
    character: str = ""
    worse: list[str] = field(default_factory=list)
    better: list[str] = field(default_factory=list)
    reported: list[Term] = field(default_factory=list)
    denied: list[Term] = field(default_factory=list)
    conditions: list[Term] = field(default_factory=list)
    surgeries: list[Term] = field(default_factory=list)
    medicines: list[Prescription] = field(default_factory=list)
    allergies: list[tuple[str, str]] = field(default_factory=list)
    family: list[tuple[str, str]] = field(default_factory=list)
    social: dict[str, str] = field(default_factory=dict)
    denied_topics: set[str] = field(default_factory=set)
    vitals: dict[str, str] = field(default_factory=dict)
    exam: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    qualifier: str = ""
    statuses: list[tuple[str, str]] = field(default_factory=list)
    start: list[Prescription] = field(default_factory=list)
    change: list[Prescription] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    referrals: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    follow_up: tuple[int, str] | None = None
    precautions: list[str] = field(default_factory=list)


def some(rng: random.Random, items, low: int, high: int) -> list:
    """Draws between `low` and `high` different items, fewer if there are not enough."""
    items = list(items)
    return rng.sample(items, min(len(items), rng.randint(low, high)))


def prescribe(rng: random.Random, medicine: Medicine) -> Prescription:
    """Draws dose, route and frequency."""
    route = rng.choice(medicine.routes)
    return Prescription(
        medicine.name,
        f"{rng.choice(medicine.doses)} {medicine.unit}",
        "" if route == "by mouth" else route,
        rng.choice(medicine.frequencies),
    )


class CaseSampler:
    """Draws cases from a casebook: `held_out=False` for training, True for `test_unseen`.

    `withheld` are names that must not appear as history, family illness or allergy, in addition to
    those that the book holds out.
    """

    def __init__(
        self, book: Casebook, *, held_out: bool = False, withheld: Iterable[str] = ()
    ) -> None:
        self.book = book
        self.problems = [p for p in book.problems if p.held_out == held_out]
        self.medicines = [m for m in book.medicines.values() if m.held_out == held_out]
        names = [*book.problems, *book.medicines.values()]
        self.withheld = {item.name for item in names if item.held_out and not held_out}
        self.withheld |= set(withheld)

    def draw(self, rng: random.Random) -> Case:
        """Draws one case."""
        case = self._person(rng, rng.choice(self.problems))
        self._complaint(rng, case)
        self._background(rng, case)
        self._findings(rng, case)
        self._plan(rng, case)
        return case

    def _person(self, rng: random.Random, problem: Problem) -> Case:
        child = problem.min_age < 18 and rng.random() < 0.3
        age = rng.randint(2, 15) if child else rng.randint(max(18, problem.min_age), 91)
        female = problem.sex == "woman" or (problem.sex != "man" and rng.random() < 0.5)
        sex = ("girl" if female else "boy") if child else ("woman" if female else "man")
        return Case(problem, sex, age if rng.random() < 0.9 else None)

    def _complaint(self, rng: random.Random, case: Case) -> None:
        problem = case.problem
        if problem.lateral:
            case.side = rng.choice(("left", "right"))
        if rng.random() < 0.92:
            unit = rng.choice(problem.duration)
            most = {"hours": 23, "days": 13, "weeks": 11, "months": 18, "years": 20}[unit]
            case.duration = (rng.randint(2, most), unit)
        if rng.random() < 0.4:
            case.onset = rng.choice(("sudden", "gradual"))
        if rng.random() < 0.5:
            case.severity = rng.randint(2, 10)
        if problem.character and rng.random() < 0.5:
            case.character = rng.choice(problem.character)
        if rng.random() < 0.5:
            case.worse = some(rng, problem.worse, 1, 2)
        if rng.random() < 0.45:
            case.better = some(rng, problem.better, 1, 1)
        symptoms = some(rng, problem.symptoms, 2, 6)
        n_reported = rng.randint(0, len(symptoms))
        case.reported, case.denied = symptoms[:n_reported], symptoms[n_reported:]

    def _topic(
        self, rng: random.Random, case: Case, topic: str, p_any: float, p_none: float
    ) -> bool:
        """True if the topic has content; otherwise it may be added to the denied topics."""
        draw = rng.random()
        if p_any <= draw < p_any + p_none:
            case.denied_topics.add(topic)
        return draw < p_any

    def _background(self, rng: random.Random, case: Case) -> None:
        common, adult = self.book.common, case.sex in ("man", "woman")
        if self._topic(rng, case, "conditions", 0.55 if adult else 0.15, 0.12):
            others = [c for c in common["conditions"] if c.term != case.problem.name]
            drawn = some(rng, others, 1, 2)
            case.conditions = [c for c in drawn if c.term not in self.withheld]
        if self._topic(rng, case, "surgeries", 0.25, 0.12):
            case.surgeries = some(rng, common["surgeries"], 1, 1)
        if self._topic(rng, case, "medicines", 0.7 if adult else 0.3, 0.1):
            case.medicines = [
                prescribe(rng, m) if rng.random() < 0.85 else Prescription(m.name)
                for m in some(rng, self.medicines, 1, 3)
            ]
        if self._topic(rng, case, "allergies", 0.35, 0.3):
            case.allergies = [
                (a, rng.choice(common["reactions"]) if rng.random() < 0.6 else "")
                for a in some(rng, common["allergens"], 1, 1)
                if a not in self.withheld
            ]
        if self._topic(rng, case, "family", 0.3, 0.08):
            drawn = [
                (relative, rng.choice(common["family_conditions"]))
                for relative in some(rng, common["relatives"], 1, 2)
            ]
            case.family = [pair for pair in drawn if pair[1] not in self.withheld]
        if adult and rng.random() < 0.6:
            case.social = self._social(rng)

    def _social(self, rng: random.Random) -> dict[str, str]:
        n, common = rng.randint(2, 30), self.book.common
        smoking = (f"smokes {n} cigarettes a day", "never smoked", f"quit smoking {n} years ago")
        alcohol = (f"drinks {rng.randint(1, 14)} drinks a week", "no alcohol")
        choices = {
            "smoking": rng.choice(smoking),
            "alcohol": rng.choice(alcohol),
            "work": f"works as {rng.choice(common['occupations'])}",
            "living": f"lives {rng.choice(common['living'])}",
            "exercise": rng.choice(common["exercise"]),
        }
        return {key: choices[key] for key in some(rng, choices, 1, 3)}

    def _findings(self, rng: random.Random, case: Case) -> None:
        lightest, heaviest = (105, 260) if case.sex in ("man", "woman") else (28, 120)
        vitals = {
            "blood pressure": f"{rng.randint(96, 178)}/{rng.randint(56, 104)} mmHg",
            "heart rate": f"{rng.randint(52, 124)} bpm",
            "respiratory rate": f"{rng.randint(12, 26)} per minute",
            "temperature": f"{rng.randint(968, 1034) / 10} F",
            "oxygen saturation": f"{rng.randint(89, 100)}%",
            "weight": f"{rng.randint(lightest, heaviest)} lb",
        }
        if rng.random() < 0.8:
            case.vitals = {key: vitals[key] for key in some(rng, vitals, 1, 4)}
        case.exam = some(rng, case.problem.exam, 1, 4)
        for result in some(rng, case.problem.results, 0, 2):
            case.results.append((result["test"], result_value(rng, result)))

    def _plan(self, rng: random.Random, case: Case) -> None:
        problem, taken_names = case.problem, {m.name for m in case.medicines}
        case.qualifier = rng.choice(problem.qualifiers) if rng.random() < 0.6 else ""
        for condition in case.conditions:
            if rng.random() < 0.4:
                case.statuses.append((condition.term, rng.choice(STATUSES)))
        with_dose = [m for m in case.medicines if m.dose]
        if with_dose and rng.random() < 0.4:
            self._change(rng, case, rng.choice(with_dose))
        allowed = {m.name for m in self.medicines} - taken_names
        choices = [name for name in problem.medicines if name in allowed]
        # A fifth of the cases draw new medicines from all: a problem must not reveal its medicine.
        if rng.random() < 0.2:
            choices = [m.name for m in self.medicines if m.name not in taken_names]
        for name in some(rng, choices or [rng.choice(self.medicines).name], 0, 2):
            if name not in taken_names:
                case.start.append(prescribe(rng, self.book.medicines[name]))
        case.orders = some(rng, problem.orders, 0, 3)
        case.referrals = some(rng, problem.referrals, 0, 1)
        case.advice = some(rng, problem.advice, 0, 3)
        if rng.random() < 0.75:
            unit = rng.choice(("days", "weeks", "months"))
            case.follow_up = (rng.randint(2, {"days": 10, "weeks": 8, "months": 6}[unit]), unit)
        case.precautions = some(rng, problem.precautions, 0, 2)

    def _change(self, rng: random.Random, case: Case, current: Prescription) -> None:
        medicine = self.book.medicines[current.name]
        doses = [d for d in medicine.doses if f"{d} {medicine.unit}" != current.dose]
        action = rng.choice(("change", "stop", "keep"))
        if action == "change" and doses:
            dose = f"{rng.choice(doses)} {medicine.unit}"
            case.change.append(Prescription(current.name, dose, current.route, current.frequency))
        elif action == "stop":
            case.stop.append(current.name)
        else:
            case.keep.append(current.name)


def result_value(rng: random.Random, result: dict) -> str:
    """A finding, or a number with its unit between the test's low and high."""
    if "findings" in result:
        return rng.choice(result["findings"])
    number = rng.uniform(float(result["low"]), float(result["high"]))
    return f"{number:.{result.get('decimals', 0)}f} {result['unit']}".strip()
