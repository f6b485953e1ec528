"""Notes as statements: what is said, of what, how much, on which side, and whether it is denied.

A statement is a sentence; its tokens are meanings ("high blood pressure" and "HTN" are one), each
marked absent where a denial reaches it. `atoms` parts it into the facts that people count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import yaml

from medisum_utils.facts import dates, quantities, spoken
from medisum_utils.facts.denial import SENTENCE_END, denied
from medisum_utils.facts.vocabulary import LEXICON, stem, vocabulary

LIGHT_WEIGHT = 0.4  # "chronic", "better": they qualify a fact and are rarely one
# A longer sentence is broken, so that the work of reading and matching it stays bounded: a text
# that never ends a sentence would be one statement. The longest of MTS-Dialog and ACI-Bench, speech
# written down without punctuation, has 601 words; words a thousand apart have no bearing on each
# other.
LONGEST_SENTENCE = 1000  # words
SIDES = frozenset({"left", "right", "bilateral"})

_WORD = re.compile(
    r"@[dym][\d-]+|\d+/\d+|\d+(?:st|nd|rd|th)\b|\d+(?:\.\d+)?(?:s\b)?|%|[a-z]+(?:'[a-z]+)?|[.?!](?=\s|$)|[,;:()/&\n]"
)


# After . ? ! ; or a line, and before "The" or "He" where a summary was cut off and went on.
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
    """One meaning in a statement; `unit` is of a number, `position` counts words from 0."""

    key: str
    weight: float
    absent: bool | None  # None: asked and never answered
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
    """A sentence (or question with its answer) and its meanings."""

    text: str
    words: tuple[str, ...]
    tokens: tuple[Token, ...]
    generic: bool = False  # "None.", "Noncontributory.": nothing to report
    turn: int = -1  # index of the dialogue turn it begins in, -1 in a note


@dataclass(frozen=True, slots=True)
class Atom:
    """One countable fact: the part of a statement between two commas or conjunctions."""

    text: str  # its words in lower case, numbers as digits
    tokens: tuple[Token, ...]
    statement: Statement

    @property
    def generic(self) -> bool:
        """Whether it says "nothing to report" and not of what."""
        return self.statement.generic

    def words_of(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The words in which the fact says the given meanings."""
        wanted = set(keys)
        places = dict.fromkeys((t.position, t.end) for t in self.tokens if t.key in wanted)
        return tuple(shown(self.statement.words[begin:end]) for begin, end in places)

    @property
    def denied(self) -> bool:
        """Whether all of it is said to be absent."""
        return bool(self.tokens) and all(token.absent for token in self.tokens)


@lru_cache(maxsize=1)
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
    """The sentences of a text with their words; see `_SENTENCE_BREAK` for where they end.

    One of more than `LONGEST_SENTENCE` words comes in pieces of that many.
    """
    text = _LIST_NUMBER.sub("\n", text)
    for part in _SENTENCE_BREAK.split(text):
        words = _without_header(tokenize(part))
        for begin in range(0, len(words), LONGEST_SENTENCE):
            piece = words[begin : begin + LONGEST_SENTENCE]
            if any(word not in SENTENCE_END for word in piece):
                yield part.strip() if len(piece) == len(words) else shown(piece), piece


def _without_header(words: list[str]) -> list[str]:
    """The words without a leading "Neurologic:" or "Skin:", which names a place and no fact."""
    if ":" in words[:4]:
        colon = words.index(":")
        if all(word in vocabulary().headers or word in ("and", "/", ",") for word in words[:colon]):
            return words[colon + 1 :]
    return words


def read_statement(text: str, words: list[str], turn: int = -1) -> Statement:
    """Looks the words of one sentence up and marks what is denied."""
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
        meaning, width = lists.longest(stems, at)
        word, unit = words[at], ""
        keys: tuple[str, ...] = meaning
        if not width:
            width = 1
            segment += word in lists.cues["boundary"]
            if word[0].isdigit():
                unit = quantities.UNIT_OF.get(words[at + 1], "") if at + 1 < len(words) else ""
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
    """The statements of a note, in order; those that state nothing at all are left out.

    Where the whole note is carrier words ("As above."), they are all there is and count.
    """
    parts = list(sentences(text))
    read = [read_statement(part, words) for part, words in parts]
    read = [statement for statement in read if statement.tokens or statement.generic]
    if read:
        return read
    kept = ((p, w, tuple(_tokens(w, denied(w), keep_empty=True))) for p, w in parts)
    return [Statement(part, tuple(words), tokens) for part, words, tokens in kept if tokens]


def atoms(statements: Iterable[Statement]) -> list[Atom]:
    """The countable facts of statements, in order, each fact once.

    A part that names nothing by itself (a lone dose, a lone side) belongs to the part before it.
    """
    found: dict[tuple, Atom] = {}
    for statement in statements:
        parts: list[list[Token]] = []
        for token in statement.tokens:
            if parts and (token.segment == parts[-1][-1].segment):
                parts[-1].append(token)
            else:
                parts.append([token])
        for part in _joined(parts) or ([[]] if statement.generic else []):
            unique = tuple({token.key: token for token in part}.values())
            identity = (statement.generic, *sorted({(t.key, bool(t.absent)) for t in unique}))
            found.setdefault(identity, Atom(_said(statement, part), unique, statement))
    return list(found.values())


def _joined(parts: list[list[Token]]) -> list[list[Token]]:
    out: list[list[Token]] = []
    names = False  # whether the last of `out` names something
    for part in parts:
        if out and not (_names_something(part) and names):
            out[-1] += part
            names = names or _names_something(part)
        else:
            out.append(list(part))
            names = _names_something(part)
    return out


def _names_something(part: list[Token]) -> bool:
    return any(t.weight == 1.0 and not t.is_number and t.key not in SIDES for t in part)


def shown(words: Iterable[str]) -> str:
    """Words as a person reads them: dates without the marks of their keys."""
    return _KEY_MARK.sub("", " ".join(words)).replace(" ,", ",")


def _said(statement: Statement, part: list[Token]) -> str:
    """The words from the first token of the part to its last."""
    if not part:
        return shown(word for word in statement.words if word[0].isalnum())
    return shown(statement.words[part[0].position : part[-1].end])
