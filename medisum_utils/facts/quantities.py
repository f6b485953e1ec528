"""Normalises spoken and written quantities to one form.

Letters spelled one by one ("M R I") are joined, each unit gets one name, and "120 over 80" becomes
"120/80". `spoken` reads numbers in words.
"""

from __future__ import annotations

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_MONTHS = "january february march april may june july august september october november december"

SMALL = {word: value for value, word in enumerate(_ONES.split())}
TENS = {word: 10 * place for place, word in enumerate(_TENS.split(), start=2)} | {"fourty": 40}
DECADES = {word[:-1] + "ies": value for word, value in TENS.items()}  # "in their seventies"
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split())} | {
    "twentieth": 20,
    "thirtieth": 30,
}
MONTHS = {word: place for place, word in enumerate(_MONTHS.split(), start=1)}
MONTHS |= {word[:3]: place for word, place in MONTHS.items() if word != "may"} | {"sept": 9}

# Each unit's name, and the other words for it.
_UNITS = (
    "mg milligram milligrams mgs; mcg microgram micrograms ug; g gram grams gm; ml milliliter "
    "milliliters cc ccs; unit units iu; % percent; degree degrees; bpm; mmhg; lb lbs pound "
    "pounds; oz ounce ounces; kg kilo kilos kilogram kilograms kgs; cm centimeter centimeters; "
    "mm millimeter millimeters; inch inches; ft; mile miles; block blocks; year years yr yrs; "
    "month months; week weeks wk wks; day days; hour hours hr hrs; minute minutes min mins; "
    "time times; pack packs pk; tablet tablets tab tabs pill pills capsule capsules; puff "
    "puffs; drop drops; glass glasses; mg/dl"
)
UNIT_OF = {word: unit.split()[0] for unit in _UNITS.split(";") for word in unit.split()}
TIME_UNITS = frozenset({"year", "month", "week", "day", "hour", "minute", "time"})
NUMERAL = re.compile(r"[0-9]{1,9}")

# "M R I": capitals spelled one by one
_SPELLED = re.compile(r"\b(?:[A-Z][.]? ){1,5}[A-Z]\b(?!')")
_DOSE_UNITS = re.compile(r"\b(M\s?C\s?G|M\s?G|M\s?L)\b")
_ROUTES = re.compile(r"\b(I\s?M|I\s?V|P\s?O)\b")


def join_spelled(text: str) -> str:
    """Joins letters spelled one by one, but not a unit with a route: "4 M G I M" -> "4 mg im"."""
    for pattern in (_DOSE_UNITS, _ROUTES):
        text = pattern.sub(lambda m: m.group().replace(" ", "").lower(), text)
    return _SPELLED.sub(lambda m: re.sub(r"[ .]", "", m.group()), text)


def word_at(words: list[str], at: int) -> str:
    """The word at an index, "" outside the list."""
    return words[at] if 0 <= at < len(words) else ""


def plain(value: float) -> str:
    """A number without trailing zeros: 2.0 -> "2", 0.50 -> "0.5"."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def ratios(words: list[str]) -> list[str]:
    """Joins a spoken blood pressure: "120 over 80" -> "120/80"."""
    out: list[str] = []
    for word in words:
        if word.isdigit() and out[-1:] == ["over"] and len(out) > 1 and out[-2].isdigit():
            out[-2:] = [f"{out[-2]}/{word}"]
        else:
            out.append(word)
    return out


def ordinal(word: str) -> int:
    """The day of the month a word names: "tenth", "10th" and "10" are 10; 0 for any other word."""
    value = ORDINALS.get(word, 0)
    if written := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", word):
        value = int(written.group(1))
    return value if 0 < value < 32 else 0
