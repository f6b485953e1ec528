"""The page warns when the served model has read generated talk alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from medisum_utils import runs
from medisum_utils.data.sources import ACI, BOTH, SYNTHETIC, report_name
from medisum_utils.serving.app import STATIC, create_app
from medisum_utils.serving.engine import Engine
from medisum_utils.serving.remarks import ONLY_GENERATED, data_remark

ROOT = Path(__file__).resolve().parents[2]


def leave(source: str) -> None:
    """The manifest of a run whose 01 read this source, as that notebook names it."""
    steps = {"01_data": {"source": report_name(source)}}
    runs.write_manifest("some", {"profile": "some", "steps": steps})


def test_generated_data_are_remarked_upon(project: Path) -> None:
    leave(SYNTHETIC)
    assert data_remark("some") == ONLY_GENERATED


@pytest.mark.parametrize("source", [ACI, BOTH, "visits.csv"])
def test_other_data_are_not(project: Path, source: str) -> None:
    leave(source)
    assert data_remark("some") == ""


def test_a_profile_without_a_run_has_no_remark(project: Path) -> None:
    assert data_remark("never-run") == ""


def test_the_committed_run_of_tiny_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISUM_HOME", str(ROOT))
    assert data_remark("tiny") == ONLY_GENERATED


@pytest.mark.parametrize("remark", ["", ONLY_GENERATED])
def test_health_says_it_even_without_a_model(remark: str) -> None:
    def load():
        raise FileNotFoundError("no adapter here")

    with TestClient(create_app(Engine(load), remark=remark)) as client:
        assert client.get("/health").json()["remark"] == remark


def test_the_page_has_a_place_for_it_and_fills_it_from_health() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    (place,) = re.findall(r'<p id="remark"[^>]*>', page)
    assert 'class="warning"' in place
    assert 'role="status"' in place  # read aloud when it appears
    assert place.endswith("hidden>")
    script = (STATIC / "demo.js").read_text(encoding="utf-8")
    assert 'byId("remark").textContent = health.remark;' in script
    assert 'byId("remark").hidden = !health.remark;' in script


def test_the_page_needs_every_place_that_its_script_fills() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    script = (STATIC / "demo.js").read_text(encoding="utf-8")
    asked_for = set(re.findall(r'byId\("([\w-]+)"\)', script))
    assert "remark" in asked_for
    assert asked_for <= set(re.findall(r'id="([\w-]+)"', page))
