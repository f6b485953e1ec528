"""Spoken numbers: each phrase with what a person would write down."""

from __future__ import annotations

import random
import re

import pytest
from num2words import num2words

from medisum_utils.facts import quantities, whole_numbers
from medisum_utils.facts.spoken import digits


def read(phrase: str) -> str:
    return " ".join(quantities.ratios(digits(phrase.split())))


SPOKEN = {
    # whole numbers
    "seventeen milligrams": "17 milligrams",
    "a hundred": "100",
    "a hundred milligrams": "100 milligrams",
    "hundred percent": "100 percent",
    "about a hundred and ten pounds": "about 110 pounds",
    "one hundred and five pounds": "105 pounds",
    "five hundred milligrams twice a day": "500 milligrams twice a day",
    "eight hundred and fifty milligrams": "850 milligrams",
    "a thousand units": "1000 units",
    "two thousand units": "2000 units",
    "fifty thousand units once a week": "50000 units once a week",
    "one thousand five hundred milligrams": "1500 milligrams",
    "five thousand and forty": "5040",
    "two hundred fifty thousand": "250000",
    "two hundred and fifty thousand platelets": "250000 platelets",
    "one fifty thousand": "150000",
    "one million two hundred thousand": "1200000",
    "thirty two hundred": "3200",
    "twelve hundred fifty calories": "1250 calories",
    "fifteen hundred milligrams": "1500 milligrams",
    "a couple hundred feet": "a couple hundred feet",
    "2 thousand units": "2000 units",
    # as speech shortens them
    "one twenty two": "122",
    "two fifty milligrams": "250 milligrams",
    "one seventy five micrograms": "175 micrograms",
    "twelve fifty": "1250",
    "twelve fifty milligrams": "1250 milligrams",
    "thirty two fifty grams": "3250 grams",
    "one oh five": "105",
    "six oh two": "602",
    "one two five": "125",
    "nine one one": "911",
    "one ten": "110",
    # decimals
    "point five": "0.5",
    "point five milligrams": "0.5 milligrams",
    "point two five milligrams": "0.25 milligrams",
    "zero point five milligrams": "0.5 milligrams",
    "zero point zero one": "0.01",
    "zero point one two five milligrams": "0.125 milligrams",
    "oh point five": "0.5",
    "nought point five": "0.5",
    "point oh five": "0.05",
    "one point two five": "1.25",
    "one point two": "1.2",
    "one point oh": "1.0",
    "one point twenty five": "1.25",
    "seven point five milligrams": "7.5 milligrams",
    "ninety eight point six": "98.6",
    "a hundred point four": "100.4",
    "a hundred and one point five": "101.5",
    "one hundred one point two": "101.2",
    "one oh one point five": "101.5",
    "one oh one point five degrees": "101.5 degrees",
    "creatinine is point nine": "creatinine is 0.9",
    "zero point one twenty five milligrams": "0.125 milligrams",
    "eleven point nine percent": "11.9 percent",
    "one point five million": "1500000",
    "101 point 5": "101.5",
    "6 point 2 percent": "6.2 percent",
    "seven point five three times a day": "7.5 3 times a day",
    "ninety eight point six two days ago": "98.6 2 days ago",
    # halves and quarters
    "one and a half": "1.5",
    "one and a half tablets": "1.5 tablets",
    "two and a half milligrams": "2.5 milligrams",
    "twelve and a half milligrams": "12.5 milligrams",
    "thirty seven and a half": "37.5",
    "two and one half tablets": "2.5 tablets",
    "half a tablet": "0.5 tablet",
    "half of a tablet": "0.5 tablet",
    "a half tablet": "0.5 tablet",
    "one half tablet": "0.5 tablet",
    "a tablet and a half": "1.5 tablet",
    "a year and a half ago": "1.5 year ago",
    "two years and a half": "2.5 years",
    "a pack and a half a day": "1.5 pack a day",
    "a quarter of a tablet": "0.25 tablet",
    "three quarters of a pack": "0.75 pack",
    "two and a quarter": "2.25",
    "one and three quarters": "1.75",
    "half a million": "500000",
    "the left half": "the left half",
    # ranges: two numbers, not joined
    "two three times": "2 3 times",
    "two three times a day": "2 3 times a day",
    "two to three times": "2 to 3 times",
    "every four six hours": "every 4 6 hours",
    "one two tablets": "1 2 tablets",
    "one or two tablets": "1 or 2 tablets",
    "one to two weeks": "1 to 2 weeks",
    "five ten minutes": "5 10 minutes",
    "ten fifteen minutes": "10 15 minutes",
    "twenty twenty five milligrams": "20 25 milligrams",
    "seventy seventy five": "70 75",
    "seven eight nine": "7 8 9",
    "fifty fifty": "50 50",
    "between one hundred and one fifty": "between 100 and 150",
    "between one hundred and two hundred": "between 100 and 200",
    "one hundred one fifty": "100 150",
    "twenty four forty eight hours": "24 48 hours",
    "one hundred two hundred": "100 200",
    # a dose and how often
    "five hundred two times a day": "500 2 times a day",
    "two hundred fifty three times daily": "250 3 times daily",
    "ten three times a day": "10 3 times a day",
    "twenty milligrams two times a day": "20 milligrams 2 times a day",
    "two five hundred milligram tablets": "2 500 milligram tablets",
    "twenty times a day": "20 times a day",
    # pressures
    "one twenty over eighty": "120/80",
    "one thirty eight over eighty eight": "138/88",
    "one oh five over sixty": "105/60",
    "a hundred and ten over seventy": "110/70",
    "one hundred twenty over eighty": "120/80",
    "ninety eight over fifty eight": "98/58",
    "120 over eighty": "120/80",
    # years, ages and days
    "nineteen ninety two": "1992",
    "nineteen oh five": "1905",
    "nineteen hundred": "1900",
    "two thousand nine": "2009",
    "two thousand and nine": "2009",
    "twenty oh nine": "2009",
    "twenty twenty": "2020",
    "in twenty twenty one": "in 2021",
    "twenty nineteen": "2019",
    "two thousand fifteen": "2015",
    "in their seventies": "in their 70s",
    "the twenty first of june": "the 21th of june",
    "june twenty first two thousand nine": "june 21th 2009",
    "seventy six years old": "76 years old",
    # words that are not numbers, or end one
    "one of my brothers": "one of my brothers",
    "one week": "1 week",
    "this one twenty milligrams": "this one 20 milligrams",
    "down to that one twenty over eighty": "down to that 120/80",
    "every one two hours": "every 1 2 hours",
    "1.5 million units": "1500000 units",
    "3 hundred milligrams": "300 milligrams",
    "on a scale of one to ten": "on a scale of 1 to 10",
    "the first one two weeks ago": "the first one 2 weeks ago",
    "at this point five people": "at this point 5 people",
    "at one point two years ago": "at one point 2 years ago",
    "i take two oh and one more": "i take 2 oh and one more",
    "at the point": "at the point",
    "two and three": "2 and 3",
    "twenty and five": "20 and 5",
    "five hundred and": "500 and",
    "point": "point",
    "half": "half",
}


@pytest.mark.parametrize(("phrase", "written"), SPOKEN.items())
def test_a_phrase_is_read_as_a_person_would_write_it(phrase: str, written: str) -> None:
    assert read(phrase) == written


def tokens_of(number: str) -> list[str]:
    return re.findall(r"[a-z]+|,", number)


def some_numbers() -> list[int]:
    rng = random.Random(17)
    wide = (rng.randrange(10**digits) for digits in range(4, 13) for _ in range(200))
    around = (10**power + change for power in range(2, 12) for change in (-1, 0, 1, 7, 10, 110))
    return [*range(3100), *wide, *around]


@pytest.mark.parametrize("joint", [" and ", " "], ids=["with and", "without and"])
@pytest.mark.parametrize("comma", [", ", " "], ids=["with commas", "without commas"])
def test_whole_numbers_in_full_are_read_back(joint: str, comma: str) -> None:
    for n in some_numbers():
        spoken = num2words(n).replace(" and ", joint).replace(", ", comma)
        assert digits([*tokens_of(spoken), "milligrams"]) == [str(n), "milligrams"], spoken


@pytest.mark.parametrize("zero", ["zero", "oh"])
def test_decimals_spoken_digit_by_digit_are_read_back(zero: str) -> None:
    rng = random.Random(17)
    for _ in range(2000):
        whole, decimals = rng.randrange(300), f"{rng.randrange(1, 10**4)}".zfill(rng.randint(1, 4))
        one_by_one = " ".join(num2words(int(digit)) for digit in decimals)
        spoken = f"{num2words(whole)} point {one_by_one}".replace("point zero", f"point {zero}")
        assert digits([*tokens_of(spoken), "milligrams"]) == [f"{whole}.{decimals}", "milligrams"]


def test_years_are_read_back() -> None:
    for year in range(1900, 2040):
        spoken = tokens_of(num2words(year, to="year"))
        assert digits(["in", *spoken, "."]) == ["in", str(year), "."], spoken


def test_shortened_pressures_are_read_back() -> None:
    for upper in (*range(80, 100), *range(101, 200)):
        short = num2words(upper % 100) if upper > 109 else f"oh {num2words(upper % 100)}"
        spoken = f"one {short}" if upper > 100 else num2words(upper)
        for lower in range(40, 100, 7):
            words = tokens_of(f"{spoken} over {num2words(lower)}")
            assert quantities.ratios(digits(words)) == [f"{upper}/{lower}"], words


def test_numbers_in_digits_do_not_change() -> None:
    written = "at 7.5 mg , 2 3 times , 007 , 80s , 120/80 , 10th , 2009 , 12345678901234567890"
    assert read(written) == written


def test_any_words_are_read_without_an_error() -> None:
    rng = random.Random(17)
    kinds = [*quantities.SMALL, *quantities.TENS, *whole_numbers.SCALES, "hundred", "point", "oh"]
    kinds += [
        "half",
        "quarter",
        "and",
        "a",
        "of",
        ",",
        "times",
        "mg",
        "5",
        "1.5",
        "first",
        "ago",
        "to",
    ]
    for _ in range(5000):
        words = rng.choices(kinds, k=rng.randint(1, 12))
        assert all(digits(words)), words


def test_an_endless_row_of_digits_is_read_in_parts() -> None:
    read_parts = digits(["five"] * 5000)
    assert set("".join(read_parts)) == {"5"}
    assert len("".join(read_parts)) == 5000
    assert max(map(len, read_parts)) == 15
