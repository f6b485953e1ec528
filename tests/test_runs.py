"""Paths, manifests, seeds and checks of the machine."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medisum_utils import figures, machine, runs, watch


def test_paths_lie_under_the_project(project: Path) -> None:
    assert runs.processed_dir("p") == project / "data" / "processed" / "p"
    assert runs.adapter_dir("p") == project / "models" / "p"
    assert runs.report_dir("p") == project / "reports" / "p"
    assert runs.resolve("models/x") == project / "models" / "x"
    assert runs.resolve("/elsewhere/x") == Path("/elsewhere/x")


def test_a_missing_file_names_the_notebook_that_makes_it(project: Path) -> None:
    path = runs.processed_dir("p") / "train.jsonl"
    with pytest.raises(
        FileNotFoundError, match=r"data/processed/p/train\.jsonl.*01_data"
    ) as caught:
        runs.require(path, "01_data", "p")
    assert "--profile p --from 01_data" in str(caught.value)
    path.parent.mkdir(parents=True)
    path.touch()
    assert runs.require(path, "01_data", "p") == path


def test_the_manifest_is_written_last_and_an_entry_means_completed(project: Path) -> None:
    source, result = project / "in.txt", project / "out.txt"
    source.write_text("in")
    step = runs.start("01_data", "p", {"n": 3, "rate": 0.5}, [source])
    assert not (runs.report_dir("p") / "run.json").exists()
    result.write_text("out")
    step.finish([result], n_train=np.int64(7), mean=np.float32(0.5))
    entry = runs.read_manifest("p")["steps"]["01_data"]
    assert entry["parameters"] == {"n": 3, "rate": 0.5}
    assert entry["inputs"] == {"in.txt": hashlib.sha256(b"in").hexdigest()}
    assert entry["outputs"] == {"out.txt": hashlib.sha256(b"out").hexdigest()}
    assert (entry["n_train"], entry["mean"]) == (7, 0.5)
    assert entry["seconds"] >= 0
    assert entry["peak_memory_gib"] > 0
    assert entry["n_cores"] == machine.n_cores()
    runs.start("01_data", "p", {})  # begun and broken off: what stood there still stands
    assert runs.read_manifest("p")["steps"] == {"01_data": entry}


def test_a_step_cannot_finish_without_its_outputs_nor_with_a_score_that_is_none(
    project: Path,
) -> None:
    step = runs.start("01_data", "p", {})
    with pytest.raises(FileNotFoundError, match="never_written"):
        step.finish([project / "never_written"])
    with pytest.raises(ValueError, match="JSON"):
        step.finish(rouge1=float("nan"))
    assert runs.read_manifest("p")["steps"] == {}


def test_a_failed_write_leaves_the_old_json_whole(project: Path) -> None:
    path = runs.write_json(project / "x.json", {"a": 1})
    with pytest.raises(TypeError, match="object"):
        runs.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [each.name for each in project.glob("x*")] == ["x.json"]


def test_a_broken_manifest_is_named(project: Path) -> None:
    path = runs.report_dir("p") / "run.json"
    path.parent.mkdir(parents=True)
    for broken in ("{", "[]", '{"steps": 1}'):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"reports/p/run\.json"):
            runs.read_manifest("p")


def test_reports_show_no_folder_of_this_machine(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISUM_CORPORA", str(project.parent / "mirror"))
    assert runs.shown_path(project / "data" / "x") == "data/x"
    assert runs.shown_path(project.parent / "mirror" / "a" / "b.csv") == "corpora/a/b.csv"
    assert runs.shown_path("/home/someone/notes.csv") == "notes.csv"
    assert runs.shown_path("models/base") == "models/base"


def test_a_folder_has_one_hash_that_names_and_contents_change(tmp_path: Path) -> None:
    hashes = []
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        hashes.append(runs.sha256_file(folder))
    assert len(set(hashes)) == 3


def test_seeds_repeat() -> None:
    import torch

    def draws() -> tuple:
        runs.seed_everything(5)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draws() == draws()


def test_commit_is_git_s_own_and_none_outside_git(root: Path, project: Path, monkeypatch) -> None:
    assert runs.git_commit() is None
    monkeypatch.delenv("MEDISUM_HOME")
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert runs.git_commit() in (head, head + "+changes")


def test_too_small_a_machine_is_said_with_both_numbers(tmp_path: Path) -> None:
    machine.check_free_disk(tmp_path / "not" / "yet", 0.0)
    machine.check_memory(0.0)
    with pytest.raises(OSError, match=r"expected 1000000000\.0 GiB of free disk.*got \d"):
        machine.check_free_disk(tmp_path, 1e9)
    with pytest.raises(MemoryError, match=r"expected 1000000000\.0 GiB of free memory, got \d"):
        machine.check_memory(1e9)
    with pytest.raises(RuntimeError, match="expected a CUDA GPU with 1000000000 GiB"):
        machine.check_gpu(1e9)


def test_the_environment_table_has_what_a_reader_needs_to_repeat() -> None:
    table = runs.environment_table()
    for row in ("Python", "processor", "memory", "device", "git commit", "torch", "peft"):
        assert table.loc[row, "value"]


def test_the_watch_sees_a_child_s_memory() -> None:
    hold = "x = bytearray(300 * 2**20); import time; time.sleep(1.0)"
    with watch.Watch(every_s=0.05) as seen:
        subprocess.run([machine.sys.executable, "-c", hold], check=True)
    assert 0.29 < seen.peak_gib < 0.6


def test_a_system_looks_the_same_everywhere_and_unlike_the_others() -> None:
    systems = ("copy", "nearest", "base", "finetuned")
    assert len({figures.colour_of(name) for name in systems}) == len(systems)
    assert len({figures.marker_of(name) for name in systems}) == len(systems)
    assert figures.colour_of("another system") == figures.colour_of("another system")


def test_figures_are_png_at_twice_their_size(project: Path) -> None:
    import matplotlib.pyplot as plt

    figures.use_style()
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1], [0, 1])
    step = runs.start("01_data", "p", {})
    path = figures.save(figure, step, "line")
    assert path == runs.report_dir("p") / "figures" / "line.png"
    assert not path.exists()
    step.finish()
    n_pixels = plt.imread(path).shape[1]
    assert 0.85 * 2 * 3 * 100 < n_pixels < 1.15 * 2 * 3 * 100  # bbox="tight" trims or adds a little
    plt.close(figure)
