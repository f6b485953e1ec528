"""What is read before a training split: it is what it says, and nothing of a test is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medisum_utils.auxiliary import load_auxiliary, load_back_translated
from medisum_utils.pretraining.forms import TOPICS as KINDS
from medisum_utils.splits import check_leaks, normalise
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.one_section import (
    DENIED,
    TOPICS,
    load_wordings,
    one_section_encounters,
)
from medisum_utils.synthesis.soap import HEADERS, NONE_LINES


@pytest.fixture(scope="module")
def short() -> list:
    return one_section_encounters(300, seed=5)


def test_every_kind_of_fact_has_one_topic_and_every_topic_its_words():
    kinds = [kind for topic in TOPICS.values() for kind in topic]
    assert sorted(kinds) == sorted(KINDS)
    said = load_wordings()
    opening = {"age", "sex", "laterality", "complaint", "duration"}
    assert set(said["sentences"]) == set(kinds) - opening
    assert set(said["nothing"]) == set(NONE_LINES) == set(DENIED.values())


def test_more_of_them_begin_with_the_same_ones(short):
    assert one_section_encounters(40, seed=5) == short[:40]
    assert one_section_encounters(40, seed=6) != short[:40]
    assert one_section_encounters(0, seed=5) == []
    with pytest.raises(ValueError, match="0 or more, got -1"):
        one_section_encounters(-1, seed=5)


def test_each_has_one_section_in_whole_sentences_and_some_talk(short):
    assert len({one.id for one in short}) == len(short)
    assert {one.note[0].soap for one in short} == set(HEADERS)
    for one in short:
        (section,) = one.note
        assert section.header == HEADERS[section.soap]
        assert section.text.endswith(".")
        assert not re.search(r"[{}]|\s\s|^[a-z]|, \.", section.text)
        assert 1 <= len(one.turns) < 40
    words = [len(one.note[0].text.split()) for one in short]
    assert min(words) == 1
    assert max(words) > 25


def test_a_medicine_in_a_note_is_named_in_its_dialogue(short):
    found = 0
    for one in short:
        said = normalise(one.dialogue_text)
        for name in load_casebook().medicines:
            if re.search(rf"\b{re.escape(name)}\b", one.note[0].text):
                found += 1
                assert normalise(name) in said
    assert found > 10


def test_a_dialogue_has_one_note(short):
    """Turns of a doctor that tell of many things stand beside the note of one section, once."""
    dialogues = [one.dialogue_text for one in short]
    assert len(set(dialogues)) == len(dialogues)


def test_denials_and_findings_cannot_be_misread():
    """What follows a "no" by "and" would be denied with it, or not: nobody could tell."""
    denied = re.compile(r"\b(?:[Nn]o|[Dd]enies|Negative for) [^.]*\band\b")
    notes = [one.note[0] for one in one_section_encounters(600, seed=8)]
    assert not [n.text for n in notes if n.soap == "subjective" and denied.search(n.text)]
    for note in notes:
        assert not re.search(r"\ba (?:8\d?|11|18)-year|\b(?:my|your)\b", note.text)


def test_translations_go_with_their_corpus_alone():
    with pytest.raises(ValueError, match="beside 'mts-dialog' alone, got 'synthetic'"):
        load_auxiliary("synthetic", n_one_section=0, back_translated=True, seed=1)
    assert load_auxiliary("synthetic", n_one_section=0, back_translated=False, seed=1) == []


@pytest.mark.corpus
def test_back_translations_are_of_training_pairs_with_their_notes(corpora: Path):
    from medisum_utils.sources import mts_as_soap

    splits = mts_as_soap()
    originals = {one.id: one for one in splits["train"]}
    found = load_back_translated()
    assert len(found) == len({one.id for one in found}) == 1761
    for one in found:
        before = originals[re.sub(r"-(fr|es)$", "", one.id)]
        assert one.note == before.note
    held_out = {
        normalise(one.dialogue_text)
        for name, part in splits.items()
        if name != "train"
        for one in part
    }
    assert not held_out & {normalise(one.dialogue_text) for one in found}
    check_leaks({"auxiliary": found} | {n: part for n, part in splits.items() if n != "train"})
    both = load_auxiliary("mts-dialog", n_one_section=7, back_translated=True, seed=1)
    assert both[7:] == found
