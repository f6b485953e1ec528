"""The generator: its word lists, the accuracy of its record, what it holds out of training."""

from __future__ import annotations

import ast
import random
import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from num2words import num2words

from medisum_utils.encounter import SECTIONS, Encounter
from medisum_utils.synthesis.casebook import Casebook, load_casebook
from medisum_utils.synthesis.cases import Case, CaseSampler, Prescription
from medisum_utils.synthesis.dialogue import Script
from medisum_utils.synthesis.encounters import (
    MAX_TURNS,
    MIN_TURNS,
    OPEN_SPLITS,
    SPLITS,
    TEST_SPLITS,
    generate,
    generate_one,
    generate_tests,
    speak,
)
from medisum_utils.synthesis.soap import LISTS, NONE_LINES, read_facts
from medisum_utils.synthesis.speech import load_bank, phrasings

ROOT = Path(__file__).resolve().parents[2]
# The note's grammar separates items with these; a point may occur in numbers only.
SEPARATORS = re.compile(r'[,;:()"/\n]|(?<!\d)\.|\.(?!\d)')
ROUTES = {
    "by mouth", "inhaled", "topical", "subcutaneous", "intramuscular", "under the tongue",
    "as eye drops", "as ear drops", "as nasal spray", "rectally", "vaginally", "as a patch",
}  # fmt: skip
DURATIONS = {"hours", "days", "weeks", "months", "years"}
TAKEN = {"medicine", "start", "change", "stop", "continue"}
# Kinds whose items are always spoken in the note's words ...
VERBATIM = TAKEN | {"complaint", "exam", "order", "referral", "advice", "precaution", "diagnosis"}
# ... and kinds that training, but not test_unseen, may state in a lay phrase only.
LAY = {"symptom", "denial", "condition", "surgery"}
NUMBERED = {"age", "duration", "severity", "dose", "vital", "result", "follow_up"}


@pytest.fixture(scope="module")
def book() -> Casebook:
    return load_casebook()


@pytest.fixture(scope="module")
def data() -> dict[str, list[Encounter]]:
    """A few hundred encounters of each split."""
    drawn = {split: generate(250, seed=5, split=split) for split in OPEN_SPLITS}
    drawn |= {split: generate_tests(250, seed=5, split=split) for split in TEST_SPLITS}
    return {split: list(encounters) for split, encounters in drawn.items()}


@pytest.fixture(scope="module")
def spoken(book: Casebook) -> list[tuple[Case, Encounter]]:
    """Cases with the encounters generated from them."""
    pairs = []
    for unseen in (False, True):
        sampler = CaseSampler(book, held_out=unseen)
        for number in range(200):
            rng = random.Random(number)
            case = sampler.draw(rng)
            script = Script(rng, case, book, unseen=unseen)
            encounter = speak(script, id=str(number), split="train")
            if encounter is not None:
                pairs.append((case, encounter))
    assert len(pairs) > 350
    return pairs


def problem_terms(problem) -> list[str]:
    terms = [problem.name, problem.complaint.term, *problem.complaint.lay, *problem.character]
    for part in ("worse", "better", "exam", "qualifiers", "orders", "referrals", "advice"):
        terms += getattr(problem, part)
    terms += problem.precautions
    for symptom in problem.symptoms:
        terms += [symptom.term, *symptom.lay]
    for result in problem.results:
        terms += [result["test"], *result.get("findings", [])]
    return terms


def test_the_casebook_is_as_large_as_promised(book: Casebook) -> None:
    assert len(book.problems) >= 120
    assert len({problem.speciality for problem in book.problems}) >= 12
    assert len(book.medicines) >= 250
    names = [problem.name for problem in book.problems]
    assert len(set(names)) == len(names)


def test_each_speciality_has_a_held_out_problem_and_more_to_train_on(book: Casebook) -> None:
    held = Counter(problem.speciality for problem in book.problems if problem.held_out)
    trained = Counter(problem.speciality for problem in book.problems if not problem.held_out)
    assert set(held) == set(trained)
    assert all(held[speciality] < trained[speciality] for speciality in held)
    assert (
        0 < sum(medicine.held_out for medicine in book.medicines.values()) < len(book.medicines) / 2
    )


def test_no_term_contains_a_separator_of_the_note(book: Casebook) -> None:
    terms = [term for problem in book.problems for term in problem_terms(problem)]
    for key in ("conditions", "surgeries"):
        terms += [text for term in book.common[key] for text in (term.term, *term.lay)]
    for key in ("allergens", "reactions", "family_conditions", "relatives", "occupations"):
        terms += book.common[key]
    terms += [*book.common["living"], *book.common["exercise"], *book.medicines]
    assert len(terms) > 5000
    assert [term for term in terms if SEPARATORS.search(term)] == []
    assert [term for term in terms if term != term.strip() or not term.isascii()] == []


def test_a_complaint_does_not_contain_a_side(book: Casebook) -> None:
    starts = [problem.complaint.term.split()[0] for problem in book.problems]
    assert not {"left", "right"} & set(starts)


def test_lists_have_no_repetition_and_known_words_only(book: Casebook) -> None:
    for problem in book.problems:
        for part in ("worse", "better", "exam", "orders", "advice", "precautions", "medicines"):
            items = getattr(problem, part)
            assert len(set(items)) == len(items), (problem.name, part)
        assert len({symptom.term for symptom in problem.symptoms}) == len(problem.symptoms)
        assert set(problem.medicines) <= set(book.medicines), problem.name
        assert set(problem.duration) <= DURATIONS, problem.name
        for result in problem.results:
            assert ("findings" in result) != ("low" in result), problem.name
            assert "findings" in result or result["low"] < result["high"], problem.name


def test_a_dose_is_a_number_and_a_unit_of_one_word(book: Casebook) -> None:
    for medicine in book.medicines.values():
        assert medicine.doses
        assert all(re.fullmatch(r"\d+(\.\d+)?", dose) for dose in medicine.doses)
        assert re.fullmatch(r"\S+", medicine.unit), medicine.name
        assert set(medicine.routes) <= ROUTES, medicine.name
        assert medicine.frequencies


def prescription_facts(kind: str, section: str, item: Prescription) -> set:
    rest = f"{item.route} {item.frequency}".strip()
    facts = {(kind, section, item.name)}
    facts |= {("dose", section, f"{item.name} {item.dose}")} if item.dose else set()
    return facts | ({("frequency", section, f"{item.name} {rest}")} if rest else set())


def facts_of(case: Case) -> set[tuple[str, str, str]]:
    """The facts of a case, from the case alone: the expected result of reading its note back."""
    problem = case.problem
    s, o, a, p = SECTIONS
    facts = {("sex", s, case.sex), ("complaint", s, problem.complaint.term)}
    facts.add(("diagnosis", a, problem.name))
    if case.age is not None:
        facts.add(("age", s, f"{case.age} years old"))
    if case.side:
        facts.add(("laterality", s, f"{case.side} {problem.complaint.term}"))
    if case.duration:
        facts.add(("duration", s, f"for {case.duration[0]} {case.duration[1]}"))
    if case.onset:
        facts.add(("onset", s, f"onset {case.onset}"))
    if case.severity is not None:
        facts.add(("severity", s, f"severity {case.severity}/10"))
    if case.character:
        facts.add(("quality", s, f"quality {case.character}"))
    facts |= {("worse", s, f"worse with {item}") for item in case.worse}
    facts |= {("better", s, f"better with {item}") for item in case.better}
    lists: dict[tuple[str, str], list[str]] = {
        ("symptom", s): [term.term for term in case.reported],
        ("denial", s): [term.term for term in case.denied]
        + [NONE_LINES[topic][1] for topic in case.denied_topics],
        ("condition", s): [term.term for term in case.conditions],
        ("surgery", s): [term.term for term in case.surgeries],
        ("allergy", s): [f"{x} causing {y}" if y else x for x, y in case.allergies],
        ("family", s): [f"{who} with {what}" for who, what in case.family],
        ("social", s): list(case.social.values()),
        ("vital", o): [f"{name} {value}" for name, value in case.vitals.items()],
        ("exam", o): case.exam,
        ("result", o): [f"{test} {value}" for test, value in case.results],
        ("diagnosis", a): [condition for condition, _ in case.statuses],
        ("status", a): [f"{condition} {status}" for condition, status in case.statuses]
        + ([f"{problem.name} {case.qualifier}"] if case.qualifier else []),
        ("stop", p): case.stop,
        ("continue", p): case.keep,
        ("order", p): case.orders,
        ("referral", p): case.referrals,
        ("advice", p): case.advice,
        ("precaution", p): case.precautions,
        ("follow_up", p): [f"{case.follow_up[0]} {case.follow_up[1]}"] if case.follow_up else [],
    }
    facts |= {(kind, section, text) for (kind, section), texts in lists.items() for text in texts}
    for item in case.medicines:
        facts |= prescription_facts("medicine", s, item)
    for kind in ("start", "change"):
        for item in getattr(case, kind):
            facts |= prescription_facts(kind, p, item)
    return facts


def test_reading_the_note_gives_every_fact_of_the_case_and_nothing_else(spoken) -> None:
    for case, encounter in spoken:
        read = read_facts(encounter.note_text)
        assert {(fact.kind, fact.section, fact.text) for fact in read} == facts_of(case)
        assert [(f.kind, f.section, f.text, f.polarity, f.value) for f in read] == [
            (f.kind, f.section, f.text, f.polarity, f.value) for f in encounter.facts
        ]


def test_denied_is_absent_and_all_else_present(data) -> None:
    for encounter in data["train"]:
        for fact in encounter.facts:
            assert (fact.polarity == "absent") == (fact.kind == "denial")


def test_every_fact_has_existing_turns(data) -> None:
    for encounters in data.values():
        for encounter in encounters:
            for fact in encounter.facts:
                assert fact.turns, fact.kind
                assert all(0 <= turn < len(encounter.turns) for turn in fact.turns)
                assert all(earlier < later for earlier, later in pairwise(fact.turns)), fact.kind


@pytest.mark.parametrize("split", SPLITS)
def test_the_turns_of_a_fact_contain_its_words(data, split: str) -> None:
    kinds = VERBATIM | (LAY if split == "test_unseen" else set())
    topics = {topic for _, topic in NONE_LINES.values()}
    n = Counter()
    for encounter in data[split]:
        for fact in encounter.facts:
            spoken_text = " ".join(encounter.turns[turn].text.lower() for turn in fact.turns)
            if fact.kind in kinds and fact.text not in topics:
                n[fact.kind] += 1
                assert fact.text.lower() in spoken_text, (encounter.id, fact.kind)
            elif fact.kind == "allergy":
                assert fact.text.split(" causing ")[0].lower() in spoken_text, encounter.id
            elif fact.kind == "laterality":
                assert fact.value in spoken_text, encounter.id
    assert set(n) == kinds
    assert sum(n.values()) > 2000


@pytest.mark.parametrize("split", SPLITS)
def test_the_turns_of_a_fact_contain_its_number_in_digits_or_words(data, split: str) -> None:
    n = 0
    for encounter in data[split]:
        for fact in encounter.facts:
            if fact.kind not in NUMBERED:
                continue
            spoken_text = " ".join(encounter.turns[turn].text.lower() for turn in fact.turns)
            value = fact.value.removesuffix("/10") if fact.kind == "severity" else fact.value
            for number in re.findall(r"(?<![a-z0-9.])\d+(?:\.\d+)?(?![a-z0-9])", value):
                n += 1
                digits = re.search(rf"(?<![\d.]){re.escape(number)}(?!\.?\d)", spoken_text)
                assert digits or in_words(number) in spoken_text, (encounter.id, fact.kind, number)
    assert n > 1000


def in_words(number: str) -> str:
    whole, _, decimals = number.partition(".")
    spoken = [num2words(int(whole))]
    spoken += ["point", *(num2words(int(digit)) for digit in decimals)] if decimals else []
    return " ".join(spoken)


def test_topics_that_were_not_discussed_are_absent(spoken) -> None:
    prefixes = {
        "conditions": "Past medical history:",
        "surgeries": "Past surgical history:",
        "medicines": "Medications:",
        "allergies": "Allergies:",
        "family": "Family history:",
    }
    n_open = 0
    for case, encounter in spoken:
        for topic, prefix in prefixes.items():
            if getattr(case, topic) or topic in case.denied_topics:
                continue
            n_open += 1
            assert prefix not in encounter.note_text
            assert NONE_LINES[topic][0] not in encounter.note_text
        assert ("Vitals:" in encounter.note_text) == bool(case.vitals)
    assert n_open > 200


def test_a_question_without_an_answer_does_not_reach_the_note(spoken) -> None:
    questions, kinds = load_bank()["doctor"], {"allergies": "allergy", "surgeries": "surgery"}
    kinds |= {"family": "family", "severity": "severity", "worse": "worse", "better": "better"}
    n = 0
    for case, encounter in spoken:
        spoken_text = " ".join(
            turn.text.lower() for turn in encounter.turns if turn.speaker == "doctor"
        )
        stated = {fact.kind for fact in encounter.facts}
        for topic, kind in kinds.items():
            asked = any(question.lower() in spoken_text for question in questions[f"ask_{topic}"])
            if asked and not getattr(case, topic) and topic not in case.denied_topics:
                n += 1
                assert kind not in stated
    assert n > 20


def test_a_medicine_that_somebody_else_takes_does_not_reach_the_note(book, spoken) -> None:
    n = 0
    for case, encounter in spoken:
        words = set(re.findall(r"[a-z]+", " ".join(turn.text.lower() for turn in encounter.turns)))
        named = {name for name in book.medicines if name in words}
        own = {item.name for item in (*case.medicines, *case.start)}
        # Allergens, advice and results may name a medicine too; the rest is somebody else's.
        listed = " ".join(fact.text for fact in encounter.facts if fact.kind not in TAKEN)
        strangers = {name for name in named - own if name not in listed}
        n += len(strangers)
        assert not any(re.search(rf"\b{name}\b", encounter.note_text) for name in strangers)
        assert {fact.text for fact in encounter.facts if fact.kind in TAKEN} == own
    assert n > 20


def test_the_source_of_a_fact_decides_its_section(data) -> None:
    sections = {kind: name for name, lists in LISTS.items() for kind in lists.values()}
    sections |= {"diagnosis": "assessment", "status": "assessment", "severity": "subjective"}
    for encounter in data["train"]:
        for fact in encounter.facts:
            if fact.kind in sections:
                assert fact.section == sections[fact.kind]
            if fact.section in ("objective", "assessment"):
                assert {encounter.turns[turn].speaker for turn in fact.turns} == {"doctor"}


@pytest.mark.parametrize(
    "kind",
    ["symptom", "denial", "condition", "medicine", "family", "social", "vital", "exam", "result"]
    + ["start", "order", "advice", "precaution"],
)
def test_a_list_of_the_note_is_in_the_order_of_mention(data, kind: str) -> None:
    n_lists = 0
    for encounter in data["train"]:
        mentions = [
            (fact.kind, fact.turns[0])
            for fact in encounter.facts
            if fact.kind == kind and fact.text not in {topic for _, topic in NONE_LINES.values()}
        ]
        n_lists += len(mentions) > 1
        assert mentions == sorted(mentions)
    assert n_lists > 5


def test_dialogues_have_12_to_60_turns_that_change_speaker(data) -> None:
    for encounters in data.values():
        for encounter in encounters:
            assert MIN_TURNS == 12 <= len(encounter.turns) <= 60 == MAX_TURNS
            assert encounter.turns[0].speaker == "doctor"
            assert {turn.speaker for turn in encounter.turns} <= {"doctor", "patient", "relative"}
            assert all(a.speaker != b.speaker for a, b in pairwise(encounter.turns))
            assert all(turn.text.strip() and "{" not in turn.text for turn in encounter.turns)


def test_held_out_problems_and_medicines_are_never_trained_on(book, data) -> None:
    held = {problem.name for problem in book.problems if problem.held_out}
    held_medicines = {medicine.name for medicine in book.medicines.values() if medicine.held_out}
    for split, encounters in data.items():
        unseen = split == "test_unseen"
        for encounter in encounters:
            assert (encounter.meta["problem"] in held) == unseen
            taken = {fact.text for fact in encounter.facts if fact.kind in TAKEN}
            assert taken <= held_medicines if unseen else not taken & held_medicines
            if not unseen:
                words = f"{encounter.dialogue_text} {encounter.note_text}".lower()
                assert not any(re.search(rf"\b{name}\b", words) for name in held_medicines), (
                    encounter.id
                )
                history = [
                    f for f in encounter.facts if f.kind in ("diagnosis", "condition", "family")
                ]
                assert not any(name in fact.text for name in held for fact in history), encounter.id


def plain_phrases(unseen: bool) -> set[str]:
    """Phrasings without slots of at least four words, from the seen or unseen part of all lists."""
    lists = [options for who in ("doctor", "patient") for options in load_bank()[who].values()]
    lists += [load_casebook().common[key] for key in ("distractors", "doctor_distractors")]
    result = {phrase.lower() for options in lists for phrase in phrasings(options, unseen=unseen)}
    return {phrase for phrase in result if "{" not in phrase and len(phrase.split()) >= 4}


def test_phrasings_of_test_unseen_are_never_trained_on(data) -> None:
    trained, unseen = plain_phrases(unseen=False), plain_phrases(unseen=True)
    unseen = {phrase for phrase in unseen if not any(phrase in other for other in trained)}
    assert len(unseen) > 40
    text = {
        split: "\n".join(turn.text.lower() for encounter in encounters for turn in encounter.turns)
        for split, encounters in data.items()
    }
    for split in ("train", "valid", "test"):
        assert [phrase for phrase in unseen if phrase in text[split]] == []
    assert sum(phrase in text["test_unseen"] for phrase in unseen) > len(unseen) / 2
    assert sum(phrase in text["train"] for phrase in trained) > len(trained) / 2


def test_a_list_of_phrasings_is_split_without_overlap() -> None:
    for who in ("doctor", "patient"):
        for key, options in load_bank()[who].items():
            seen, unseen = (phrasings(options, unseen=side) for side in (False, True))
            assert len(set(options)) == len(options), key
            assert set(seen) | set(unseen) == set(options), key
            assert len(options) < 4 or not set(seen) & set(unseen), key


def test_seed_and_number_decide_the_encounter() -> None:
    five, three = (list(generate(n, seed=3, split="valid")) for n in (5, 3))
    assert five[:3] == three
    assert list(generate(3, seed=4, split="valid")) != three
    assert [encounter.id for encounter in three] == [f"valid-3-{number:06d}" for number in range(3)]


def test_an_unknown_split_is_refused() -> None:
    for draw in (generate, generate_tests):
        with pytest.raises(ValueError, match="expected a split of .*got 'dev'"):
            draw(1, seed=0, split="dev")


@pytest.mark.parametrize("split", TEST_SPLITS)
def test_only_generate_tests_draws_a_test_split(split: str, book: Casebook) -> None:
    with pytest.raises(ValueError, match="drawn for 01_data alone"):
        generate(1, seed=0, split=split)
    with pytest.raises(ValueError, match="drawn for 01_data alone"):
        generate_one(0, seed=0, split=split, sampler=CaseSampler(book))
    assert next(generate_tests(1, seed=0, split=split)).split == split


@pytest.mark.parametrize("split", OPEN_SPLITS)
def test_generate_tests_draws_nothing_else(split: str) -> None:
    with pytest.raises(ValueError, match=f"got '{split}'"):
        generate_tests(1, seed=0, split=split)


def users_of(names: set[str]) -> dict[str, set[str]]:
    """The modules and notebooks whose code uses one of the names, and which names."""
    files = [*(ROOT / "medisum_utils").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    result = {}
    for path in files:
        words = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words |= {getattr(node, key, None) for key in ("id", "attr", "name")}  # alias: name
        if used := names & words:
            result[path.relative_to(ROOT).as_posix()] = used
    return result


def test_only_01_uses_the_test_splits_of_the_generator() -> None:
    """Trials or tuning that drew a test split would see what 04 scores."""
    maker = "medisum_utils/synthesis/encounters.py"
    drawers = set(users_of({"generate_tests", "_make_all", "_make"}))
    assert drawers == {maker, "medisum_utils/data/sources.py"}
    loaders = users_of({"load_source", "synthetic"})
    assert set(loaders) == {"medisum_utils/data/sources.py", "notebooks/01_data.py"}


@pytest.mark.slow
def test_ten_thousand_encounters_take_less_than_a_minute() -> None:
    list(generate(5, seed=0, split="train"))  # reads the word lists
    started = time.process_time()
    assert len(list(generate(500, seed=8, split="train"))) == 500
    assert time.process_time() - started < 60 * 500 / 10_000


def test_a_relative_answers_in_the_third_person(data) -> None:
    children = [
        encounter
        for encounter in data["train"]
        if any(f.text in ("girl", "boy") for f in encounter.facts)
    ]
    assert children
    for encounter in children:
        assert {turn.speaker for turn in encounter.turns} >= {"doctor", "relative"}
