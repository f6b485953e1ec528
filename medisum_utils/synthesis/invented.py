"""Encounters whose every name is made up, so that only reading the dialogue can answer.

Used for pretraining only: problems, symptoms, medicines and findings are random words, hence no
knowledge helps and a model must learn to look back and copy.
"""

from __future__ import annotations

import random

from medisum_utils.synthesis.casebook import Casebook, Medicine, Problem, Term
from medisum_utils.synthesis.cases import CaseSampler

ONSETS = (
    "b bl br c ch cl d dr f fl g gl gr h j k l m n p pl pr qu r s sh st t th tr v w x z".split()  # noqa: SIM905
)
VOWELS = "a e i o u ai ea io ou y".split()  # noqa: SIM905
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "x", "nd", "st", "ne", "ze", "de"]
ENDINGS = "in ol ide ate one ine ium an ex ra mab pril statin azole cillin vir tide".split()  # noqa: SIM905
# Words that would be read as part of a note's own grammar.
GRAMMAR = {"left", "right"}


def made_up_word(rng: random.Random) -> str:
    """A word that sounds like one and means nothing."""
    syllables = [
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
        for _ in range(rng.choice((1, 2, 2, 3)))
    ]
    return "".join(syllables) + (rng.choice(ENDINGS) if rng.random() < 0.3 else "")


class Inventor:
    """Makes whole casebooks of made-up names; `words` are real words to mix in."""

    def __init__(self, book: Casebook, words: list[str]) -> None:
        if len(words) < 100:
            raise ValueError(f"expected at least 100 words to mix, got {len(words)}")
        self.book = book
        self.words = [word for word in words if word not in GRAMMAR]

    def phrase(self, rng: random.Random, longest: int = 4) -> str:
        """One to `longest` words, each real or made up."""
        n = rng.randint(1, longest)
        return " ".join(
            made_up_word(rng) if rng.random() < 0.35 else rng.choice(self.words) for _ in range(n)
        )

    def phrases(self, rng: random.Random, n: int, longest: int = 4) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.phrase(rng, longest) for _ in range(n)))

    def _result(self, rng: random.Random) -> dict:
        test = self.phrase(rng, 2)
        if rng.random() < 0.5:
            return {"test": test, "findings": list(self.phrases(rng, 3))}
        unit = rng.choice(("mg/dL", "mmol/L", "g/dL", "U/L", "ng/mL", "mm", "percent"))
        high = rng.choice((1, 10, 100, 1000))
        return {"test": test, "unit": unit, "low": 0, "high": high, "decimals": rng.randint(0, 2)}

    def _problem(self, rng: random.Random, medicines: list[Medicine]) -> Problem:
        def draw(n: int, longest: int = 4) -> tuple[str, ...]:
            return self.phrases(rng, n, longest)

        model = rng.choice(self.book.problems)
        return Problem(
            name=self.phrase(rng, 4),
            speciality=model.speciality,
            held_out=False,
            complaint=Term(self.phrase(rng, 3)),
            lateral=rng.random() < 0.4,
            sex="",
            min_age=model.min_age,
            duration=("hours", "days", "weeks", "months", "years"),
            character=draw(4, 1),
            worse=draw(4),
            better=draw(3),
            symptoms=tuple(Term(phrase) for phrase in draw(7, 3)),
            exam=draw(6, 5),
            results=tuple(self._result(rng) for _ in range(3)),
            qualifiers=draw(3, 2),
            medicines=tuple(medicine.name for medicine in medicines),
            orders=draw(4),
            referrals=draw(2, 2),
            advice=draw(5, 6),
            precautions=draw(4),
        )

    def _medicine(self, rng: random.Random) -> Medicine:
        model = rng.choice(list(self.book.medicines.values()))
        doses = tuple(str(rng.randint(1, 999)) for _ in range(3))
        routes, frequencies = model.routes, model.frequencies
        return Medicine(made_up_word(rng), doses, model.unit, routes, frequencies, False)

    def sampler(self, rng: random.Random) -> CaseSampler:
        """A sampler over a fresh casebook of made-up names."""
        medicines = {m.name: m for m in (self._medicine(rng) for _ in range(8))}
        problems = tuple(self._problem(rng, list(medicines.values())[:4]) for _ in range(2))
        common = self.book.common | {
            "conditions": tuple(Term(phrase) for phrase in self.phrases(rng, 4)),
            "surgeries": tuple(Term(phrase) for phrase in self.phrases(rng, 3)),
            "allergens": self.phrases(rng, 3, 2),
            "reactions": self.phrases(rng, 3, 2),
            "family_conditions": self.phrases(rng, 3),
        }
        return CaseSampler(Casebook(problems, medicines, common))
