"""Compares the facts of one text with the statements of another."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medisum_utils.facts.statements import SIDES, Atom, Statement, Token

NEAR_WORDS = 8  # a dose or a side belongs to a word at most this far away
SUPPORT = 0.4  # share of a fact's weight that must be found for the fact to count as stated

# A fact is compared with at most this many statements, of at most this many tokens in all, so that
# the work grows linearly with the length of the texts. Of 99,175 facts of MTS-Dialog and ACI-Bench,
# none shares a key with more than 63 statements of the other text (396 tokens).
MOST_STATEMENTS, MOST_TOKENS = 256, 4000
_DIGITS = 9  # sums of the same weights in another order agree to this many digits


@dataclass(frozen=True, slots=True)
class Cover:
    """How well one statement covers a fact.

    `share` is the part of the fact's weight that the statement agrees with, `against` the part that
    it contradicts (both 0 to 1), `asked` the part of `share` that was only asked about. `missing`
    and `conflicts` are the keys that it lacks and contradicts.
    """

    share: float = 0.0
    against: float = 0.0
    asked: float = 0.0
    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def says(self) -> bool:
        """Whether the statement supports the fact and contradicts no part of it."""
        return self.share >= SUPPORT and not self.conflicts

    @property
    def contradicts(self) -> bool:
        """Whether the statement is about the fact and contradicts it."""
        return bool(self.conflicts) and self.share + self.against >= SUPPORT


class Index:
    """The statements of a text, indexed for matching facts against them."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self.statements = list(statements)
        self._places = [_Places(statement.tokens) for statement in self.statements]
        self._by_key: dict[str, list[int]] = {}
        for number, places in enumerate(self._places):
            for key in places.by_key:
                self._by_key.setdefault(key, []).append(number)
        self.denies = any(
            statement.generic or any(token.absent for token in statement.tokens)
            for statement in self.statements
        )
        self.only_generic = bool(self.statements) and all(s.generic for s in self.statements)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def best(self, atom: Atom) -> Cover:
        """How the best statement covers a fact: most of its topic first, then most agreement.

        Topic takes precedence over agreement: "no chest pain" is compared with "chest pain", not
        with "no back pain". If more than `MOST_STATEMENTS` or `MOST_TOKENS` share a key with the
        fact, those that share its rarest keys are compared, earliest first.
        """
        fact = _Fact(atom)
        covers = [_cover(fact, self._places[number]) for number in sorted(self._sharing(fact))]
        unmatched = Cover(missing=tuple(token.key for token in atom.tokens))
        return max(covers, key=_rank, default=unmatched)

    def _sharing(self, fact: _Fact) -> set[int]:
        """Numbers of the statements that share a key with a fact, up to the limits of `best`.

        A number or side that is all they share does not count if the fact names something.
        """
        tokens = fact.free if fact.named else fact.tokens
        sharing: set[int] = set()
        n_tokens = 0
        for numbers in sorted((self._by_key.get(token.key, ()) for token in tokens), key=len):
            for number in numbers:
                if number in sharing:
                    continue
                n_tokens += len(self.statements[number].tokens)
                if sharing and (len(sharing) == MOST_STATEMENTS or n_tokens > MOST_TOKENS):
                    return sharing
                sharing.add(number)
        return sharing


class _Places:
    """One statement's tokens by key, its sides, and its quantities by unit."""

    __slots__ = ("by_key", "by_unit", "sides")

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.by_key: dict[str, list[Token]] = {}
        self.by_unit: dict[str, list[Token]] = {}
        self.sides: list[Token] = []
        for token in tokens:
            self.by_key.setdefault(token.key, []).append(token)
            if token.key in SIDES:
                self.sides.append(token)
            elif token.key[0] == "#" and token.unit:
                self.by_unit.setdefault(token.unit, []).append(token)

    def rivals(self, token: Token) -> Sequence[Token]:
        """The tokens that could contradict a number or side: sides, or quantities of its unit."""
        return self.sides if token.key in SIDES else self.by_unit.get(token.unit, ())


class _Fact:
    """A fact prepared for matching: its free tokens, and numbers and sides bound to them."""

    __slots__ = ("free", "named", "reach", "tokens", "total")

    def __init__(self, atom: Atom) -> None:
        self.tokens = atom.tokens
        self.total = sum(token.weight for token in atom.tokens) or 1.0
        self.free = [token for token in atom.tokens if not _is_bound(token)]
        self.named = any(token.weight == 1.0 for token in self.free)
        around = sorted(token.position for token in self.free)
        # Each number or side with the words that may lie between it and what it belongs to.
        self.reach = [
            (token, max(NEAR_WORDS, _distance(token, around) if around else 0))
            for token in atom.tokens
            if _is_bound(token)
        ]


def _rank(cover: Cover) -> tuple[float, float]:
    covered, agreed = cover.share + cover.against, cover.share - cover.asked
    return round(covered, _DIGITS), round(agreed, _DIGITS)


def _cover(fact: _Fact, places: _Places) -> Cover:
    shared_tokens: list[Token] = []  # the statement's tokens with the same keys
    agreeing: list[Token] = []
    conflicting: list[Token] = []
    asked = 0.0
    for token in fact.free:
        candidates = places.by_key.get(token.key, ())
        shared_tokens += candidates
        unconflicting = [
            other for other in candidates if other.absent is None or other.absent == token.absent
        ]
        if unconflicting:
            agreeing.append(token)
            asked += token.weight * all(other.absent is None for other in unconflicting)
        elif candidates:
            conflicting.append(token)
    # The dose of another medicine does not match.
    if fact.reach and (shared_tokens or not fact.named):
        around = sorted(token.position for token in shared_tokens)
        nearest: dict[str, float] = {}
        for token, reach in fact.reach:
            verdict = _bound_verdict(token, reach, places, around, nearest)
            if verdict is not None:
                (agreeing if verdict else conflicting).append(token)
    touched = {token.key for token in (*agreeing, *conflicting)}
    return Cover(
        share=sum(token.weight for token in agreeing) / fact.total,
        against=sum(token.weight for token in conflicting) / fact.total,
        asked=asked / fact.total,
        missing=tuple(token.key for token in fact.tokens if token.key not in touched),
        conflicts=tuple(token.key for token in conflicting if token.weight == 1.0),
    )


def _is_bound(token: Token) -> bool:
    """Numbers and sides have meaning only next to what they measure or locate."""
    return token.is_number or token.key in SIDES


def _bound_verdict(
    token: Token, reach: int, places: _Places, around: list[int], nearest: dict[str, float]
) -> bool | None:
    """Whether a number or side is confirmed (True), contradicted (False) or not mentioned (None).

    `around` are the positions of the tokens that both texts share; `nearest` caches, for each unit,
    the distance of the nearest quantity, which a list of many doses needs again and again.
    """
    same: Sequence[Token] = places.by_key.get(token.key, ())
    if not around:
        return any(_units_agree(token, other) for other in same) or None
    if token.key[0] != "@":  # a date applies to its whole sentence
        same = [other for other in same if _distance(other, around) <= reach]
    if any(_units_agree(token, other) for other in same):
        return True
    if same:
        return False  # "3 years" for "3 weeks"
    kind = "side" if token.key in SIDES else f"unit {token.unit}"
    if kind not in nearest:
        distances = (_distance(other, around) for other in places.rivals(token))
        nearest[kind] = min(distances, default=float("inf"))
    return False if nearest[kind] <= reach else None


def _distance(token: Token, around: list[int]) -> int:
    """The distance in words from a token to the nearest of some sorted positions."""
    next_index = bisect(around, token.position)
    return min(
        abs(token.position - other) for other in around[max(0, next_index - 1) : next_index + 1]
    )


def _units_agree(token: Token, other: Token) -> bool:
    return not token.unit or not other.unit or token.unit == other.unit
