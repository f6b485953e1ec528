"""Whole numbers in words, in full or shortened as in speech: "two hundred five", "two oh five".

Speech omits words, so the same words may be one number or two; each rule says how it decides. If no
rule applies, the numbers stay separate: "two three times" is a range, never 23.
"""

from __future__ import annotations

from medisum_utils.facts.quantities import (
    NUMERAL,
    ORDINALS,
    SMALL,
    TENS,
    TIME_UNITS,
    UNIT_OF,
    word_at,
)

SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_MOST_DIGITS = 15  # spoken one by one; no number in a visit has more


def is_ordinal(words: list[str], at: int) -> bool:
    """Whether an ordinal such as "twenty first" begins here; it is a day."""
    return words[at] in TENS and 0 < ORDINALS.get(word_at(words, at + 1), 0) < 10


def small(words: list[str], at: int) -> tuple[int, int]:
    """Value and width in words of a number from 0 to 99, (0, 0) for none."""
    word, following = word_at(words, at), word_at(words, at + 1)
    if word in SMALL:
        return SMALL[word], 1
    if word not in TENS or is_ordinal(words, at):
        return 0, 0
    ones = SMALL.get(following, 0)
    return (TENS[word] + ones, 2) if 0 < ones < 10 else (TENS[word], 1)


def _chunk(words: list[str], at: int) -> tuple[int, int]:
    """A number below a thousand, or hundreds such as "thirty two hundred"."""
    value, width = small(words, at)
    following = word_at(words, at + width)
    if not width and word_at(words, at) == "a" and word_at(words, at + 1) in ("hundred", *SCALES):
        value, width, following = 1, 1, word_at(words, at + 1)
    elif not width and word_at(words, at) in ("hundred", *SCALES):
        value, following = 1, word_at(words, at)  # "hundred percent"
    elif not width and NUMERAL.fullmatch(word_at(words, at)):
        value, width, following = int(words[at]), 1, word_at(words, at + 1)
        if following not in ("hundred", *SCALES):
            return 0, 0
    if following == "hundred" and value:
        width += 1
        joint = int(word_at(words, at + width) == "and")
        rest, more = small(words, at + width + joint)
        # "between one hundred and two hundred", "one hundred one fifty": a separate number
        is_separate = word_at(words, at + width + joint + more) == "hundred"
        if rest and not is_separate and not _short(words, at + width + joint)[1]:
            return value * 100 + rest, width + joint + more
        return value * 100, width
    short, more = _short(words, at)
    if more and word_at(words, at + more) in SCALES:
        return short, more  # "one fifty thousand"
    return value, width


def _cardinal(words: list[str], at: int) -> tuple[int, int]:
    """A whole number in full, "two hundred and fifty thousand", and its width in words."""
    total, place, end, last_scale = 0, at, at, 10**12
    while True:
        value, width = _chunk(words, place)
        scale = SCALES.get(word_at(words, place + width), 1)
        counts = width or scale > 1
        comma = word_at(words, place - 1) == "," and end > at
        if not counts or value * scale >= last_scale or (comma and value < 100 and scale == 1):
            return total, end - at
        total += value * scale
        end = place + width + (scale > 1)
        if scale == 1:
            return total, end - at
        last_scale, place = scale, end
        next_width = small(words, place + 1)[1]
        # "five thousand and forty", and "one thousand, two hundred" as it is written out
        is_last = word_at(words, place + 1 + next_width) not in ("hundred", *SCALES)
        if word_at(words, place) == "," or (
            word_at(words, place) == "and" and next_width and is_last
        ):
            place += 1


def _short(words: list[str], at: int) -> tuple[int, int]:
    """A number without its "hundred", "one twenty two" or "nineteen oh five"; (0, 0) for none."""
    first, width = small(words, at)
    if not first:
        return 0, 0
    if word_at(words, at + width) == "oh":
        ones = SMALL.get(word_at(words, at + width + 1), 0)
        return (first * 100 + ones, width + 2) if 0 < ones < 10 else (0, 0)
    second, more = small(words, at + width)
    end = at + width + more
    if second < 10 or word_at(words, end) == "hundred":
        return 0, 0
    unit = UNIT_OF.get(word_at(words, end), "")
    return (0, 0) if _apart(first, second, unit) else (first * 100 + second, width + more)


def _apart(first: int, second: int, unit: str) -> bool:
    """Whether two consecutive numbers are separate, as in the range "ten fifteen minutes".

    Otherwise they form one number: "two fifty", "twelve fifty", "nineteen ninety two".
    """
    if first < 10:
        return second <= 2 * first  # "five ten", but "one ten" is 110
    if first in (19, 20) and not unit:
        return False  # a year
    if first >= 40 or first == second or (first < 20 and second < 20):
        return True
    rising = first < second <= 2 * first
    both_round = first % 5 == 0 and second % 5 == 0
    return rising and (both_round or second <= first + 5 or unit in TIME_UNITS)


def _one_by_one(words: list[str], at: int) -> tuple[int, int]:
    """Three or more digits in a row, "one two five" or "one oh one", but not counting."""
    digits: list[int] = []
    while len(digits) < _MOST_DIGITS:
        word = word_at(words, at + len(digits))
        if SMALL.get(word, 10) >= 10 and not (word == "oh" and digits):
            break
        digits.append(SMALL.get(word, 0))
    scaled = word_at(words, at + len(digits)) in ("hundred", *SCALES)
    if scaled or word_at(words, at + len(digits) - 1) == "oh":
        digits = digits[:-1]  # "two two five hundred"; "oh" at the end is a sigh
    counting = all(b == a + 1 for a, b in zip(digits, digits[1:], strict=False))
    if len(digits) < 3 or counting:
        return 0, 0
    return int("".join(map(str, digits))), len(digits)


def whole(words: list[str], at: int) -> tuple[int, int]:
    """The whole number that begins at `at`, in full or in short, and its width in words.

    (0, 0) for none. Digits are read only before "hundred" or a scale such as "thousand".
    """
    for read in (_one_by_one, _short):
        value, width = read(words, at)
        if width and word_at(words, at + width) not in SCALES:
            break
    else:
        value, width = _cardinal(words, at)
    return _without_count(words, at, value, width)


def _without_count(words: list[str], at: int, value: int, width: int) -> tuple[int, int]:
    """Ends "five hundred two times a day" after the dose: nothing is done 502 times a day."""
    end = at + width
    ones = SMALL.get(word_at(words, end - 1), 0)
    daily = UNIT_OF.get(word_at(words, end)) == "time" and (
        word_at(words, end + 1) in ("a", "an", "per", "daily", "each", "every")
    )
    compound = width > 1 and word_at(words, end - 2) in (*TENS, "hundred", *SCALES)
    if daily and compound and 1 < ones < (5 if value < 100 else 7):
        return value - ones, width - 1
    return value, width
