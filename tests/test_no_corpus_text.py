"""No file of this repository holds text of a real corpus: they are all searched for it."""

from __future__ import annotations

import base64
import html
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_text import N_ACROSS, N_WITHIN, CorpusText, RunIndex, readings, words_of

from medisum_utils.data.corpora import iter_medquad_answers
from medisum_utils.synthesis.encounters import generate


@pytest.fixture(scope="module")
def corpus(corpora: Path) -> CorpusText:
    return CorpusText()


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """What is committed or could be, so that text is found before it is committed."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"needs a checkout by git: {listed.stderr.strip()}")
    paths = [root / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.corpus
@pytest.mark.slow
def test_no_file_holds_text_of_a_corpus(corpus: CorpusText, files: list[Path], root: Path) -> None:
    names = {path.relative_to(root).as_posix() for path in files}
    assert {"README.md", "reports/tiny/04_eval.html", "notebooks/01_data.ipynb"} <= names
    counts = {path.relative_to(root).as_posix(): corpus.count_in(path) for path in files}
    assert {name: n for name, n in counts.items() if n} == {}, "runs of words, by file"


@pytest.mark.corpus
@pytest.mark.slow
def test_generated_encounters_share_no_run_by_chance(corpus: CorpusText) -> None:
    generated = generate(100, seed=29, split="valid")
    texts = [text for each in generated for text in (each.dialogue_text, each.note_text)]
    assert sum(len(words_of(text)) for text in texts) > 40_000
    assert [corpus.count(text) for text in texts if corpus.count(text)] == []


# --- what is planted is found --------------------------------------------------------------------


def in_report(text: str) -> str:
    """A line with each word in tags and one torn by them, as the tables of a report have it."""
    words = [f"<b>{html.escape(word[:1])}</b>{html.escape(word[1:])}" for word in text.split()]
    return f"<html><body><p>So: {' '.join(words)}</p></body></html>"


FORMS: dict[str, Callable[[str], str]] = {
    "a.md": lambda text: f"# Title\n\n> {text.upper()}\n",
    "b.html": in_report,
    "c.json": lambda text: json.dumps({"note": f"Here:\n{text}\nEnd."}),
    "d.py": lambda text: f"TEXT = {text!r}\n",
    "e.csv": lambda text: '1,"' + text.replace('"', '""') + '"\n',
    "f.ipynb": lambda text: json.dumps({"cells": [{"source": [f"{text}\n", "# more"]}]}, indent=1),
}


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("source", ["aci-bench", "mts-dialog", "primock57"])
def test_a_planted_line_is_found(
    corpus: CorpusText, tmp_path: Path, name: str, source: str
) -> None:
    encounters = [each for each in corpus.encounters if each.source == source]
    lengths = range(N_WITHIN + 2, N_WITHIN + 12)  # short, so that a single line is enough
    for part in ("turns", "note"):
        texts = [each.text for encounter in encounters for each in getattr(encounter, part)]
        lines = [line.strip() for text in texts for line in text.splitlines()]
        planted = next(line for line in lines if len(words_of(line)) in lengths)
        path = tmp_path / name
        path.write_text(FORMS[name](planted), encoding="utf-8")
        assert corpus.count_in(path) > 0, f"{part} of {source} in {name}"


@pytest.mark.corpus
@pytest.mark.slow
def test_an_answer_of_medquad_is_found(corpus: CorpusText, tmp_path: Path) -> None:
    answer = next(each for each in iter_medquad_answers() if len(words_of(each)) > N_WITHIN)
    (tmp_path / "a.html").write_text(in_report(answer), encoding="utf-8")
    assert corpus.count_in(tmp_path / "a.html") > 0


@pytest.mark.corpus
@pytest.mark.slow
def test_a_dialogue_of_short_turns_is_found(corpus: CorpusText, tmp_path: Path) -> None:
    def longest(encounter) -> int:
        return max(len(words_of(turn.text)) for turn in encounter.turns)

    short = [each for each in corpus.encounters if longest(each) < N_WITHIN]
    assert len(short) > 20
    for number, encounter in enumerate(short):
        if len(words_of(encounter.dialogue_text)) >= N_ACROSS:
            path = tmp_path / f"{number}.md"
            path.write_text(encounter.dialogue_text, encoding="utf-8")
            assert corpus.count_in(path) > 0, encounter.id


# --- how it reads --------------------------------------------------------------------------------


def test_a_run_is_found_at_its_place_alone() -> None:
    index = RunIndex(["one two three four", "five"], 3)
    assert index.count("One, two: THREE") == 1
    assert index.count("zero one two three four") == 2
    assert index.count("two three five") == 0  # known words, in another order
    assert index.count("three two one") == 0
    assert index.count("one two") == 0


def test_pictures_and_files_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    picture = base64.b64encode(bytes(range(256)) * 2).decode()
    page = tmp_path / "a.html"
    page.write_text(f'<p>Before <img src="data:image/png;base64,{picture}"> after</p>')
    assert [words_of(text) for text in readings(page)] == [["before", "after"]] * 2
    (tmp_path / "b.png").write_bytes(b"\x89PNG\xff\xfe")
    assert readings(tmp_path / "b.png") == []
