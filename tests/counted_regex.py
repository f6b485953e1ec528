"""A regular expression matched step by step, as `re` does it, with the steps counted.

`re` does not say how often it backtracked. This takes the same parsed pattern and makes the same
search, slowly, so that a test can assert how the work grows with the text without a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _compiler, _constants, _parser

_CHARACTERS = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY)
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
_ASSERTS = (_constants.ASSERT, _constants.ASSERT_NOT)


class Counted:
    """A compiled pattern whose searches count their steps in `n_steps`."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.n_steps = 0
        self._flags = pattern.flags
        self._parsed = _parser.parse(pattern.pattern, pattern.flags)
        self._singles: dict[str, re.Pattern[str]] = {}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The spans that `finditer` finds."""
        found: list[tuple[int, int]] = []
        at, moved = 0, True
        while at <= len(text):
            ends = self._ends(list(self._parsed), text, at)
            end = next((end for end in ends if moved or end > at), None)
            if end is None:
                at, moved = at + 1, True
                continue
            found.append((at, end))
            at, moved = end, end > at  # after an empty match, one here must not be empty
        return found

    def fits(self, text: str) -> bool:
        """Whether `fullmatch` matches."""
        return any(end == len(text) for end in self._ends(list(self._parsed), text, 0))

    def _ends(self, items: list, text: str, at: int) -> Iterator[int]:
        if not items:
            yield at
            return
        for end in self._item(items[0], text, at):
            yield from self._ends(items[1:], text, end)

    def _item(self, item: tuple, text: str, at: int) -> Iterator[int]:
        self.n_steps += 1
        kind, value = item
        if kind in _CHARACTERS or kind is _constants.AT:
            if found := self._single(item).match(text, at):
                yield found.end()
        elif kind is _constants.SUBPATTERN:
            if value[1] or value[2]:
                raise NotImplementedError("expected a pattern without flags of a group")
            yield from self._ends(list(value[3]), text, at)
        elif kind is _constants.BRANCH:
            for branch in value[1]:
                yield from self._ends(list(branch), text, at)
        elif kind in _ASSERTS:
            direction, inner = value
            start = at if direction > 0 else at - inner.getwidth()[0]
            seen = start >= 0 and any(
                direction > 0 or end == at for end in self._ends(list(inner), text, start)
            )
            if seen == (kind is _constants.ASSERT):
                yield at
        elif kind in _REPEATS:
            yield from self._repeat(kind is _constants.MAX_REPEAT, *value, text, at)
        else:
            raise NotImplementedError(f"expected a kind of item that is counted, got {kind}")

    def _repeat(
        self, greedy: bool, least: int, most: int, inner: list, text: str, at: int
    ) -> Iterator[int]:
        """Ends of a repeat, longest first if greedy; by a stack, since a run may be long."""
        if least == 0 and not greedy:
            yield at
        stack = [(at, self._ends(list(inner), text, at))]
        while stack:
            place, ends = stack[-1]
            end = next(ends, None) if len(stack) <= most else None
            if end is None or (end == place and len(stack) > least):
                stack.pop()
                if greedy and len(stack) >= least:
                    yield place
                continue
            if not greedy and len(stack) >= least:
                yield end
            stack.append((end, self._ends(list(inner), text, end)))

    def _single(self, item: tuple) -> re.Pattern[str]:
        """An item of one character or place as a pattern of its own."""
        if (name := repr(item)) not in self._singles:
            alone = _parser.SubPattern(self._parsed.state, [item])
            self._singles[name] = _compiler.compile(alone, self._flags)
        return self._singles[name]
