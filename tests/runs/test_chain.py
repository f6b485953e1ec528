"""The chain of evidence: a step runs only on what the step before it wrote, and replaces nothing
before it has finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from medisum_utils import runs
from medisum_utils.runs import chain

PROFILE = "p"


def make(name: str, reads: list[Path], writes: dict[Path, str], base: str = "") -> dict:
    """A step of the profile from beginning to end."""
    step = runs.start(name, PROFILE, {}, reads)
    if base:
        step.read_base("models/base", base)
    for path, text in writes.items():
        step.stage(path).write_text(text)
    return step.finish()


@pytest.fixture
def files(project: Path) -> dict[str, Path]:
    data, models = runs.processed_dir(PROFILE), runs.adapter_dir(PROFILE)
    return {
        "own": project / "visits.csv",
        "train": data / "train.jsonl",
        "test": data / "test.jsonl",
        "rendered": data / "rendered" / "train.jsonl",
        "adapter": models / "adapter_model.safetensors",
        "metrics": runs.report_dir(PROFILE) / "metrics.json",
    }


@pytest.fixture
def whole(files: dict[str, Path]) -> dict[str, Path]:
    """Four steps that follow from each other."""
    files["own"].write_text("dialogue,note")
    data(files, "17")
    formatted(files)
    trained(files, "base A")
    evaluated(files, "base A")
    return files


def data(files: dict[str, Path], seed: str, test: str = "test") -> None:
    writes = {files["train"]: f"train {seed}", files["test"]: f"{test} {seed}"}
    make("01_data", [files["own"]], writes)


def formatted(files: dict[str, Path]) -> None:
    make("02_format", [files["train"]], {files["rendered"]: f"ids of {files['train'].read_text()}"})


def trained(files: dict[str, Path], base: str) -> None:
    weights = f"adapter of {files['rendered'].read_text()}"
    make("03_qlora_train", [files["rendered"]], {files["adapter"]: weights}, base)


def evaluated(files: dict[str, Path], base: str) -> None:
    reads = [files["train"], files["test"], files["adapter"]]
    make("04_eval", reads, {files["metrics"]: "{}"}, base)


def test_a_whole_run_follows_from_itself_and_so_does_a_second_one(whole):
    assert chain.stale_steps(runs.read_manifest(PROFILE)["steps"]) == []
    evaluated(whole, "base A")
    data(whole, "17")
    evaluated(whole, "base A")  # the same data made again are the same data


def test_an_adapter_of_older_data_is_not_scored(whole):
    data(whole, "18")
    with pytest.raises(chain.BrokenChain, match=r"02_format read another .*train\.jsonl") as caught:
        evaluated(whole, "base A")
    assert "--profile p --from 02_format" in str(caught.value)
    steps = runs.read_manifest(PROFILE)["steps"]
    assert chain.stale_steps(steps) == ["02_format", "03_qlora_train", "04_eval"]
    formatted(whole)
    with pytest.raises(chain.BrokenChain, match="03_qlora_train read another") as caught:
        evaluated(whole, "base A")
    assert caught.value.again_from == "03_qlora_train"
    trained(whole, "base A")
    evaluated(whole, "base A")
    assert chain.stale_steps(runs.read_manifest(PROFILE)["steps"]) == []


def test_tests_made_anew_need_no_new_training(whole):
    data(whole, "17", test="more tests")
    assert chain.stale_steps(runs.read_manifest(PROFILE)["steps"]) == ["04_eval"]
    evaluated(whole, "base A")


@pytest.mark.parametrize(
    ("name", "again_from"),
    [("train", "01_data"), ("test", "01_data"), ("adapter", "03_qlora_train")],
)
def test_an_edited_file_is_noticed(whole, name, again_from):
    whole[name].write_text(whole[name].read_text()[:-1])
    with pytest.raises(chain.BrokenChain, match="is not the one that") as caught:
        evaluated(whole, "base A")
    assert caught.value.again_from == again_from


def test_another_base_under_the_same_name_is_noticed(whole):
    with pytest.raises(chain.BrokenChain, match="base model models/base is not the one"):
        evaluated(whole, "noise")


def test_a_file_that_no_completed_step_wrote_is_refused(whole):
    (runs.report_dir(PROFILE) / "run.json").unlink()
    with pytest.raises(chain.BrokenChain, match="no completed step") as caught:
        evaluated(whole, "base A")
    assert caught.value.again_from == "01_data"


def test_a_step_that_breaks_off_leaves_every_byte_as_it_was(whole, project):
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    step = runs.start("01_data", PROFILE, {}, [whole["own"]])
    step.stage(whole["train"]).write_text("half a spl")
    with pytest.raises(ValueError, match="JSON"):
        step.finish(score=float("nan"))
    assert {p: p.read_bytes() for p in before} == before
    data(whole, "17")  # the next run throws the half away
    after = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    del before[runs.report_dir(PROFILE) / "run.json"], after[runs.report_dir(PROFILE) / "run.json"]
    assert after == before


def test_nothing_is_replaced_where_a_staged_file_was_never_written(whole):
    step = runs.start("01_data", PROFILE, {}, [whole["own"]])
    step.stage(whole["train"]).write_text("new")
    step.stage(whole["test"])
    with pytest.raises(FileNotFoundError, match=r"test\.jsonl"):
        step.finish()
    assert whole["train"].read_text() == "train 17"


def test_files_of_an_earlier_run_go_when_the_step_has_finished(whole):
    step = runs.start("01_data", PROFILE, {}, [whole["own"]])
    step.stage(whole["train"]).write_text("train 17")
    assert whole["test"].exists()
    step.finish(obsolete=[whole["test"]])
    assert not whole["test"].exists()
    assert not list(whole["train"].parent.glob(".*"))


def test_a_manifest_shows_no_folder_of_this_machine(project, whole):
    step = runs.start(
        "02_format", PROFILE, {"source": "/home/someone/visits.csv"}, [whole["train"]]
    )
    assert step.parameters == {"source": "visits.csv"}


def test_an_entry_made_outside_the_runner_takes_its_totals_away(whole):
    manifest = runs.read_manifest(PROFILE)
    runs.write_manifest(PROFILE, {**manifest, "complete": True, "finished": "then", "seconds": 1})
    evaluated(whole, "base A")  # as "Run All" in JupyterLab does
    assert set(runs.read_manifest(PROFILE)) == {"profile", "steps"}


def test_text_that_may_no_longer_be_shown_leaves_the_reports(project):
    privacy = runs.processed_dir(PROFILE) / runs.PRIVACY_FILE
    reports = runs.report_dir(PROFILE)
    reports.mkdir(parents=True)
    for name in ("01_data.html", "02_format.html", "04_eval.ipynb", "metrics.json"):
        (reports / name).write_text("text")
    assert runs.reports_with_text(PROFILE) == []  # nothing says that they hold any
    runs.write_json(privacy, {"show_text": False})
    assert runs.reports_with_text(PROFILE) == []
    runs.write_json(privacy, {"show_text": True})
    names = {each.name for each in runs.reports_with_text(PROFILE)}
    assert names == {"02_format.html", "04_eval.ipynb"}
    privacy.write_text('{"show_text": "no"}')
    with pytest.raises(ValueError, match="show_text"):
        runs.text_is_shown(PROFILE)
