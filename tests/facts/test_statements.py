"""Statements: numbers, dates, denials and sides are read the same in any wording."""

from __future__ import annotations

import pytest

from medisum_utils.facts.dialogue import read_dialogue, turns
from medisum_utils.facts.statements import Statement, atoms, read_note, tokenize
from medisum_utils.facts.vocabulary import LEXICON, longest, stem, vocabulary


def keys(text: str) -> set[str]:
    return {token.key for statement in read_note(text) for token in statement.tokens}


def signs(statements: list[Statement]) -> dict[str, bool | None]:
    return {token.key: token.absent for statement in statements for token in statement.tokens}


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("He is seventy six years old.", "He is a 76-year-old."),
        ("a heart rate of one twenty two", "heart rate of 122"),
        ("one hundred and five pounds", "105 lbs"),
        ("seven point five milligrams", "7.5 mg"),
        ("half a pack", "0.5 pack"),
        ("two and a half miles", "2.5 miles"),
        ("seen in two thousand nine", "seen in 2009"),
        ("born in nineteen ninety two", "born in 1992"),
        ("surgery on January tenth two thousand nine", "surgery on 01/10/09"),
        ("surgery on the twenty first of June", "surgery on June 21"),
        ("stopped in ninety two", "stopped '92"),
        ("four M G I M", "4 mg IM"),
        ("an M R I", "an MRI"),
        ("one thousand five hundred milligrams", "1,500 mg"),
        ("one twenty over eighty", "120/80"),
        ("two times a day", "b.i.d."),
        ("three times daily", "TID"),
        ("every eight hours", "q8h"),
        ("whenever needed, as needed", "whenever needed, p.r.n."),
    ],
)
def test_spoken_and_written_quantities_are_equal(spoken: str, written: str) -> None:
    assert keys(spoken) == keys(written)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("4 mg", "40 mg"),
        ("4 mg twice a day", "4 mg three times a day"),
        ("left knee", "right knee"),
        ("06/04/2007", "06/14/2007"),
        ("hypotension", "hypertension"),
        ("hypothyroidism", "hyperthyroidism"),
    ],
)
def test_phrases_that_differ_in_one_sign_stay_apart(first: str, second: str) -> None:
    assert keys(first) != keys(second)


@pytest.mark.parametrize(
    ("lay", "clinical"),
    [
        ("high blood pressure", "HTN"),
        ("heart attack", "MI"),
        ("had her gallbladder removed", "cholecystectomy"),
        ("short of breath", "dyspnea"),
        ("Tylenol", "acetaminophen"),
        ("trouble swallowing", "dysphagia"),
        ("throwing up", "emesis"),
    ],
)
def test_lay_and_clinical_words_have_one_meaning(lay: str, clinical: str) -> None:
    assert keys(clinical) <= keys(lay)


def test_a_lone_one_is_not_a_number() -> None:
    assert "1" not in tokenize("one of my brothers")
    assert "1" in tokenize("one week")


def test_may_is_a_month_only_next_to_a_day_or_a_year() -> None:
    assert "@d05-03" in tokenize("on May third")
    assert not any(word.startswith("@") for word in tokenize("you may go home"))


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("No fever, chills, or cough.", set(), {"fever", "chill", "cough"}),
        ("Denies fever but has a cough.", {"cough"}, {"fever"}),
        ("No fever, and he has a cough.", {"cough"}, {"fever"}),
        ("Cough without fever.", {"cough"}, {"fever"}),
        ("Fever: denied.", set(), {"fever"}),
        ("Cough, but the mammogram was negative.", {"cough"}, {"mammogram"}),
        ("She is a nonsmoker.", set(), {"tobacco"}),
        ("No fever. Cough.", {"cough"}, {"fever"}),
        ("Not only fever, cough too.", {"fever", "cough"}, set()),
    ],
)
def test_a_denial_reaches_its_clause_and_no_further(
    text: str, present: set[str], absent: set[str]
) -> None:
    is_absent = signs(read_note(text))
    assert {key for key in present | absent if is_absent[key]} == absent


def test_facts_of_a_list_are_split_and_counted_once() -> None:
    texts = [atom.text for atom in atoms(read_note("Asthma, gout and hives. She has gout."))]
    assert texts == ["asthma", "gout", "hives"]


def test_a_dose_belongs_to_its_medicine() -> None:
    (atom,) = atoms(read_note("Metformin, 500 mg, twice a day."))
    assert {token.key for token in atom.tokens} >= {"metformin", "#500", "#2/day"}


def test_list_numbers_and_section_names_are_not_facts() -> None:
    assert keys("1. Asthma. 2. Gout. 3.") == {"asthma", "gout"}
    assert keys("Respiratory: cough") == {"cough"}


@pytest.mark.parametrize("text", ["None.", "Noncontributory.", "Unremarkable.", "Negative."])
def test_nothing_to_report_is_generic(text: str) -> None:
    (statement,) = read_note(text)
    assert statement.generic


def test_a_denial_of_something_is_not_generic() -> None:
    assert not any(statement.generic for statement in read_note("No surgeries."))


def test_an_answer_decides_the_polarity_of_its_question() -> None:
    dialogue = (
        "Doctor: Any chest pain?\nPatient: No.\nDoctor: Do you smoke?\nPatient: Yes, a pack.\n"
        "Doctor: Any gout?\nPatient: My toe swells."
    )
    is_absent = signs(read_dialogue(dialogue))
    assert is_absent["chest"] is True
    assert is_absent["tobacco"] is False
    assert is_absent["gout"] is None


def test_words_after_no_in_an_answer_are_affirmed() -> None:
    is_absent = signs(read_dialogue("Doctor: Any fever?\nPatient: No I have a cough."))
    assert (is_absent["fever"], is_absent["cough"]) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "Doctor: Hi.\nPatient: Hello.",
        "[doctor] Hi.\n[patient] Hello.",
        "Doctor: Hi. Patient: Hello.",
    ],
)
def test_speakers_are_found_in_either_notation(text: str) -> None:
    assert turns(text) == [("doctor", "Hi."), ("patient", "Hello.")]


def test_words_split_by_a_transcript_are_joined() -> None:
    parted = tokenize("i do n't smoke , i 'm gon na stop")
    assert parted == tokenize("i don't smoke , i'm gonna stop")


def test_every_term_of_the_lexicon_is_found_under_its_meaning() -> None:
    lists = vocabulary()
    for first, entries in lists.phrases.items():
        for phrase, meaning in entries:
            assert phrase[0] == first
            assert longest(lists.phrases, list(phrase), 0) == (meaning, len(phrase))


def test_no_variant_has_two_meanings() -> None:
    seen: dict[str, str] = {}
    for line in (LEXICON / "terms.csv").read_text(encoding="utf-8").splitlines()[1:]:
        meaning, variants = line.split(",", 1)
        for variant in variants.split("|"):
            assert seen.setdefault(variant, meaning) == meaning, variant


@pytest.mark.parametrize(
    ("first", "second"),
    [("smokes", "smoking"), ("allergies", "allergy"), ("infected", "infections")],
)
def test_inflections_share_a_stem(first: str, second: str) -> None:
    assert stem(first) == stem(second)


@pytest.mark.parametrize(("first", "second"), [("cane", "can"), ("care", "car"), ("bleed", "ble")])
def test_short_words_keep_their_stems(first: str, second: str) -> None:
    assert stem(first) != stem(second)
