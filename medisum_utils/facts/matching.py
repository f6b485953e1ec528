"""Whether one text says what another says: the facts of one against the statements of the other."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medisum_utils.facts.statements import SIDES, Atom, Statement, Token

NEAR_WORDS = 8  # a dose or a side belongs to what stands this near
SUPPORT = 0.4  # share of a fact's weight that must be found for it to count as said

# A fact is held against so many statements at most, and they have so many tokens in all, so that
# the work grows with the length of the texts and not with its square. Of 99,175 facts of MTS-Dialog
# and ACI-Bench none shares a key with more than 63 statements of the other text (396 tokens).
MOST_STATEMENTS, MOST_TOKENS = 256, 4000
_DIGITS = 9  # sums of the same weights in another order are equal to so many


@dataclass(frozen=True, slots=True)
class Cover:
    """What one statement says of a fact.

    `share` is the part of its weight said likewise, `against` the part said otherwise (both 0 to
    1), `asked` the part of `share` that was only asked; `missing` and `conflicts` are the keys.
    """

    share: float = 0.0
    against: float = 0.0
    asked: float = 0.0
    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    statement: int = -1

    @property
    def says(self) -> bool:
        """Whether the statement says the fact, and nothing against it."""
        return self.share >= SUPPORT and not self.conflicts

    @property
    def contradicts(self) -> bool:
        """Whether the statement speaks of the fact and says it otherwise."""
        return bool(self.conflicts) and self.share + self.against >= SUPPORT


class Index:
    """The statements of a text, to be asked whether they say a fact."""

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
        """The statement that speaks most of the fact, then the one that says it with least against.

        Topic goes before agreement: of "no back pain" and "chest pain", the second is what a note
        that writes "no chest pain" has to answer for. Where more than `MOST_STATEMENTS` or
        `MOST_TOKENS` share a key with the fact, those that share its rarest keys are asked, and of
        those the first.
        """
        fact = _Fact(atom)
        sharing = [(*fact.bounds(self._places[n]), -n) for n in self._sharing(atom)]
        best, rank = Cover(missing=tuple(token.key for token in atom.tokens)), (-1.0, 0.0, 0)
        for most, likewise, negative in sorted(sharing, reverse=True):
            if most < rank[0]:
                break  # no other can speak of more of it
            if most == rank[0] and likewise < rank[1]:
                continue  # nor, of as much, can this one say more of it likewise
            cover = _cover(fact, self._places[-negative], -negative)
            spoken, agreed = cover.share + cover.against, cover.share - cover.asked
            new = (round(spoken, _DIGITS), round(agreed, _DIGITS), negative)
            if new > rank:
                best, rank = cover, new
        return best

    def _sharing(self, atom: Atom) -> set[int]:
        """The numbers of the statements that share a key with a fact, as many as `best` asks."""
        found: set[int] = set()
        n_tokens = 0
        for numbers in sorted((self._by_key.get(t.key, ()) for t in atom.tokens), key=len):
            for number in numbers:
                if number in found:
                    continue
                n_tokens += len(self.statements[number].tokens)
                if found and (len(found) == MOST_STATEMENTS or n_tokens > MOST_TOKENS):
                    return found
                found.add(number)
        return found


class _Places:
    """Where one statement says what: its tokens by key, its sides, its quantities by unit."""

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
        """What may stand where a number or side should: other sides, quantities of its unit."""
        return self.sides if token.key in SIDES else self.by_unit.get(token.unit, ())


class _Fact:
    """A fact as it is held against statements: what is free in it, what is bound to that."""

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

    def bounds(self, places: _Places) -> tuple[float, float]:
        """The most that `share + against` and `share` of a statement can be, by its keys alone."""
        free = [token.weight for token in self.free if token.key in places.by_key]
        if not free and self.named:
            return 0.0, 0.0
        same = [token.weight for token, _ in self.reach if token.key in places.by_key]
        bound = (token.weight for token, _ in self.reach)
        most, likewise = (sum(free) + sum(part) for part in (bound, same))
        return round(most / self.total, _DIGITS), round(likewise / self.total, _DIGITS)


def _cover(fact: _Fact, places: _Places, number: int) -> Cover:
    held: list[Token] = []  # where the other text speaks of the same things
    likewise: list[Token] = []
    otherwise: list[Token] = []
    asked = 0.0
    for token in fact.free:
        there = places.by_key.get(token.key, ())
        held += there
        same = [other for other in there if other.absent is None or other.absent == token.absent]
        if same:
            likewise.append(token)
            asked += token.weight * all(other.absent is None for other in same)
        elif there:
            otherwise.append(token)
    if fact.reach and (held or not fact.named):  # the dose of another medicine is no match
        around = sorted(token.position for token in held)
        nearest: dict[str, float] = {}
        for token, reach in fact.reach:
            verdict = _bound_verdict(token, reach, places, around, nearest)
            if verdict is not None:
                (likewise if verdict else otherwise).append(token)
    touched = {token.key for token in (*likewise, *otherwise)}
    return Cover(
        share=sum(token.weight for token in likewise) / fact.total,
        against=sum(token.weight for token in otherwise) / fact.total,
        asked=asked / fact.total,
        missing=tuple(token.key for token in fact.tokens if token.key not in touched),
        conflicts=tuple(token.key for token in otherwise if token.weight == 1.0),
        statement=number,
    )


def _is_bound(token: Token) -> bool:
    """Numbers and sides mean something only beside what they measure or place."""
    return token.is_number or token.key in SIDES


def _bound_verdict(
    token: Token, reach: int, places: _Places, around: list[int], nearest: dict[str, float]
) -> bool | None:
    """Whether a number or side is said likewise (True), otherwise (False) or not at all (None).

    `around` are the positions of what both texts speak of; `nearest` keeps, for each unit, how near
    to them a quantity comes, since a list of many doses asks for it again and again.
    """
    same: Sequence[Token] = places.by_key.get(token.key, ())
    if not around:
        return any(_units_agree(token, other) for other in same) or None
    if token.key[0] != "@":  # a date holds for its whole sentence
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
    """The words between a token and the nearest of some positions, which are sorted."""
    place = bisect(around, token.position)
    return min(abs(token.position - other) for other in around[max(0, place - 1) : place + 1])


def _units_agree(token: Token, other: Token) -> bool:
    return not token.unit or not other.unit or token.unit == other.unit
