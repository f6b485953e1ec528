"""Converts numbers in words to digits, as people say them to a doctor.

"zero point zero one", "one oh one point five", "one and a half", "half of a tablet"; for whole
numbers see `whole_numbers`.

Of 134 such phrases, text2num 3.1.0 reads 55 correctly, numerizer 0.2.4 and quantulum3 0.10.0 52,
and number-parser 0.3.2 44. None reads "one oh one point five" or "nineteen ninety two", and
text2num turns "seven point five three times a day" into 7.53.
"""

from __future__ import annotations

import re
from decimal import Decimal

from medisum_utils.facts.quantities import (
    DECADES,
    NUMERAL,
    ORDINALS,
    SMALL,
    TENS,
    TIME_UNITS,
    UNIT_OF,
    plain,
    word_at,
)
from medisum_utils.facts.vocabulary import vocabulary
from medisum_utils.facts.whole_numbers import SCALES, is_ordinal, small, whole

_MOST_GROUPS = 15  # of digits after a point
_ZERO = frozenset({"oh", "zero", "nought", "naught"})
_FRACTIONS = {
    ("and", "a", "half"): ".5",
    ("and", "one", "half"): ".5",
    ("and", "a", "quarter"): ".25",
    ("and", "one", "quarter"): ".25",
    ("and", "three", "quarters"): ".75",
}
_DECIMAL = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


def digits(words: list[str]) -> list[str]:
    """Replaces spoken numbers in a list of lower-case words by digits.

    A lone "one" stays a word unless a unit follows: in "one of my brothers" it is not a number.
    """
    out: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word in DECADES:
            out.append(f"{DECADES[word]}s")
            at += 1
        elif is_ordinal(words, at):
            out.append(f"{TENS[word] + ORDINALS[words[at + 1]]}th")
            at += 2
        elif word == "half":
            at += _half(words, at, out)
        elif word in ("quarter", "quarters"):
            at += _quarters(words, at, out)
        elif word in UNIT_OF:
            at += _unit(words, at, out)
        else:
            text, width = _number(words, at)
            out.append(text if width else word)
            at += width or 1
    return out


def _number(words: list[str], at: int) -> tuple[str, int]:
    """A number with decimals or fraction in digits, and its width in words; ("", 0) for none."""
    word = words[at]
    if word == "point":
        return _without_zero(words, at)
    if _DECIMAL.fullmatch(word) and word_at(words, at + 1) in SCALES:
        return _scaled(word, words[at + 1]), 2
    if _is_vague(words, at) or _is_pronoun(words, at):
        return "", 0
    if word in _ZERO and word_at(words, at + 1) == "point":
        value, width = 0, 1
    else:
        value, width = whole(words, at)
    if not width and NUMERAL.fullmatch(word):
        value, width = int(word), 1
    if not width:
        return "", 0
    decimals, extra_width = _after_the_point(words, at, width)
    if not extra_width:
        decimals = _FRACTIONS.get(tuple(words[at + width : at + width + 3]), "")
        extra_width = 3 if decimals else 0
    if not extra_width:
        lone = word == "one" and width == 1 and not _counts(words, at + 1)
        unchanged = lone or (width == 1 and NUMERAL.fullmatch(word))
        return word if unchanged else str(value), width
    width += extra_width
    if word_at(words, at + width) in SCALES:
        return _scaled(f"{value}{decimals}", words[at + width]), width + 1
    return f"{value}{decimals}", width


def _scaled(number: str, scale: str) -> str:
    """ "1.5" and "million" -> "1500000"."""
    return plain(float(Decimal(number) * SCALES[scale]))


def _is_vague(words: list[str], at: int) -> bool:
    """Whether "hundred" here is not an exact number: "a couple hundred feet"."""
    if words[at] not in ("hundred", *SCALES):
        return False
    vague = vocabulary().cues["vague"]
    return word_at(words, at - 1) in vague or word_at(words, at - 2) in vague


def _is_pronoun(words: list[str], at: int) -> bool:
    """Whether "one" here is a pronoun: "this one twenty milligrams"."""
    if words[at] != "one" or word_at(words, at - 1) not in vocabulary().cues["before_pronoun_one"]:
        return False
    value, width = small(words, at + 1)
    # not in "that one twenty over eighty"
    return bool(width) and (value < 10 or word_at(words, at + 1 + width) in UNIT_OF)


def _counts(words: list[str], at: int) -> bool:
    """Whether "one" is a number, judging by the next words: a unit, "or two", "to ten"."""
    if word_at(words, at) in ("or", "to"):
        at += 1
        return bool(small(words, at)[1]) or word_at(words, at).isdigit()
    return word_at(words, at) in UNIT_OF or bool(small(words, at)[1])


def _after_the_point(words: list[str], at: int, width: int) -> tuple[str, int]:
    """ ".25" and the words of "point two five" after a whole number, ("", 0) for none."""
    point_at = at + width
    if word_at(words, point_at) != "point":
        return "", 0
    decimals, extra_width = _decimals(words, point_at + 1)
    if words[at] == "one" and width == 1 and word_at(words, at - 1) == "at":
        follower = word_at(words, point_at + 1 + extra_width)  # "at one point two years ago"
        if UNIT_OF.get(follower, "time") in TIME_UNITS and follower[:1].isalpha():
            return "", 0
    return (f".{decimals}", 1 + extra_width) if extra_width else ("", 0)


def _without_zero(words: list[str], at: int) -> tuple[str, int]:
    """ "point five milligrams", unless "point" is a noun: "a good point", "pressure point"."""
    decimals, extra_width = _decimals(words, at + 1)
    previous, follower = word_at(words, at - 1), word_at(words, at + 1 + extra_width)
    cues = vocabulary().cues
    is_number = (
        not previous[:1].isalpha() or previous in cues["before_value"] or follower in UNIT_OF
    )
    if not extra_width or not is_number or previous in cues["before_noun_point"]:
        return "", 0
    return f"0.{decimals}", 1 + extra_width


def _decimals(words: list[str], at: int) -> tuple[str, int]:
    """The digits after a point, spoken singly or as "twenty five", and their width in words."""
    groups: list[tuple[str, int]] = []
    position = at
    while len(groups) < _MOST_GROUPS:
        word = word_at(words, position)
        value, width = small(words, position)
        if word == "oh" and (not groups or SMALL.get(word_at(words, position + 1), 10) < 10):
            value, width = 0, 1
        elif not groups and NUMERAL.fullmatch(word):
            groups, position = [(word, 1)], position + 1
            break
        if not width or (value > 9 and len(groups) > 1):
            break
        groups.append((str(value), width))
        position += width
    if len(groups) > 1 and _begins_anew(words, position, groups[-1][0]):
        groups.pop()
    return "".join(text for text, _ in groups), sum(width for _, width in groups)


def _begins_anew(words: list[str], end: int, last: str) -> bool:
    """Whether the last decimal belongs to the next phrase: "98.6, two days ago"."""
    unit, following = UNIT_OF.get(word_at(words, end), ""), word_at(words, end + 1)
    since = following in ("ago", "later", "before", "prior")
    return (
        unit == "time"
        or (unit in TIME_UNITS and (since or len(last) > 1))
        or (word_at(words, end) == "hundred")
    )


def _half(words: list[str], at: int, out: list[str]) -> int:
    """Writes "half a pack" as 0.5 pack; returns the words consumed."""
    if scale := SCALES.get(word_at(words, at + 2), 0) * (word_at(words, at + 1) == "a"):
        out.append(str(scale // 2))
        return 3
    width = _to_unit(words, at)
    follower = word_at(words, at + width)
    if out and (out[-1] == "a" or (out[-1] == "one" and follower in UNIT_OF)):
        out.pop()
    out.append("0.5" if follower in UNIT_OF else "half")
    return width


def _quarters(words: list[str], at: int, out: list[str]) -> int:
    """Writes "three quarters of a pack" as 0.75 pack; returns the words consumed."""
    width = _to_unit(words, at)
    previous = out[-1] if out else ""
    share = {"a": "0.25", "one": "0.25", "1": "0.25", "3": "0.75"}.get(previous)
    if share is None or word_at(words, at + width) not in UNIT_OF:
        out.append(words[at])
        return 1
    out[-1] = share
    return width


def _to_unit(words: list[str], at: int) -> int:
    """The width in words of "half", "half a" or "half of a"."""
    width = 2 if word_at(words, at + 1) == "of" else 1
    if word_at(words, at + width) in ("a", "an"):
        return width + 1
    return width if word_at(words, at + width) in UNIT_OF else 1


def _unit(words: list[str], at: int, out: list[str]) -> int:
    """Writes "a pack and a half" as 1.5 pack; returns the words consumed."""
    fraction = _FRACTIONS.get(tuple(words[at + 1 : at + 4]), "")
    previous = out[-1] if out else ""
    if fraction and (previous in ("a", "an") or NUMERAL.fullmatch(previous)):
        out[-1] = ("1" if previous in ("a", "an") else previous) + fraction
        out.append(words[at])
        return 4
    out.append(words[at])
    return 1
