"""Normalises spoken and written dates to one form.

A day becomes "@d01-10", a month alone "@m08" and a year "@y2009", so that a date without a year
still matches the same date with one.
"""

from __future__ import annotations

import re

from medisum_utils.facts.quantities import MONTHS, UNIT_OF, ordinal, word_at

_DATE = re.compile(r"\b(\d{1,2})[/-](\d{1,2})[/-]((?:19|20)?\d{2})\b")
_YEAR = re.compile(r"19[3-9]\d|20[0-3]\d")
_SHORT_YEAR = re.compile(r"(?<!\w)'(\d\d)\b")  # "quit '92"


def as_keys(text: str) -> str:
    """Replaces written dates, month before day: "01/10/09" -> "@d01 10 @y2009"."""
    text = _DATE.sub(_date_keys, text)
    return _SHORT_YEAR.sub(lambda match: f"@y{_full_year(match.group(1))}", text)


def _date_keys(match: re.Match[str]) -> str:
    month, day, year = match.groups()
    return f" @d{int(month):02d} {int(day):02d} @y{_full_year(year)} "


def _full_year(year: str) -> str:
    return year if len(year) == 4 else ("19" if int(year) > 40 else "20") + year


def spoken(words: list[str]) -> list[str]:
    """Replaces spoken dates by the keys of written ones: "january tenth 2009", "june 19"."""
    out: list[str] = []
    at = 0
    while at < len(words):
        month = MONTHS.get(words[at])
        if month and (words[at] not in ("may", "march", "mar") or _dated(words, at)):
            at, day = _day(words, at, out)
            out.append(f"@d{month:02d}-{day:02d}" if day else f"@m{month:02d}")
        else:
            is_year = words[at][0].isdigit() and _is_year(words, at)
            out.append(f"@y{_full_year(words[at])}" if is_year else words[at])
            at += 1
    return out


def _is_year(words: list[str], at: int) -> bool:
    """Whether the number at `at` is a year: "1998" without a unit, "in 92"."""
    if word_at(words, at + 1) in UNIT_OF:
        return False
    if re.fullmatch(r"[3-9]\d", words[at]):
        return word_at(words, at - 1) == "in"
    return bool(_YEAR.fullmatch(words[at]))


def _dated(words: list[str], at: int) -> bool:
    """Whether "may" or "march" is a month here: a day or a year is next to it."""
    near = words[max(0, at - 2) : at + 2]
    return any(ordinal(word) or _YEAR.fullmatch(word) for word in near)


def _day(words: list[str], at: int, out: list[str]) -> tuple[int, int]:
    """Returns the index after the date whose month is at `at`, and its day, 0 for none."""
    if day := ordinal(word_at(words, at + 1)):
        return at + 2, day
    while out and out[-1] == "of":
        out.pop()
    if out and ordinal(out[-1]):
        return at + 1, ordinal(out.pop())
    return at + 1, 0
