"""Numbers as they are said and as they are written, brought to one form.

"twenty six", "two thousand nine", "one twenty two" and "half a" become digits; letters spelled one
by one ("M R I") are joined; a unit is named one way.
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

UNITS = {
    "mg": "mg milligram milligrams mgs",
    "mcg": "mcg microgram micrograms ug",
    "g": "g gram grams gm",
    "ml": "ml milliliter milliliters cc ccs",
    "unit": "unit units iu",
    "%": "% percent",
    "degree": "degree degrees",
    "bpm": "bpm",
    "mmhg": "mmhg",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "kg": "kg kilo kilos kilogram kilograms kgs",
    "cm": "cm centimeter centimeters",
    "mm": "mm millimeter millimeters",
    "inch": "inch inches",
    "ft": "ft",
    "mile": "mile miles",
    "block": "block blocks",
    "year": "year years yr yrs",
    "month": "month months",
    "week": "week weeks wk wks",
    "day": "day days",
    "hour": "hour hours hr hrs",
    "minute": "minute minutes min mins",
    "time": "time times",
    "pack": "pack packs pk",
    "tablet": "tablet tablets tab tabs pill pills capsule capsules",
    "puff": "puff puffs",
    "drop": "drop drops",
    "glass": "glass glasses",
    "mg/dl": "mg/dl",
}
UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words.split()}

# "M R I": capitals spelled one by one
_SPELLED = re.compile(r"\b(?:[A-Z][.]? ){1,5}[A-Z]\b(?!')")
_DOSE_UNITS = re.compile(r"\b(M\s?C\s?G|M\s?G|M\s?L)\b")
_ROUTES = re.compile(r"\b(I\s?M|I\s?V|P\s?O)\b")


def join_spelled(text: str) -> str:
    """Joins letters spelled one by one, units and routes apart: "4 M G I M" -> "4 mg im"."""
    for pattern in (_DOSE_UNITS, _ROUTES):
        text = pattern.sub(lambda m: m.group().replace(" ", "").lower(), text)
    return _SPELLED.sub(lambda m: re.sub(r"[ .]", "", m.group()), text)


def plain(value: float) -> str:
    """A number without needless zeros: 2.0 -> "2", 0.50 -> "0.5"."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _spoken(words: list[str], at: int) -> tuple[int, int]:
    """Value and width in words of the spoken number that begins at `at`, (0, 0) for none."""
    groups: list[int] = []  # "one twenty two" has the groups 1 and 22
    total, here, place = 0, at, at
    while place < len(words):
        word = words[place]
        if word in TENS:
            value, width = TENS[word], 1
            if place + 1 < len(words) and 0 < ORDINALS.get(words[place + 1], 0) < 10:
                break  # "twenty first" is a day, see `ordinal`
            if place + 1 < len(words) and 0 < SMALL.get(words[place + 1], 0) < 10:
                value, width = value + SMALL[words[place + 1]], 2
            groups.append(value)
        elif word in SMALL or (word == "oh" and groups):
            groups.append(SMALL.get(word, 0))
            width = 1
        elif word in ("hundred", "thousand") and groups:
            scale = 100 if word == "hundred" else 1000
            groups[-1] *= scale
            total, width = total + groups.pop(), 1
            if words[place + 1 : place + 2] == ["and"] and _is_small(words, place + 2):
                width = 2
        else:
            break
        place += width
        here = place
    if here == at:
        return 0, 0
    return _joined(total, groups), here - at


def _is_small(words: list[str], at: int) -> bool:
    return at < len(words) and (words[at] in SMALL or words[at] in TENS)


def _joined(total: int, groups: list[int]) -> int:
    """ "one, twenty two" -> 122; "nineteen, ninety two" -> 1992; 2000 and 9 -> 2009."""
    if len(groups) < 2:
        return total + sum(groups)
    value = groups[0]
    for group in groups[1:]:
        value = value * (100 if group >= 10 else 10) + group
    return total + value


def digits(words: list[str]) -> list[str]:
    """Replaces spoken numbers in a list of lower-case words by digits.

    A lone "one" stays a word unless a unit follows: "one of my brothers" counts nothing.
    """
    out: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word in DECADES:
            out.append(f"{DECADES[word]}s")
            at += 1
        elif word == "half":
            at += _half(words, at, out)
        elif word in TENS and words[at + 1 : at + 2] and 0 < ORDINALS.get(words[at + 1], 0) < 10:
            out.append(f"{TENS[word] + ORDINALS[words[at + 1]]}th")
            at += 2
        elif word in SMALL or word in TENS:
            value, width = _spoken(words, at)
            follower = words[at + width] if at + width < len(words) else ""
            if word == "one" and width == 1 and follower not in UNIT_OF:
                out.append(word)
            elif follower == "point" and at + width + 1 < len(words):
                decimals, more = _spoken(words, at + width + 1)
                out.append(f"{value}.{decimals}" if more else str(value))
                width += 1 + more if more else 0
            else:
                out.append(str(value))
            at += width
        else:
            out.append(word)
            at += 1
    return out


def ratios(words: list[str]) -> list[str]:
    """Joins a pressure said in words: "120 over 80" -> "120/80"."""
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


def _half(words: list[str], at: int, out: list[str]) -> int:
    """Writes "half a pack" as 0.5 pack and "two and a half" as 2.5; returns the words consumed."""
    if len(out) > 2 and out[-2:] == ["and", "a"] and re.fullmatch(r"\d+", out[-3]):
        out[-3:] = [f"{out[-3]}.5"]
        return 1
    if out and out[-1] == "a":
        out.pop()
    width = 2 if words[at + 1 : at + 2] in (["a"], ["an"]) else 1
    follower = words[at + width] if at + width < len(words) else ""
    out.append("0.5" if follower in UNIT_OF else "half")
    return width
