"""The README's numbers are those of the committed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medisum_utils import readme

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "reports" / "tiny"


def committed() -> tuple[str, dict, dict]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((REPORTS / "metrics.json").read_text(encoding="utf-8"))
    manifest = json.loads((REPORTS / "run.json").read_text(encoding="utf-8"))
    return text, metrics, manifest


def test_the_readme_says_what_the_committed_run_measured() -> None:
    text, metrics, manifest = committed()
    assert readme.filled(text, metrics, manifest) == text


def test_another_score_would_show() -> None:
    text, metrics, manifest = committed()
    metrics["splits"]["test"]["systems"]["finetuned"]["rouge1"]["mean"] += 0.01
    assert readme.filled(text, metrics, manifest) != text


def test_a_readme_without_marks_is_refused() -> None:
    _, metrics, manifest = committed()
    with pytest.raises(ValueError, match="results"):
        readme.filled("no marks", metrics, manifest)


def test_the_readme_has_the_promised_length() -> None:
    text, *_ = committed()
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert 600 <= len(" ".join(prose).split()) <= 900
