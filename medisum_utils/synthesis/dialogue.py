"""Turns a case into a dialogue, and records which turn states which fact."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from medisum_utils.encounter import Turn
from medisum_utils.synthesis.casebook import Casebook, Term
from medisum_utils.synthesis.cases import Case, Prescription
from medisum_utils.synthesis.speech import Reworder, Voices, phrasings, sentence_case

Key = tuple[str, str]  # kind and text of a fact


@dataclass(slots=True)
class Line:
    """A turn under construction, with the facts it states."""

    speaker: str
    text: str
    says: list[Key] = field(default_factory=list)


def prescription_keys(kind: str, item: Prescription) -> list[Key]:
    """The facts that a complete prescription states."""
    rest = " ".join(part for part in (item.route, item.frequency) if part)
    keys = [(kind, item.name)]
    keys += [("dose", f"{item.name} {item.dose}")] if item.dose else []
    return keys + ([("frequency", f"{item.name} {rest}")] if rest else [])


class Script:
    """The lines of a dialogue, with helpers that record the facts they state."""

    def __init__(
        self,
        rng: random.Random,
        case: Case,
        book: Casebook,
        *,
        unseen: bool,
        rewording: Reworder | None = None,
    ) -> None:
        self.rng, self.case, self.book, self.unseen = rng, case, book, unseen
        self.voices = Voices(rng, case.sex, unseen=unseen, names=book.common, rewording=rewording)
        self.lines: list[Line] = []
        self.order: dict[Key, int] = {}  # facts in the order of their first mention
        # Functions to call later: topics that have come up, and corrections still to be made.
        self.open_topics: list = []
        self.corrections: list = []

    def common(self, key: str) -> list:
        return phrasings(self.book.common[key], unseen=self.unseen)

    def doctor(self, key: str, says: Sequence[Key] = (), **slots: object) -> None:
        """Adds a doctor's line, sometimes after a short acknowledgement."""
        text = self.voices.doctor(key, **slots)
        if self.lines and self.lines[-1].speaker != "doctor" and self.rng.random() < 0.25:
            text = f"{self.rng.choice(self.common('acks'))} {text}"
        self.say("doctor", text, says)

    def patient(self, key: str, says: Sequence[Key] = (), **slots: object) -> None:
        """Adds an answer by the patient or a relative."""
        relative = self.rng.random() < self.voices.p_relative
        speaker = "relative" if relative else "patient"
        for name, value in slots.items():
            if isinstance(value, str):
                slots[name] = self.voices.person(value, speaker)
        text = self.voices.patient(key, relative=relative, **slots)
        self.say(speaker, self.voices.hesitate(text), says)

    def say(self, speaker: str, text: str, says: Sequence[Key] = ()) -> None:
        """Adds a line; consecutive lines of one speaker become one turn."""
        for key in says:
            self.order.setdefault(key, len(self.order))
        text = sentence_case(text)
        if self.lines and self.lines[-1].speaker == speaker:
            self.lines[-1].text += f" {text}"
            self.lines[-1].says += says
        else:
            self.lines.append(Line(speaker, text, list(says)))

    def spoken(self, term: Term) -> tuple[str, bool]:
        """A term in lay words, and whether the doctor must repeat it in clinical ones.

        A lay phrase that is not in the training data cannot be understood by reading alone, so for
        `test_unseen` the doctor always adds the clinical term.
        """
        if term.lay and self.rng.random() < 0.45:
            return self.rng.choice(term.lay), self.unseen or self.rng.random() < 0.45
        return term.term, False

    def unanswered(self, ask: str, **slots: object) -> None:
        """A question without an answer: its topic must not appear in the note."""
        self.doctor(ask, **slots)
        self.patient("unsure")

    def repaired(self, right: str, wrong: str) -> str:
        """ "three... no, four", or just "four"."""
        if self.rng.random() >= self.voices.p_repair:
            return right
        return self.rng.choice((f"{wrong}... no, {right}", f"{wrong}, sorry, {right}"))

    def chat(self) -> None:
        """Adds small talk that does not belong in the note."""
        draw = self.rng.random()
        if draw < 0.3:
            self.say("patient", self.rng.choice(self.common("distractors")))
        elif draw < 0.45:
            self.say("doctor", self.rng.choice(self.common("doctor_distractors")))
        else:
            self._false_lead(draw)

    def _false_lead(self, draw: float) -> None:
        """Adds medical talk about somebody else or another time."""
        own_medicines = {m.name for m in (*self.case.medicines, *self.case.start)}
        candidates = [m for m in self.book.medicines.values() if m.held_out == self.unseen]
        medicine = self.rng.choice([m for m in candidates if m.name not in own_medicines])
        own_symptoms = {term.term for term in (*self.case.reported, *self.case.denied)}
        problems = [p for p in self.book.problems if p.held_out == self.unseen]
        terms = [t for t in self.rng.choice(problems).symptoms if t.term not in own_symptoms]
        if draw < 0.75 or not terms:
            slots = {"dose": f"{self.rng.choice(medicine.doses)} {medicine.unit}"}
            slots["freq"] = self.rng.choice(medicine.frequencies)
            text = self.voices.patient("other_medicine", x=medicine.name, **slots)
        else:
            key = self.rng.choice(("other_symptom", "trip"))
            text = self.voices.patient(key, x=self.rng.choice(terms).term)
        self.say("patient", text)
        if self.rng.random() < 0.5:
            self.say("doctor", self.rng.choice(self.common("acks")))

    def settle_order(self) -> None:
        """Sorts the case's symptoms by first mention, which is the note's order."""
        for kind, terms in (("symptom", self.case.reported), ("denial", self.case.denied)):
            terms.sort(key=lambda term: self.order[kind, term.term])

    def turns(self) -> tuple[tuple[Turn, ...], dict[Key, tuple[int, ...]]]:
        """The finished turns, and the indices of the turns that state each fact."""
        turns_of_fact: dict[Key, tuple[int, ...]] = {}
        turns = []
        for index, line in enumerate(self.lines):
            text = line.text
            if self.voices.transcript == "slips" and not line.says:
                text = self.voices.slip(text)
            elif self.voices.transcript == "lower":
                text = text.lower()
            turns.append(Turn(line.speaker, text))
            for key in line.says:
                turns_of_fact[key] = (*turns_of_fact.get(key, ()), index)
        return tuple(turns), turns_of_fact
