"""Sheets state the facts of the record, in styles unlike a SOAP note."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from medisum_utils.encounter import Encounter
from medisum_utils.pretraining.forms import bare, load_tasks, with_doses
from medisum_utils.pretraining.sheets import (
    DENIED,
    N_STYLES,
    Style,
    ask_sheet,
    draw_style,
    load_pieces,
    sheet,
    styles,
)
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.soap import HEADERS, LISTS, NONE_LINES, read_line

# The words that open a line of a note.
NOTE_LEADS = {prefix.rstrip(":").lower() for lists in LISTS.values() for prefix in lists}
NOTE_LEADS |= {header.lower() for header in HEADERS.values()} | {"diagnosis"}

TOPICS = load_tasks()["topics"]


@pytest.fixture(scope="module")
def encounters() -> list[Encounter]:
    return list(generate(40, seed=8, split="train"))


def test_every_topic_has_headers_and_no_header_or_title_is_a_notes() -> None:
    pieces = load_pieces()
    assert set(pieces["headers"]) == set(TOPICS)
    assert {kind for group in pieces["joined"] for kind in group} <= set(pieces["wrapped"])
    words = [word for headers in pieces["headers"].values() for word in headers]
    words += pieces["titles"]
    assert all(isinstance(word, str) for word in words)  # YAML reads on and no as booleans
    assert not NOTE_LEADS & {word.lower() for word in words}


def test_styles_are_many_distinct_and_reproducible() -> None:
    drawn = styles()
    assert len(drawn) == len({style.name for style in drawn}) == N_STYLES
    assert len({style.parts for style in drawn}) == N_STYLES
    orders = {tuple(line.kinds for _, lines in s.parts for line in lines) for s in drawn}
    assert len(orders) == N_STYLES
    assert draw_style(random.Random(3), "A") == draw_style(random.Random(3), "A")


def test_no_line_of_a_sheet_is_one_of_a_notes_grammar(encounters: list[Encounter]) -> None:
    none_lines = {text for text, _ in NONE_LINES.values()}
    n_alike = 0
    for number, style in enumerate(styles()):
        text = sheet(style, encounters[number % len(encounters)])
        lines = text.split("\n")
        assert not none_lines & set(lines)
        assert not re.search(r"-year-old", text)
        assert not {f"{header}:" for header in HEADERS.values()} & set(lines)
        read = [
            fact.kind for section in LISTS for line in lines for fact in read_line(section, line)
        ]
        n_alike += set(read) != {"other"}
    # "Start of it = gradual" begins like a line of medicines: such coincidences are rare.
    assert n_alike <= 0.05 * N_STYLES
    note = encounters[0].note_text.split("\n")
    assert {
        fact.kind for section in LISTS for line in note for fact in read_line(section, line)
    } > {"other", "complaint"}


def n_lines(style: Style, encounter: Encounter) -> int:
    """The number of lines a sheet must have: absent topics, and titles without lines, have none."""
    counts = Counter()
    for fact in encounter.facts:
        denied = style.nothing and fact.kind == "denial" and fact.text in DENIED
        counts[DENIED[fact.text] if denied else fact.kind] += 1
    n = 0
    for title, lines in style.parts:
        n_items = [sum(counts[kind] for kind in line.kinds) for line in lines]
        n_here = sum((k if line.each else 1) for k, line in zip(n_items, lines, strict=True) if k)
        n += n_here + bool(title and n_here)
    return n


def test_a_sheet_states_each_fact_of_its_topics_and_nothing_else(
    encounters: list[Encounter],
) -> None:
    stated = Counter()
    for number, encounter in enumerate(encounters):
        for style in styles()[number :: len(encounters)]:
            lines = [line for _, lines in style.parts for line in lines]
            kinds = {kind for line in lines for kind in line.kinds}
            text = sheet(style, encounter).lower()
            for fact in encounter.facts:
                kind = fact.kind
                if kind == "denial" and style.nothing and fact.text in DENIED:
                    continue
                if kind == "status" and style.with_status:
                    kind = "diagnosis"
                if kind in kinds:
                    wording = (
                        fact.value if kind in ("age", "laterality", "duration") else bare(fact)
                    )
                    if fact.kind != "status" or not style.with_status:
                        assert wording.lower() in text, (style.name, fact.kind)
                    stated[fact.kind] += 1
            for fact, dose, rest in with_doses(encounter.facts):
                if fact.kind in kinds:
                    assert dose.lower() in text, (style.name, fact.kind)
                    assert rest.lower() in text, (style.name, fact.kind)
                    stated["dose"] += bool(dose)
                if fact.kind == "status" and style.with_status and "diagnosis" in kinds:
                    course = next(
                        fact.text.removeprefix(other_fact.text).strip()
                        for other_fact in encounter.facts
                        if other_fact.kind == "diagnosis"
                        and fact.text.startswith(f"{other_fact.text} ")
                    )
                    assert course.lower() in text, style.name
                    stated["status"] += 1
            assert len(text.split("\n")) == n_lines(style, encounter)
    assert set(stated) >= {*TOPICS, "dose", "status"} - {"stop"}


def test_a_denied_topic_is_in_its_own_line_or_among_the_denials(
    encounters: list[Encounter],
) -> None:
    seen = Counter()
    for style in styles():
        own = {k: ln for _, lines in style.parts for ln in lines for k in ln.kinds}
        for encounter in encounters[:8]:
            lines = sheet(style, encounter).split("\n")
            for fact in encounter.facts:
                if fact.text not in DENIED:
                    continue
                line = own.get(DENIED[fact.text] if style.nothing else "denial")
                if line is None:
                    continue
                word = style.nothing or fact.text
                assert any(ln.startswith(line.header) and word in ln for ln in lines)
                seen[bool(style.nothing)] += 1
    assert min(seen.values()) > 100


def test_an_encounter_without_facts_gives_nothing() -> None:
    empty = Encounter("a", "synthetic", "train", (), ())
    asked, answer = ask_sheet(random.Random(1), styles()[5], empty)
    assert styles()[5].name in asked
    assert "SOAP" not in asked
    assert answer == "nothing"
