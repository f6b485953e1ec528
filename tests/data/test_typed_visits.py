"""The visits typed by hand: their form, that their facts are said, and whose text they are."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from corpus_text import N_WITHIN, CorpusText, RunIndex

from medisum_utils.data.typed_visits import FACTS_FILE, FOLDER, KINDS, TypedVisit, read_visits
from medisum_utils.synthesis.encounters import generate

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = [f"{number:02}" for number in range(1, 13)]


@pytest.fixture(scope="module")
def visits() -> list[TypedVisit]:
    return read_visits(ROOT / FOLDER)


def test_there_are_twelve_with_six_to_eight_facts_each(visits: list[TypedVisit]) -> None:
    assert [visit.number for visit in visits] == NUMBERS
    assert all(6 <= len(visit.facts) <= 8 for visit in visits)
    facts = [fact for visit in visits for fact in visit.facts]
    assert len({fact.fact for fact in facts}) > len(facts) - 5
    kinds = Counter(fact.kind for fact in facts)
    assert set(kinds) == set(KINDS)
    assert kinds["allergy"] >= 12  # one in every visit, "none" among them
    assert sum(bool(fact.dangerous_if) for fact in facts) > 0.9 * len(facts)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_visit_is_ten_to_twenty_plain_lines(number: str, visits: list[TypedVisit]) -> None:
    lines = (ROOT / FOLDER / f"{number}.txt").read_text(encoding="utf-8").splitlines()
    assert 10 <= len(lines) <= 20
    assert all(re.match(r"(Doctor|Patient): \S", line) for line in lines)
    visit = visits[NUMBERS.index(number)]
    assert visit.dialogue.splitlines() == lines  # a model reads it as it was typed
    assert visit.dialogue.isascii()


def test_some_have_vitals_and_results_and_some_have_none(visits: list[TypedVisit]) -> None:
    for kind in ("vital", "result"):
        n = sum(any(fact.kind == kind for fact in visit.facts) for visit in visits)
        assert 4 <= n <= 10, kind


def test_none_is_the_generators_text(visits: list[TypedVisit]) -> None:
    generated = generate(300, seed=17, split="train")
    texts = [turn.text for encounter in generated for turn in encounter.turns]
    index = RunIndex(texts, N_WITHIN)
    assert index.count(texts[0]) == max(0, len(re.findall(r"\w+", texts[0])) - N_WITHIN + 1)
    assert {visit.number: index.count(visit.dialogue) for visit in visits} == dict.fromkeys(
        NUMBERS, 0
    )


@pytest.mark.corpus
@pytest.mark.slow
def test_none_is_text_of_a_corpus(corpora: Path, visits: list[TypedVisit]) -> None:
    corpus = CorpusText()
    for visit in visits:
        said = " ".join(fact.fact for fact in visit.facts)
        assert corpus.count(f"{visit.dialogue}\n{said}") == 0, visit.number


def test_nothing_that_trains_or_chooses_reads_them() -> None:
    room = {"medisum_utils/data/__init__.py", "medisum_utils/data/typed_visits.py"}
    judging = ("medisum_utils/serving/", "notebooks/05_serve.py")
    sources = [*(ROOT / "medisum_utils").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if re.search(r"typed_visits|data/visits", path.read_text(encoding="utf-8"))
    }
    assert room <= readers
    assert {name for name in readers - room if not name.startswith(judging)} == set()


# --- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def copied(project: Path) -> Path:
    """The visits in a project apart."""
    return Path(shutil.copytree(ROOT / FOLDER, project / FOLDER))


def change(folder: Path, **changes: str) -> None:
    """Changes fields of the first fact."""
    path = folder / FACTS_FILE
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= changes
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_project_reads_its_own(copied: Path) -> None:
    change(copied, fact="Another fact")
    assert read_visits()[0].facts[0].fact == "Another fact"


@pytest.mark.parametrize(
    "changes",
    [{"visit": "13"}, {"kind": "rumour"}, {"fact": ""}],
    ids=["visit", "kind", "fact"],
)
def test_a_fact_of_no_visit_or_kind_is_named(copied: Path, changes: dict[str, str]) -> None:
    change(copied, **changes)
    with pytest.raises(ValueError, match=r"^facts\.csv, line 2: expected a fact of a visit"):
        read_visits()


@pytest.mark.parametrize("said", ["", "penicillin G quixby", "Penicillin|quixby"])
def test_words_that_nobody_said_are_refused_without_showing_them(copied: Path, said: str) -> None:
    change(copied, said=said)
    with pytest.raises(ValueError, match=r"^facts\.csv, line 2: expected `said`") as refused:
        read_visits()
    assert "quixby" not in str(refused.value)


def test_another_form_is_refused(copied: Path) -> None:
    path = copied / FACTS_FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("dangerous_if", "danger", 1), encoding="utf-8")
    with pytest.raises(ValueError, match="expected the columns visit, fact, kind, dangerous_if"):
        read_visits()
    path.write_text(text + "01,too,few\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected 5 fields"):
        read_visits()
    (copied / "13.txt").write_text("Doctor: Hello.\nPatient: Hi.\n", encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected facts of every visit, got none of \['13'\]"):
        read_visits()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="git checkout data/visits"):
        read_visits()
