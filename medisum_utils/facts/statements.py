"""Reads notes as statements: meanings with their quantities and sides, affirmed or denied.

A statement is a sentence; its tokens are meanings ("high blood pressure" and "HTN" are the same),
marked absent if a denial covers them. `atoms` splits statements into countable facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import attrgetter

import yaml

from medisum_utils.facts import dates, quantities, spoken
from medisum_utils.facts.denial import SENTENCE_END, denied
from medisum_utils.facts.vocabulary import LEXICON, longest, stem, vocabulary

LIGHT_WEIGHT = 0.4  # of "chronic", "better": they qualify a fact but are rarely one
# A longer sentence is split, so that reading and matching take bounded time: a text without
# sentence ends would be a single statement. The longest sentence of MTS-Dialog and ACI-Bench,
# transcribed without punctuation, has 601 words; words a thousand apart do not affect each other.
LONGEST_SENTENCE = 1000  # words
SIDES = frozenset({"left", "right", "bilateral"})

_WORD = re.compile(
    r"@[dym][\d-]+|\d+/\d+|\d+(?:st|nd|rd|th)\b|\d+(?:\.\d+)?(?:s\b)?|%|[a-z]+(?:'[a-z]+)?|[.?!](?=\s|$)|[,;:()/&\n]"
)


# After . ? ! ; or a line, and before "The" or "He" where punctuation is missing between sentences.
_SENTENCE_BREAK = re.compile(
    r"(?<=[.?!;])\s+(?=\S)|\n+|(?<=[a-z0-9,])\s+(?=(?:The|He|She|There|Her|His|It|They)\s)"
)
_LIST_NUMBER = re.compile(  # "1. Asthma. 2. Gout."
    r"(?:^|(?<=\s))\d+\.(?:\s+(?=[A-Za-z])|\s*$)", re.MULTILINE
)
_DATE_KEY = re.compile(r"@d(\d\d) (\d\d)")
_KEY_MARK = re.compile(r"@[dmy]")


@dataclass(frozen=True, slots=True)
class Token:
    """One meaning in a statement; `unit` is a number's unit, `position` its word index from 0."""

    key: str
    weight: float
    absent: bool | None  # None: asked but never answered
    position: int
    segment: int
    unit: str = ""
    end: int = 0  # first position after its words

    @property
    def is_number(self) -> bool:
        """Whether the key is a quantity or a date, which must be right to the digit."""
        return self.key[0] in "#@"


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, or a question with its answer, and its meanings."""

    text: str
    words: tuple[str, ...]
    tokens: tuple[Token, ...]
    generic: bool = False  # "None.", "Noncontributory.": nothing to report
    turn: int = -1  # index of the dialogue turn that it begins in; -1 in a note


@dataclass(frozen=True, slots=True)
class Atom:
    """One countable fact: the part of a statement between two commas or conjunctions."""

    text: str  # its words in lower case, numbers as digits
    tokens: tuple[Token, ...]
    statement: Statement

    @property
    def generic(self) -> bool:
        """Whether it says "nothing to report" without saying about what."""
        return self.statement.generic

    def words_of(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The words that express the given meanings in the fact."""
        wanted_keys = set(keys)
        places = dict.fromkeys((t.position, t.end) for t in self.tokens if t.key in wanted_keys)
        return tuple(shown(self.statement.words[begin:end]) for begin, end in places)

    @property
    def denied(self) -> bool:
        """Whether every part of it is denied."""
        return bool(self.tokens) and all(token.absent for token in self.tokens)


@cache
def _rewriting() -> dict[str, tuple[tuple[re.Pattern[str], str], ...]]:
    rules = yaml.safe_load((LEXICON / "prepare.yaml").read_text(encoding="utf-8"))
    return {
        name: tuple((re.compile(pattern), new) for pattern, new in pairs)
        for name, pairs in rules.items()
    }


def tokenize(text: str) -> list[str]:
    """Lower-case words, numbers as digits, dates as "@d01-10 @y2009", sentence ends and commas."""
    text = quantities.join_spelled(text.replace("’", "'"))
    for pattern, new in _rewriting()["capitals"]:
        text = pattern.sub(new, text)
    text = text.lower()
    for pattern, new in _rewriting()["shorthand"]:
        text = pattern.sub(new, text)
    text = dates.as_keys(text)
    text = text.replace("-", " ")
    text = _DATE_KEY.sub(r"@d\1-\2", text)
    words = quantities.ratios(spoken.digits(_WORD.findall(text)))
    return dates.spoken(words)


def sentences(text: str) -> Iterator[tuple[str, list[str]]]:
    """The sentences of a text with their words; `_SENTENCE_BREAK` defines where they end.

    Sentences of more than `LONGEST_SENTENCE` words are split into pieces of that length.
    """
    text = _LIST_NUMBER.sub("\n", text)
    for sentence in _SENTENCE_BREAK.split(text):
        words = _without_header(tokenize(sentence))
        for begin in range(0, len(words), LONGEST_SENTENCE):
            piece = words[begin : begin + LONGEST_SENTENCE]
            if any(word not in SENTENCE_END for word in piece):
                yield sentence.strip() if len(piece) == len(words) else shown(piece), piece


def _without_header(words: list[str]) -> list[str]:
    """The words without a leading "Neurologic:" or "Skin:", which is a header and not a fact."""
    if ":" in words[:4]:
        colon = words.index(":")
        if all(word in vocabulary().headers or word in ("and", "/", ",") for word in words[:colon]):
            return words[colon + 1 :]
    return words


def read_statement(text: str, words: list[str], turn: int = -1) -> Statement:
    """Looks up the words of one sentence and marks those that are denied."""
    tokens = _tokens(words, denied(words))
    spoken = [word for word in words if word.isalnum()]
    generic = all(token.key == "normal" for token in tokens) and _is_generic(spoken)
    return Statement(text, tuple(words), tuple(tokens), generic, turn)


def _is_generic(words: list[str]) -> bool:
    """Whether a sentence without content says "nothing to report"."""
    lists = vocabulary()
    return any(lists.cue("generic_negative", words, at) for at in range(len(words)))


def _tokens(words: list[str], absent: list[bool], keep_empty: bool = False) -> list[Token]:
    lists = vocabulary()
    stems = [stem(word) for word in words]
    out: list[Token] = []
    at = segment = 0
    while at < len(words):
        meaning, width = longest(lists.phrases, stems, at)
        word, unit = words[at], ""
        keys: tuple[str, ...] = meaning
        if not width:
            width = 1
            segment += word in lists.cues["boundary"]
            if word[0].isdigit():
                unit = quantities.UNIT_OF.get(quantities.word_at(words, at + 1), "")
                keys, width = (_number_key(word),), 1 + bool(unit)
            elif word[0] == "@":
                keys = (word,)
            elif word[0].isalpha() and (
                keep_empty or (len(word) > 1 and stems[at] not in lists.empty)
            ):
                keys = (lists.meanings.get(stems[at], stems[at]),)
        for key in keys:
            weight = LIGHT_WEIGHT if key.lstrip("!") in lists.light else 1.0
            denied = absent[at + width - 1] ^ key.startswith("!")
            out.append(Token(key.lstrip("!"), weight, denied, at, segment, unit, at + width))
        at += width
    return out


def _number_key(word: str) -> str:
    """ "4.0" -> "#4", "120/80" -> "#120/80", "80s" -> "#80s"."""
    if not word[-1].isdigit():
        return f"#{word}"
    return "#" + "/".join(quantities.plain(float(part)) for part in word.split("/"))


def read_note(text: str) -> list[Statement]:
    """The statements of a note, in order, without those that state nothing.

    If the whole note consists of words without content ("As above."), they count.
    """
    note_sentences = list(sentences(text))
    statements = [read_statement(sentence, words) for sentence, words in note_sentences]
    if not any(statement.tokens or statement.generic for statement in statements):
        statements = [
            Statement(sentence, tuple(words), tuple(_tokens(words, denied(words), keep_empty=True)))
            for sentence, words in note_sentences
        ]
    return [statement for statement in statements if statement.tokens or statement.generic]


def atoms(statements: Iterable[Statement]) -> list[Atom]:
    """The countable facts of statements, in order, each fact once.

    A part that names nothing by itself (only a dose or a side) belongs to the preceding part.
    """
    facts: dict[tuple, Atom] = {}
    for statement in statements:
        for part in _parts(statement) or ([[]] if statement.generic else []):
            unique = tuple({token.key: token for token in part}.values())
            identity = (statement.generic, *sorted({(t.key, bool(t.absent)) for t in unique}))
            facts.setdefault(identity, Atom(_text_of(statement, part), unique, statement))
    return list(facts.values())


def _parts(statement: Statement) -> list[list[Token]]:
    """The tokens of each segment, joined to those before where either names nothing."""
    parts: list[list[Token]] = []
    last_names = False
    for _, tokens in groupby(statement.tokens, key=attrgetter("segment")):
        segment = list(tokens)
        if parts and not (last_names and _names_something(segment)):
            parts[-1] += segment
        else:
            parts.append(segment)
            last_names = False
        last_names = last_names or _names_something(segment)
    return parts


def _names_something(tokens: list[Token]) -> bool:
    return any(t.weight == 1.0 and not t.is_number and t.key not in SIDES for t in tokens)


def shown(words: Iterable[str]) -> str:
    """Words for display: dates without the marks of their keys."""
    return _KEY_MARK.sub("", " ".join(words)).replace(" ,", ",")


def _text_of(statement: Statement, tokens: list[Token]) -> str:
    """The words from the first token of the part to its last."""
    if not tokens:
        return shown(word for word in statement.words if word[0].isalnum())
    return shown(statement.words[tokens[0].position : tokens[-1].end])
