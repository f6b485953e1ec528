"""All five notebooks with profile `smoke`, by the command line, from data to a running server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from offline import outside_addresses
from patience import run_until_silent

from medisum_utils.runs.attempt import assert_completed

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("01_data", "02_format", "03_qlora_train", "04_eval", "05_serve")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of a run in a project of its own that borrows notebooks and base."""
    project = tmp_path_factory.mktemp("smoke")
    for folder in ("models", "data"):
        (project / folder).mkdir()
    for borrowed in ("notebooks", "models/medisum-tiny-base", "data/visits"):
        (project / borrowed).symlink_to(ROOT / borrowed)
    result = run_until_silent(
        [sys.executable, "-m", "medisum_utils", "run", "--profile", "smoke"],
        env={**os.environ, "MEDISUM_HOME": str(project), "PYTHONPATH": str(ROOT)},
        cwd=project,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return project / "reports" / "smoke"


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_every_notebook_completes_and_its_report_is_closed(smoke: Path, step: str) -> None:
    assert_completed(nbformat.read(smoke / f"{step}.ipynb", as_version=4))
    html = (smoke / f"{step}.html").read_text(encoding="utf-8")
    assert outside_addresses(html) == []
    assert len(html.encode()) < 3_000_000


@pytest.mark.slow
def test_every_step_finds_what_the_step_before_wrote(smoke: Path) -> None:
    manifest = json.loads((smoke / "run.json").read_text())
    assert manifest["complete"] is True
    assert tuple(manifest["steps"]) == STEPS
    written: dict[str, str] = {}
    for step in STEPS:
        entry = manifest["steps"][step]
        for path in set(entry["inputs"]) & set(written):
            assert entry["inputs"][path] == written[path], f"{step} read another {path}"
        written |= entry["outputs"]
    for step in STEPS[1:]:
        assert set(manifest["steps"][step]["inputs"]) & set(written), f"{step} read nothing"


@pytest.mark.slow
def test_the_index_has_the_example_that_05_kept(smoke: Path) -> None:
    example = json.loads((smoke / "example.json").read_text())
    assert set(example) == {"id", "dialogue", "note"}
    assert example["dialogue"].startswith("Doctor:")
    outputs = json.loads((smoke / "run.json").read_text())["steps"]["05_serve"]["outputs"]
    assert "reports/smoke/example.json" in outputs


@pytest.mark.slow
def test_a_visit_typed_by_hand_stands_in_05_and_is_not_called_counted(smoke: Path) -> None:
    html = (smoke / "05_serve.html").read_text(encoding="utf-8")
    assert "Nobody has counted the facts in these 1 notes" in html
    assert "Visit 01: not counted" in html


@pytest.mark.slow
def test_the_scores_are_of_the_systems_that_were_run(smoke: Path) -> None:
    metrics = json.loads((smoke / "metrics.json").read_text())
    systems = metrics["splits"]["test"]["systems"]
    assert {"copy", "nearest", "base", "finetuned"} <= set(systems)
    for scores in systems.values():
        rouge = scores["rouge1"]
        assert 0 <= rouge["low"] <= rouge["mean"] <= rouge["high"] <= 1
