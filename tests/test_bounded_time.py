"""Work grows with the length of a text and not with its square, whatever the text is.

Counted, not clocked: steps of the regular expressions, and lines that the package's code runs. Each
text is made in a single and in a double length; the double one may cost three times as much, where
quadratic work costs four times.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from counted_regex import Counted

import medisum_utils
from medisum_utils.data import transcript
from medisum_utils.data.transcript import parse_turns
from medisum_utils.facts import (
    dates,
    dialogue as exchange,
    dialogue_omissions,
    matching,
    quantities,
    score_note,
    spoken,
    statements,
    vocabulary as lists,
)
from medisum_utils.facts.dialogue import read_dialogue
from medisum_utils.facts.matching import Index
from medisum_utils.facts.statements import atoms, read_note, sentences

MOST = 3.0  # times the work for twice the text
PACKAGE = str(Path(medisum_utils.__file__).parent)

MODULES = (dates, exchange, lists, quantities, spoken, statements, transcript)
# These are held against a whole line or word; all others look for their matches in a text.
WHOLE = {
    *("transcript._TURN_START", "transcript._MARK", "dates._YEAR"),
    *("quantities.NUMERAL", "spoken.NUMERAL", "spoken._DECIMAL"),
}


def patterns_of(module: ModuleType) -> dict[str, re.Pattern[str]]:
    name = module.__name__.rpartition(".")[2]
    found = {f"{name}.{key}": value for key, value in vars(module).items()}
    return {key: value for key, value in found.items() if isinstance(value, re.Pattern)}


PATTERNS = {key: value for module in MODULES for key, value in patterns_of(module).items()}
PATTERNS |= {
    f"prepare.yaml {pattern.pattern}": pattern
    for rules in statements._rewriting().values()
    for pattern, _ in rules
}

UNITS = (
    *(" ", "\n", " \n", "a", "A", "A ", "A. ", "1", "1 ", "1.", "1. ", "1/", "1,", "-", "_", "."),
    *(". ", ",", "'", "' ", " n't", "é", "Sp 1 ", "guest", "Doctor", "Doctor: ", "Yes. Doctor:"),
    *("@d", "q ", "[", "?! ", "the The "),
)
AROUND = (
    *(("", ""), ("", "x"), ("x.", "x"), ("1.", "x"), ("q", " h")),
    *(("Doctor", "!"), ("Yes. Doctor:", "")),
)


def steps(pattern: re.Pattern[str], text: str, whole: bool) -> int:
    counted = Counted(pattern)
    counted.fits(text) if whole else counted.spans(text)
    return counted.n_steps


def growth(pattern: re.Pattern[str], whole: bool) -> dict[str, float]:
    """For each kind of text, the steps of the double length by those of the single."""
    found = {}
    for unit, (before, after) in itertools.product(UNITS, AROUND):
        n = max(1, 80 // len(unit))
        single, double = (
            steps(pattern, before + unit * times + after, whole) for times in (n, 2 * n)
        )
        found[f"{before}|{unit}|{after}"] = double / single
    return found


@pytest.mark.parametrize("name", PATTERNS)
def test_steps_of_an_expression_grow_with_the_text(name: str) -> None:
    grown = growth(PATTERNS[name], name in WHOLE)
    assert {text: ratio for text, ratio in grown.items() if ratio > MOST} == {}


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        (r"\s*(?:Sp [0-9]+|[\W_]*)\s*", True),  # what once told a line without a word
        (r"(?:^|(?<=\s))(?P<label>(?:doctor|guest\w*)\w*) ?:", False),  # and a speaker
        (r"\s+$", False),
        (r"(?:a|a)*b", True),
    ],
)
def test_expressions_that_go_back_too_often_are_caught(pattern: str, whole: bool) -> None:
    if pattern.startswith("(?:a|a)"):
        assert steps(re.compile(pattern), "a" * 12, True) > 2**12
    else:
        assert max(growth(re.compile(pattern), whole).values()) > MOST


@pytest.mark.parametrize("name", PATTERNS)
def test_counted_searches_find_what_re_finds(name: str) -> None:
    pattern, text = (
        PATTERNS[name],
        "Sp 1. Yes, guest_family: he's on 4 MG, q 8 hrs.  The A B C 1/2.",
    )
    for one in (text, text.lower(), f"{text}\n\n  1. \n01/10/2009 '92 pt w/o Dr. @d01 10", ""):
        expected = [found.span() for found in pattern.finditer(one)]
        assert Counted(pattern).spans(one) == expected
        assert Counted(pattern).fits(one) == bool(pattern.fullmatch(one))


TERMS = [entries[0][0] for entries in lists.vocabulary().phrases.values()]


def _term(at: int) -> str:
    return " ".join(TERMS[at * 7919 % len(TERMS)])


def ordinary(n: int) -> str:
    kinds = (
        "I have {0} and {1} for {2} weeks.",
        "No {0}, {1} or left {0}.",
        "Do you have {0} in {2}?",
        "She takes {0} {2} mg twice a day.",
        "Yes.",
        "Pain in the right knee.",
    )
    said = (kinds[i % 6].format(_term(i), _term(i + 1), i) for i in range(n // 5))
    return " ".join(said)


TEXTS: dict[str, Callable[[int], str]] = {
    "ordinary": ordinary,
    "dialogue": lambda n: "".join(
        f"Doctor: Any {_term(i)}?\nPatient: No, {i} days.\n" for i in range(n // 6)
    ),
    "no punctuation": lambda n: re.sub(r"[.,?]", "", ordinary(n)),
    "spaces": lambda n: "a" + " " * 6 * n + "b",
    "newlines": lambda n: "\n" * 6 * n,
    "lines": lambda n: "a\n" * n,
    "mark": lambda n: "Sp 1 " * n,
    "marks": lambda n: "Sp 1\n" * n,
    "digits": lambda n: "7" * 6 * n,
    "numbers": lambda n: " ".join(map(str, range(n))),
    "numbers, commas": lambda n: "5, " * n,
    "number words": lambda n: "five " * n,
    "number words, scales": lambda n: "five hundred thousand point " * (n // 4),
    "halves": lambda n: "two and a half " * (n // 4),
    "commas": lambda n: "," * 3 * n,
    "list": lambda n: "1. " * n,
    "capitals": lambda n: "A B C D " * (n // 4),
    "and": lambda n: "and " * n,
    "no": lambda n: "no pain, " * (n // 2) + "denied",
    "unicode": lambda n: "é ß 中 \u3000 ١٢ ² " * (n // 6),
    "doses, one sentence": lambda n: " ".join(f"{i} mg pain, left" for i in range(n // 4)),
    "doses, many sentences": lambda n: " ".join(f"Pain {i} mg left." for i in range(n // 4)),
    "doses of one medicine": lambda n: "aspirin 5 mg left " * (n // 4),
    "dates": lambda n: "may 3 of june 2009 " * (n // 5),
    "questions": lambda n: "Pain? " * n,
    "speakers": lambda n: "Yes. Doctor: " * (n // 2),
}

READERS: dict[str, Callable[[str], Any]] = {
    "parse_turns": lambda text: parse_turns(text, first_speaker="doctor"),
    "read_note": read_note,
    "read_dialogue": read_dialogue,
    "score_note": lambda text: score_note(f"Knee pain. {text}", text, text),
    "dialogue_omissions": lambda text: dialogue_omissions(text, text),
}


def lines_run(function: Callable[[str], Any], text: str) -> int:
    """How often a call runs lines of the package; a comprehension counts once for each item."""
    n = 0

    def count(frame: FrameType, event: str, _: Any) -> Callable | None:
        nonlocal n
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        n += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        function(text)
    except ValueError as error:  # a text may say nothing, and the message must say that
        if not str(error).startswith("expected"):
            raise
    finally:
        sys.settrace(before)
    return n


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("reader", READERS)
def test_lines_run_grow_with_the_text(
    reader: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The caps are made small, so that short texts reach them.
    monkeypatch.setattr(statements, "LONGEST_SENTENCE", 40)
    monkeypatch.setattr(matching, "MOST_STATEMENTS", 8)
    monkeypatch.setattr(matching, "MOST_TOKENS", 80)
    read, text = READERS[reader], TEXTS[kind]
    lines_run(read, text(400))  # fills what is read once
    single, double = lines_run(read, text(200)), lines_run(read, text(400))
    assert double <= MOST * single + 200  # a text of nothing runs but a few lines


def test_a_sentence_without_end_comes_in_pieces() -> None:
    text = "pain and " * 1250
    pieces = [words for _, words in sentences(text)]
    assert [len(words) for words in pieces] == [1000, 1000, 500]
    assert [word for words in pieces for word in words] == text.split()
    ((said, words),) = sentences("pain and " * 500)
    assert len(words) == 1000
    assert said == ("pain and " * 500).strip()


def test_of_too_many_statements_the_rarest_words_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_STATEMENTS", 3)
    heard = Index(read_note("Knee pain. " * 9 + "Knee gout. " + "Knee pain. " * 9))
    for note in ("Knee gout.", "Knee pain."):
        (fact,) = atoms(read_note(note))
        assert heard.best(fact).share == 1.0
