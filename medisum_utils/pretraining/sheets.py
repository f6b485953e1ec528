"""Sheets: summaries of a dialogue in hundreds of made-up house styles.

A form lists the topics that it asks for. The instruction for a note only names its type: the writer
must have memorised its lines, their order and wording, and must leave out topics that did not come
up. Fine-tuning has to teach one such style from a few hundred examples; here the base learns how to
learn styles, on random ones. None has a SOAP note's section titles, list headers or fixed sentences
(a test checks this). About a quarter roughly follow its order, which is that of most visits, and
"onset", "severity" and "quality" have the same meaning in both.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.pretraining.forms import QA, bare, load_tasks, with_doses
from medisum_utils.synthesis.casebook import read_yaml
from medisum_utils.synthesis.invented import made_up_word
from medisum_utils.synthesis.soap import NONE_LINES, TOPIC_KINDS

N_STYLES = 512
SEED = 2026  # of the styles; fixed, since a base knows only the styles it was trained on
# Topic of a denial such as "known allergies" -> the kind whose line can state it.
DENIED = {NONE_LINES[topic][1]: kind for topic, kind in TOPIC_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a sheet: its kinds of facts, each with its wrapping, and the surrounding text.

    `each` repeats the line for every item instead of joining the items.
    """

    kinds: tuple[str, ...]
    wraps: tuple[str, ...]
    header: str
    joiner: str
    end: str
    each: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """A sheet's name and its lines under their titles, in order; "" means no title.

    `nothing` is the text for a denied topic in its own line; if it is "", denials go to the line
    for all denials. `prescription` orders medicine, dose and the rest; `with_status` puts the
    course of an illness after its name.
    """

    name: str
    parts: tuple[tuple[str, tuple[Line, ...]], ...]
    nothing: str
    prescription: str
    with_status: str


@lru_cache(maxsize=1)
def load_pieces() -> dict:
    """Reads sheets.yaml once."""
    return read_yaml(Path(__file__).with_suffix(".yaml"))


@lru_cache(maxsize=1)
def styles() -> tuple[Style, ...]:
    """The `N_STYLES` styles on which every base is trained."""
    rng = random.Random(SEED)
    names: dict[str, None] = {}
    while len(names) < N_STYLES:
        names[made_up_word(rng).capitalize()] = None
    return tuple(draw_style(rng, name) for name in names)


def draw_style(rng: random.Random, name: str) -> Style:
    """Draws a style: which topics it has, their order and grouping, its headers and punctuation."""
    pieces = load_pieces()
    kinds = [kind for kind in load_tasks()["topics"] if rng.random() < 0.88]
    if rng.random() < 0.6:
        rng.shuffle(kinds)
    else:  # the usual order of a visit, with some topics moved
        places = {kind: place + rng.gauss(0, 3) for place, kind in enumerate(kinds)}
        kinds.sort(key=places.__getitem__)
    with_status = rng.choice(("", "", ", {x}", " ({x})", ": {x}"))
    if with_status:
        kinds = [kind for kind in kinds if kind != "status"]
    dress = {key: rng.choice(pieces[key]) for key in ("bullets", "separators", "joiners", "ends")}
    case = rng.choices((str.lower, str.capitalize, str.upper), (5, 5, 1))[0]
    lines, used = [], set()
    for kind in kinds:
        if kind in used:
            continue
        group = _group(rng, kind, [k for k in kinds if k not in used])
        used.update(group)
        lines.append(_line(rng, group, dress, case))
    return Style(
        name=name,
        parts=_parts(rng, lines),
        nothing=rng.choice(pieces["nothing"]) if rng.random() < 0.6 else "",
        prescription=rng.choice(pieces["prescriptions"]),
        with_status=with_status,
    )


def _group(rng: random.Random, kind: str, free: Sequence[str]) -> list[str]:
    """The kinds that share a line with `kind`, including itself, in the line's order."""
    options = [group for group in load_pieces()["joined"] if kind in group]
    if not options or rng.random() < 0.35:
        return [kind]
    group = [member for member in rng.choice(options) if member in free]
    rng.shuffle(group)
    return group


def _line(rng: random.Random, group: Sequence[str], dress: Mapping[str, str], case) -> Line:
    pieces = load_pieces()
    if len(group) > 1 and rng.random() < 0.6:
        header = dress["bullets"]  # a line of several topics needs no header
    else:
        word = rng.choice(pieces["headers"][rng.choice(group)])
        if rng.random() < 0.1:
            word = made_up_word(rng)
        header = f"{dress['bullets']}{case(word)}{dress['separators']}"
    joiner = rng.choice((", ", " ", "; ")) if len(group) > 1 else dress["joiners"]
    wraps = tuple(
        rng.choice(pieces["wrapped"][kind]) if len(group) > 1 else "{x}" for kind in group
    )
    each = len(group) == 1 and rng.random() < 0.08
    return Line(tuple(group), wraps, header, joiner, dress["ends"], each)


def _parts(rng: random.Random, lines: Sequence[Line]) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    """The lines under up to six titles, or all without title."""
    if rng.random() < 0.4:
        return (("", tuple(lines)),)
    n = rng.randint(2, min(6, len(lines)))
    cuts = [0, *sorted(rng.sample(range(1, len(lines)), n - 1)), len(lines)]
    titles = rng.sample(load_pieces()["titles"], n)
    mark = rng.choice(("{}:", "# {}", "{}", "== {} ==", "[{}]"))
    groups = [lines[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    return tuple((mark.format(t), tuple(group)) for t, group in zip(titles, groups, strict=True))


def sheet(style: Style, encounter: Encounter) -> str:
    """An encounter's facts in a style; "nothing" if it has a line for none of them."""
    items = _items(style, encounter.facts)
    sections = []
    for title, lines in style.parts:
        sheet_lines = [text for line in lines for text in _written(line, items)]
        if sheet_lines:
            sections.append("\n".join([title, *sheet_lines] if title else sheet_lines))
    return "\n".join(sections) or "nothing"


def ask_sheet(rng: random.Random, style: Style, encounter: Encounter) -> QA:
    """An instruction that names the style, and the sheet."""
    return rng.choice(load_pieces()["asks"]).format(name=style.name), sheet(style, encounter)


def _written(line: Line, items: Mapping[str, list[str]]) -> list[str]:
    wrapped_items = [
        wrap.format(x=text)
        for kind, wrap in zip(line.kinds, line.wraps, strict=True)
        for text in items.get(kind, ())
    ]
    if not wrapped_items:
        return []
    if line.each:
        return [f"{line.header}{text}{line.end}" for text in wrapped_items]
    return [f"{line.header}{line.joiner.join(wrapped_items)}{line.end}"]


def _items(style: Style, facts: Sequence[Fact]) -> dict[str, list[str]]:
    """The facts by kind, in record order, in the wording of a style."""
    items: dict[str, list[str]] = {}
    for fact, dose, rest in with_doses(facts):
        kind, text = _worded(style, fact)
        if dose or rest:
            text = style.prescription.format(name=text, dose=dose, rest=rest).strip()
        if kind == "status" and style.with_status:
            name = items["diagnosis"].pop()  # the course of an illness directly follows it
            course = style.with_status.format(x=text.removeprefix(f"{name} "))
            kind, text = "diagnosis", f"{name}{course}"
        items.setdefault(kind, []).append(text)
    return items


def _worded(style: Style, fact: Fact) -> tuple[str, str]:
    """The kind whose line states a fact, and its wording there."""
    if fact.kind == "denial" and fact.text in DENIED and style.nothing:
        return DENIED[fact.text], style.nothing
    if fact.kind in ("age", "laterality", "duration"):
        return fact.kind, fact.value
    return fact.kind, bare(fact)
