"""Whether one text says what another says: the facts of one against the statements of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medisum_utils.statements import SIDES, Atom, Statement, Token

NEAR_WORDS = 8  # a dose or a side belongs to what stands this near
SUPPORT = 0.4  # share of a fact's weight that must be found for it to count as said


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
        self._places: list[dict[str, list[Token]]] = []
        self._by_key: dict[str, list[int]] = {}
        for number, statement in enumerate(self.statements):
            places: dict[str, list[Token]] = {}
            for token in statement.tokens:
                places.setdefault(token.key, []).append(token)
            self._places.append(places)
            for key in places:
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
        that writes "no chest pain" has to answer for.
        """
        found = {number for token in atom.tokens for number in self._by_key.get(token.key, ())}
        covers = [_cover(atom, self._places[number], number) for number in sorted(found)]
        unsaid = Cover(missing=tuple(token.key for token in atom.tokens))
        return max(covers, key=lambda c: (c.share + c.against, c.share - c.asked), default=unsaid)


def _cover(atom: Atom, places: dict[str, list[Token]], number: int) -> Cover:
    free = [token for token in atom.tokens if not _is_bound(token)]
    held: list[Token] = []  # where the other text speaks of the same things
    likewise: list[Token] = []
    otherwise: list[Token] = []
    asked = 0.0
    for token in free:
        there = places.get(token.key, ())
        held += there
        same = [other for other in there if other.absent is None or other.absent == token.absent]
        if same:
            likewise.append(token)
            asked += token.weight * all(other.absent is None for other in same)
        elif there:
            otherwise.append(token)
    named = any(token.weight == 1.0 for token in free)
    for token in atom.tokens:
        if _is_bound(token) and (held or not named):  # the dose of another medicine is no match
            verdict = _bound_verdict(token, free, places, held)
            if verdict is not None:
                (likewise if verdict else otherwise).append(token)
    total = sum(token.weight for token in atom.tokens) or 1.0
    touched = {token.key for token in (*likewise, *otherwise)}
    return Cover(
        share=sum(token.weight for token in likewise) / total,
        against=sum(token.weight for token in otherwise) / total,
        asked=asked / total,
        missing=tuple(token.key for token in atom.tokens if token.key not in touched),
        conflicts=tuple(token.key for token in otherwise if token.weight == 1.0),
        statement=number,
    )


def _is_bound(token: Token) -> bool:
    """Numbers and sides mean something only beside what they measure or place."""
    return token.is_number or token.key in SIDES


def _bound_verdict(
    token: Token, free: list[Token], places: dict[str, list[Token]], held: list[Token]
) -> bool | None:
    """Whether a number or side is said likewise (True), otherwise (False) or not at all (None)."""
    own = min((abs(token.position - other.position) for other in free), default=0)
    reach = max(NEAR_WORDS, own)
    bound = [other for others in places.values() for other in others if _is_bound(other)]
    near = [
        other
        for other in bound
        if not held
        or other.key[0] == "@"  # a date holds for its whole sentence
        or min(abs(other.position - h.position) for h in held) <= reach
    ]
    if any(other.key == token.key and _units_agree(token, other) for other in near):
        return True
    if not held:
        return None
    if any(other.key == token.key for other in near):
        return False  # "3 years" for "3 weeks"
    if token.key in SIDES:
        rivals = [other for other in near if other.key in SIDES]
    else:
        rivals = [o for o in near if o.key[0] == "#" and token.unit and o.unit == token.unit]
    return False if rivals else None


def _units_agree(token: Token, other: Token) -> bool:
    return not token.unit or not other.unit or token.unit == other.unit
