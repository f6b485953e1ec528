"""The README's figures are those of the published record, and that is of a committed run."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path

import pytest

from medisum_utils import runs
from medisum_utils.runs import readme

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "reports" / "published.json"


def published() -> tuple[str, dict]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text, json.loads(RECORD.read_text(encoding="utf-8"))


def test_what_it_says_of_mts_dialog_is_what_the_committed_run_measured() -> None:
    """On the official tasks: the header is predicted on test 1 and given on test 2."""
    splits = json.loads((ROOT / "reports/mts/metrics.json").read_text(encoding="utf-8"))["splits"]
    rouge = [splits[name]["systems"]["finetuned"]["rouge1"] for name in ("test1", "test2_named")]
    first, second = (f"{100 * each['mean']:.1f}" for each in rouge)
    said = " ".join(published()[0].split())
    assert f"reaches ROUGE-1 {first} and {second} on [MTS-Dialog's tests]" in said


def score(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def scores(n: int, mean: float, facts: float | None) -> dict:
    """A system's scores with one ROUGE and one fact score, both as README reads them."""
    found = None if facts is None else {"f1": score(facts), "hallucination": score(1 - facts)}
    rouge = {name: score(mean) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")}
    return {"n": n, **rouge, "facts": found}


def metrics(n_base: int = 5) -> dict:
    """What 04 writes of two splits of ten encounters, of which the base wrote some."""

    def split() -> dict:
        def systems(n: int, base: int) -> dict:
            means = {"copy": (0.2, None), "nearest": (0.4, 0.2), "base": (0.31, 0.1)}
            means |= {"finetuned": (0.9, 0.8)}
            return {
                name: scores(base if name == "base" else n, *both) for name, both in means.items()
            }

        entry = {"n": 10, "facts_by": "record", "systems": systems(10, n_base)}
        rates = {"dose": {"n": 7, "f1": score(0.6)}, "plan": {"n": 9, "f1": score(0.7)}}
        entry["systems"]["finetuned"]["kinds"] = rates | {"other": {"n": 0, "f1": score(0.0)}}
        if n_base < 10:
            entry["same_encounters"] = {"n": n_base, "systems": systems(n_base, n_base)}
        return entry

    return {"splits": {name: split() for name in ("test", "test_unseen")}}


def manifest() -> dict:
    steps = ("01_data", "02_format", "03_qlora_train", "04_eval", "05_serve")
    machine = {"cpu": "A Processor", "n_cores": 2, "memory_gib": 8.0, "device": "cpu"}
    return {
        "profile": "tiny",
        "complete": True,
        "seconds": 480.0,
        "peak_memory_gib": 2.04,
        "finished": "2026-01-02T03:04:05+00:00",
        "machine": {**machine, "system": "Linux"},
        "steps": {name: {"seconds": 66.0, "git_commit": "abcdef0123"} for name in steps},
    }


def record(n_base: int = 5) -> dict:
    return {"tiny": readme.profile_record(metrics(n_base), manifest())}


# --- what is committed ---------------------------------------------------------------------------


def test_the_readme_says_what_the_record_says() -> None:
    text, held = published()
    assert readme.filled(text, held) == text, "run `make readme`"


def test_the_record_is_of_the_committed_run() -> None:
    """Of the one in git's HEAD, whatever a user has run since; or of one about to be committed."""
    _, held = published()
    folder = f"reports/{readme.DEFAULT}"
    command = ["git", "-C", str(ROOT), "show", f"HEAD:{folder}/"]
    read = [
        subprocess.run([*command[:-1], command[-1] + name], capture_output=True, text=True)
        for name in ("metrics.json", "run.json")
    ]
    if any(result.returncode for result in read):
        pytest.skip(f"needs git's history with {folder}: {read[0].stderr.strip()}")
    committed = [json.loads(result.stdout) for result in read]
    here = [
        json.loads((ROOT / folder / name).read_text(encoding="utf-8"))
        for name in ("metrics.json", "run.json")
        if (ROOT / folder / name).exists()
    ]
    accepted = [readme.profile_record(*committed)]
    if len(here) == 2 and here[1].get("complete"):
        accepted.append(readme.profile_record(*here))
    assert held == {readme.DEFAULT: held[readme.DEFAULT]}
    assert held[readme.DEFAULT] in accepted, "run `make readme`"


def test_the_readme_has_the_promised_length() -> None:
    text, _ = published()
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert 600 <= len(" ".join(prose).split()) <= 900


def test_no_figure_of_the_results_is_typed_by_hand() -> None:
    text, _ = published()
    section = text[text.index("## Results") : text.index("## Two commands")]
    by_hand = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", section, flags=re.DOTALL)
    # F1 and ROUGE-1 are names; 95% is how wide the intervals are
    assert re.findall(r"\d[\d.]*", by_hand.replace("F1", "").replace("95%", "")) == []


def test_the_readme_says_what_a_run_rewrites() -> None:
    text, _ = published()
    for rewritten in ("reports/tiny/", "reports/index.html", "data/processed/tiny/"):
        assert f"`{rewritten}`" in text
    assert "`git checkout reports`" in text


def test_every_link_and_picture_of_the_readme_is_there() -> None:
    text, _ = published()
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert missing == []
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert len(pictures) == 1
    for description, target in pictures:
        assert len(description.split()) > 10, "a picture needs a text for those who cannot see it"
        assert target.startswith(f"reports/{readme.DEFAULT}/figures/")


def test_the_tree_of_the_readme_names_every_room() -> None:
    text, _ = published()
    block = text[text.index("## The tree") : text.index("## Base models")]
    named = set(re.findall(r"^  (\w+)/ ", block, re.MULTILINE))
    package = ROOT / "medisum_utils"
    assert named == {door.parent.name for door in package.glob("*/__init__.py")}


def test_the_readme_names_every_notebook() -> None:
    text, _ = published()
    named = re.findall(r"^\| `(\d\d_\w+)` \|", text, re.MULTILINE)
    assert named == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


# --- how it is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    ("tiny", "splits", "test", "systems", "finetuned", "rouge1", "mean"),
    ("tiny", "splits", "test_unseen", "systems", "nearest", "facts", "f1", "mean"),
    ("tiny", "splits", "test", "weakest_kind", "f1"),
    ("tiny", "step_seconds", "03_qlora_train"),
    ("tiny", "peak_memory_gib"),
])  # fmt: skip
def test_a_changed_record_shows(path: tuple[str, ...]) -> None:
    text, held = published()
    changed = copy.deepcopy(held)
    *parents, last = path
    place = changed
    for name in parents:
        place = place[name]
    place[last] = place[last] * 1.3 + 0.01
    assert readme.filled(text, changed) != text


def leave(found: dict) -> None:
    """Metrics and manifest of a complete run, in their places."""
    path = runs.write_json(runs.report_dir("tiny") / "metrics.json", found)
    content = manifest()
    content["steps"]["04_eval"]["outputs"] = {runs.shown_path(path): runs.sha256_file(path)}
    runs.write_manifest("tiny", content)


def test_a_run_changes_the_readme_only_through_the_command(project: Path) -> None:
    text, _ = published()
    (project / "README.md").write_text(text, encoding="utf-8")
    leave(metrics())
    readme.main()
    held = json.loads((project / "reports" / "published.json").read_text(encoding="utf-8"))
    assert held == record()
    written = (project / "README.md").read_text(encoding="utf-8")
    assert written == readme.filled(written, held) != text
    # another run, and nobody published it
    found = metrics()
    found["splits"]["test"]["systems"]["finetuned"]["rouge1"] = score(0.5)
    leave(found)
    assert readme.filled(written, held) == written
    readme.main()
    assert (project / "README.md").read_text(encoding="utf-8") != written


def test_a_run_that_lacks_a_step_is_not_published(project: Path) -> None:
    broken = manifest() | {"complete": False}
    with pytest.raises(ValueError, match="expected a complete run of tiny, got the steps 01_data"):
        readme.profile_record(metrics(), broken)
    with pytest.raises(FileNotFoundError, match="04_eval"):
        readme.main()
    assert not readme.record_path().exists()


def table_rows(record: dict) -> list[str]:
    """The rows of the only table of the results."""
    (table,) = re.findall(r"(?:^\|.*\n?)+", readme.results_part(record), re.MULTILINE)
    return table.splitlines()[2:]


def test_the_base_stands_beside_the_fine_tuned_model_on_the_same_encounters_alone() -> None:
    rows = [tuple(row.split(" | ")[:2]) for row in table_rows(record())]
    expected = [
        (f"| `{split}` (n = 10)", system)
        for split in ("test", "test_unseen")
        for system in ("dialogue copied", "nearest training note", "fine-tuned")
    ]
    expected += [
        (f"| `{split}`, first 5", system)
        for split in ("test", "test_unseen")
        for system in ("base without adapter", "fine-tuned")
    ]
    assert rows == expected


def test_a_base_that_wrote_all_notes_stands_among_all() -> None:
    rows = table_rows(record(n_base=10))
    assert len(rows) == 8
    assert sum("(n = 10) | base without adapter" in row for row in rows) == 2


def test_what_has_no_meaning_is_a_dash() -> None:
    rows = [row for row in table_rows(record()) if "dialogue copied" in row]
    assert len(rows) == 2
    assert all(row.endswith("| 20.0 (19.0 to 21.0) | – | – |") for row in rows)
    assert "A copied dialogue is not a note" in readme.results_part(record())


def test_the_findings_say_what_each_split_gave() -> None:
    held = record()
    facts = held["tiny"]["splits"]["test_unseen"]["systems"]["finetuned"]["facts"]
    facts |= {"f1": score(0.612), "hallucination": score(0.334)}
    text = readme.findings(held)
    assert "a fact F1 of 80.0 on `test` and 61.2 on `test_unseen`" in text
    assert "20.0% and 33.4% of a note's statements, respectively, are hallucinated" in text


def test_goals_are_met_or_missed_by_the_figures() -> None:
    held = record()
    assert "at most 2% hallucinated on `test` (missed: 20.0%)" in readme.findings(held)
    splits = held["tiny"]["splits"]
    splits["test"]["systems"]["finetuned"]["facts"]["hallucination"] = score(0.019)
    assert "at most 2% hallucinated on `test` (met: 1.9%)" in readme.findings(held)
    assert "a fact F1 of at least 75 on `test_unseen` (met: 80.0)" in readme.findings(held)
    splits["test_unseen"]["systems"]["finetuned"]["facts"]["f1"] = score(0.749)
    assert "a fact F1 of at least 75 on `test_unseen` (missed: 74.9)" in readme.findings(held)


def test_the_weakest_kind_has_facts() -> None:
    assert "weakest in *dose* on `test` (fact F1 60.0, 7 facts)" in readme.findings(record())


@pytest.mark.parametrize("name", ["results", "findings"])
def test_a_readme_without_marks_is_refused(name: str) -> None:
    text, held = published()
    with pytest.raises(ValueError, match=f"<!-- {name} -->"):
        readme.filled(text.replace(f"<!-- {name} -->", ""), held)
