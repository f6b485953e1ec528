"""How people speak: phrase bank, persons, numbers, hesitations.

The last quarter of every list of phrasings is reserved for `test_unseen`; training never uses it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import lru_cache

from num2words import num2words

from medisum_utils.synthesis.casebook import FOLDER, read_yaml

# (rng, speaker, key, phrasing with slots) -> another phrasing of the same key.
Reworder = Callable[[random.Random, str, str, str], str]
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Lay phrases are written in the first person; other people say them in the second or third.
FIRST_PERSON = re.compile(r"\b(I'm|I've|I|myself|my|me)\b")
SECOND_PERSON = {"I'm": "you're", "I've": "you've", "I": "you", "my": "your", "me": "you"}
SECOND_PERSON["myself"] = "yourself"
THIRD_PERSON = {"I'm": "Im", "I've": "Ive", "I": "I", "my": "my", "me": "me", "myself": "me"}
THIRD_SINGULAR = {"does": "do", "goes": "go", "is": "am", "has": "have"}


@lru_cache(maxsize=1)
def load_bank() -> dict:
    """Reads the phrase bank once."""
    return read_yaml(FOLDER / "speech.yaml")


def phrasings(options: list[str], *, unseen: bool) -> list[str]:
    """The part of a list that training uses, or the last quarter, which is reserved."""
    n_unseen = len(options) // 4
    if not n_unseen:
        return options
    return options[-n_unseen:] if unseen else options[:-n_unseen]


@lru_cache(maxsize=4096)
def number_words(number: str) -> str:
    """A number as spoken: "142" is "one hundred and forty-two", "98.6" "... point six"."""
    whole, _, decimals = number.partition(".")
    words = num2words(int(whole))
    if decimals:
        words += " point " + " ".join(num2words(int(digit)) for digit in decimals)
    return words


def bare_verb(phrase: str) -> str:
    """Turns "walks the dog" into "walk the dog", for speaking in the first person."""
    verb, _, rest = phrase.partition(" ")
    bare = THIRD_SINGULAR.get(verb) or (verb[:-3] + "y" if verb.endswith("ies") else verb)
    if bare == verb and verb.endswith(("shes", "ches", "sses", "xes")):
        bare = verb[:-2]
    elif bare == verb and verb.endswith("s") and not verb.endswith("ss"):
        bare = verb[:-1]
    return f"{bare} {rest}".strip()


def sentence_case(text: str) -> str:
    """Starts every sentence with a capital letter."""
    return re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)


class Voices:
    """The speakers of one conversation and the way each of them talks."""

    def __init__(
        self,
        rng: random.Random,
        sex: str,
        *,
        unseen: bool,
        names: dict,
        rewording: Reworder | None = None,
    ) -> None:
        self.rng, self.unseen, self.rewording = rng, unseen, rewording
        self.bank = load_bank()
        is_female = sex in ("woman", "girl")
        self.third = self.bank["persons"]["woman" if is_female else "man"]
        self.child = sex in ("girl", "boy")
        # A relative always answers for a child, and sometimes for an adult.
        self.p_relative = 1.0 if self.child else rng.choice((0, 0, 0, 0, 0, 0, 0.5))
        self.doctor_name = rng.choice(names["last_names"])
        first, last = rng.choice(names["first_names"]), rng.choice(names["last_names"])
        honorific = rng.choice(("Ms.", "Mrs.")) if is_female else "Mr."
        self.title = first if self.child else f"{honorific} {last}"
        self.p_words = rng.choice((0.0, 0.0, 0.25, 0.7))
        self.p_filler = rng.choice((0.0, 0.05, 0.15, 0.4))
        self.p_chat = rng.choice((0.0, 0.02, 0.06))
        self.p_repair = rng.choice((0.0, 0.1, 0.3))
        self.transcript = rng.choice(("clean", "clean", "slips", "lower"))
        self.fillers = phrasings(names["fillers"], unseen=unseen)

    def pick(self, who: str, key: str) -> str:
        """Draws one phrasing of `key`, with its slots unfilled."""
        phrasing = self.rng.choice(phrasings(self.bank[who][key], unseen=self.unseen))
        return self.rewording(self.rng, who, key, phrasing) if self.rewording else phrasing

    def doctor(self, key: str, **slots: object) -> str:
        """The doctor's line; in the third person about the patient if a relative speaks."""
        names = {"title": self.title, "doctor": self.doctor_name}
        return self.pick("doctor", key).format(**self.third, **names, **slots)

    def patient(self, key: str, *, relative: bool = False, **slots: object) -> str:
        """The patient's line, or a relative's on the patient's behalf."""
        words = self.third if relative else self.bank["persons"]["self"]
        return self.pick("patient", key).format(**words, **slots)

    def person(self, phrase: str, speaker: str) -> str:
        """A lay phrase as the doctor or a relative would say it."""
        if speaker == "patient":
            return phrase
        words = {said: self.third[key] for said, key in THIRD_PERSON.items()}
        if speaker == "doctor" and not self.child:
            words = SECOND_PERSON
        return FIRST_PERSON.sub(lambda match: words[match[1]], phrase)

    def number(self, number: str) -> str:
        """Digits or words, depending on the conversation."""
        return number_words(number) if self.rng.random() < self.p_words else number

    def quantity(self, text: str) -> str:
        """A value from the note as spoken: "142/88 mmHg" may become "142 over 88"."""
        amount, _, unit = text.partition(" ")
        spoken = self.rng.choice(self.bank["units"].get(unit, [unit]))
        if "/" in amount and self.rng.random() < 0.7:
            amount = amount.replace("/", " over ")
        elif amount.endswith("%"):
            amount = amount.replace("%", self.rng.choice(("%", " percent")))
        if self.rng.random() < self.p_words:
            amount = NUMBER.sub(lambda match: number_words(match[0]), amount)
            amount = amount.replace("%", " percent")
        return f"{amount} {spoken}".strip()

    def frequency(self, text: str) -> str:
        """How often, in this conversation's words."""
        return self.rng.choice(self.bank["frequencies"].get(text, [text]))

    def hesitate(self, text: str) -> str:
        """Sometimes puts a filler before a line."""
        if self.rng.random() >= self.p_filler:
            return text
        filler = self.rng.choice(self.fillers).strip(" ,.")
        first = text[0].lower() if not text.startswith(("I ", "I'")) else text[0]
        return f"{filler[0].upper()}{filler[1:]}, {first}{text[1:]}"

    def slip(self, text: str) -> str:
        """Adds speech-recognition errors to turns without facts: homophones, repeated words."""
        slips, words = self.bank["misspoken"], []
        for word in text.split(" "):
            draw = self.rng.random()
            words.append(slips.get(word.lower(), word) if draw < 0.5 else word)
            if draw > 0.97:
                words.append(word)
        return " ".join(words)
