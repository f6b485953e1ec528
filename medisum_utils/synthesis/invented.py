"""Encounters with made-up or mixed names, which can be understood only by reading the dialogue.

They are used for pretraining and for some of the training encounters (`augmented`). In an invented
encounter, each problem, symptom, medicine and finding has a name of random words, of consecutive
words from a text, or a real name with one word changed, so that the beginning of a name does not
predict its end. In a blended encounter, each is drawn from a different problem of the casebook, and
some are invented, so that neither combinations nor familiar names carry information. Memorised
knowledge does not help: the model must learn to look back and copy.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain

from medisum_utils.synthesis.casebook import FOLDER, Casebook, Medicine, Problem, Term, read_yaml
from medisum_utils.synthesis.cases import CaseSampler

# Words that are part of the note's grammar.
GRAMMAR = {"left", "right"}
# Shares of names that are random words and consecutive words of a text; the rest are real names
# with one word changed.
RANDOM_NAMES, TEXT_NAMES = 0.4, 0.3
# Shares of made-up names in a blended encounter.
BLENDS = (0.0, 0.0, 0.2, 0.5)
POOLED = (
    *("character", "worse", "better", "symptoms", "exam", "results", "qualifiers"),
    *("orders", "referrals", "advice", "precautions"),
)


@lru_cache(maxsize=1)
def load_syllables() -> dict[str, list[str]]:
    """Reads the parts of made-up words once."""
    return read_yaml(FOLDER / "syllables.yaml")


def made_up_word(rng: random.Random) -> str:
    """A pronounceable word without meaning."""
    parts = load_syllables()
    word = ""
    for _ in range(rng.choice((1, 2, 2, 3))):
        for part in ("onsets", "vowels", "codas"):
            word += rng.choice(parts[part])
    return word + (rng.choice(parts["endings"]) if rng.random() < 0.3 else "")


class Inventor:
    """Makes casebooks of made-up names.

    `words` are real words to mix in; `runs` are consecutive words from real texts, for names that
    read like natural language. Without runs there are more random words.
    """

    def __init__(self, book: Casebook, words: list[str], runs: Sequence[str] = ()) -> None:
        self.book = book
        self.words = [word for word in words if word not in GRAMMAR]
        self.runs = [run for run in runs if not GRAMMAR & set(run.split())]
        open_problems = [problem for problem in book.problems if not problem.held_out]
        self.pools = {
            name: _distinct(item for problem in open_problems for item in getattr(problem, name))
            for name in POOLED
        }
        self.pools["name"] = [problem.name for problem in open_problems]
        self.pools["complaint"] = [problem.complaint for problem in open_problems]
        self.medicines = [m for m in book.medicines.values() if not m.held_out]
        names = [*book.problems, *book.medicines.values()]
        self.withheld = {item.name for item in names if item.held_out}
        self.casebook_names = [
            name
            for name in map(_name, chain(*self.pools.values()))
            if name and not GRAMMAR & set(name.split())
        ]

    def phrase(self, rng: random.Random, longest: int = 4) -> str:
        """A name of one to `longest` words, of one of the three kinds, never a held-out one."""
        while (drawn := self._phrase(rng, longest)) in self.withheld:
            pass
        return drawn

    def _phrase(self, rng: random.Random, longest: int) -> str:
        draw = rng.random()
        if draw < TEXT_NAMES and self.runs:
            return _heavy(rng.choice(self.runs).split()[: rng.randint(2, longest + 1)])
        if draw >= TEXT_NAMES + RANDOM_NAMES:
            words = rng.choice(self.casebook_names).split()[:longest]
            new = made_up_word(rng) if rng.random() < 0.2 else rng.choice(self.words)
            words[rng.randrange(len(words))] = new
            return " ".join(words)
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
        draw = partial(self.phrases, rng)
        template = rng.choice(self.book.problems)
        return Problem(
            name=self.phrase(rng, 4),
            speciality=template.speciality,
            held_out=False,
            complaint=Term(self.phrase(rng, 3)),
            lateral=rng.random() < 0.4,
            sex="",
            min_age=template.min_age,
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
        template = rng.choice(list(self.book.medicines.values()))
        doses = tuple(str(rng.randint(1, 999)) for _ in range(3))
        return replace(template, doses=doses, name=made_up_word(rng), held_out=False)

    def blended(self, rng: random.Random) -> CaseSampler:
        """A sampler over one problem mixed from all, with medicines of any kind."""
        share = rng.choice(BLENDS)
        made_up = self._problem(rng, [])

        def drawn(name: str) -> tuple:
            """As many items as the made-up problem has, each made up or from the casebook."""
            new_items = getattr(made_up, name)
            from_casebook = rng.sample(self.pools[name], len(new_items))
            pairs = zip(new_items, from_casebook, strict=True)
            return tuple(new if rng.random() < share else old for new, old in pairs)

        def drawn_one(name: str) -> str | Term:
            return getattr(made_up, name) if rng.random() < share else rng.choice(self.pools[name])

        medicines = [
            self._medicine(rng) if rng.random() < share else rng.choice(self.medicines)
            for _ in range(12)
        ]
        problem = replace(
            made_up,
            name=drawn_one("name"),
            complaint=drawn_one("complaint"),
            medicines=tuple(medicine.name for medicine in medicines[:4]),
            **{name: drawn(name) for name in POOLED},
        )
        common = self.book.common
        if rng.random() < share:
            common = self._common(rng)
        book = Casebook((problem,), {m.name: m for m in medicines}, common)
        return CaseSampler(book, withheld=self.withheld)

    def sampler(self, rng: random.Random) -> CaseSampler:
        """A sampler over a fresh casebook of made-up names."""
        medicines = {m.name: m for m in (self._medicine(rng) for _ in range(8))}
        problems = tuple(self._problem(rng, list(medicines.values())[:4]) for _ in range(2))
        book = Casebook(problems, medicines, self._common(rng))
        return CaseSampler(book, withheld=self.withheld)

    def _common(self, rng: random.Random) -> dict:
        return self.book.common | {
            "conditions": tuple(Term(phrase) for phrase in self.phrases(rng, 4)),
            "surgeries": tuple(Term(phrase) for phrase in self.phrases(rng, 3)),
            "allergens": self.phrases(rng, 3, 2),
            "reactions": self.phrases(rng, 3, 2),
            "family_conditions": self.phrases(rng, 3),
        }


def _heavy(words: list[str]) -> str:
    """The words from the first to the last of four letters or more; all if there are none."""
    heavy = [i for i, word in enumerate(words) if len(word) > 3] or [0, len(words) - 1]
    return " ".join(words[heavy[0] : heavy[-1] + 1])


def _name(item: str | Term | Mapping) -> str:
    """The name of a casebook item; "" for a result, which has several."""
    return item.term if isinstance(item, Term) else item if isinstance(item, str) else ""


def casebook_words(book: Casebook) -> list[str]:
    """The plain lower-case words of all names that are not held out."""
    names = (
        _name(item)
        for problem in book.problems
        if not problem.held_out
        for pool in POOLED
        for item in getattr(problem, pool)
    )
    words = {word for name in names for word in name.split()}
    return sorted(word for word in words if word.isascii() and word.isalpha() and word.islower())


def _distinct(items: Iterable) -> list:
    """Each item once, in order; results are mappings, which cannot be in a set."""
    return list({repr(item): item for item in items}.values())
