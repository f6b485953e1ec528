"""Paths, manifests, seeds and checks of the machine."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medisum_utils import figures, runs
from medisum_utils.runs import machine


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


def control_groups(
    folder: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str]
) -> None:
    """A system's control groups as files, and this process's place in them."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "self").write_text(membership)
    monkeypatch.setattr(machine, "CONTROL_GROUPS", folder / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", folder / "self")


MIB = 2**20


def test_what_a_container_already_uses_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "memory.max": f"{64 * MIB}\n",
        "memory.current": f"{48 * MIB}\n",
        "memory.stat": f"anon {30 * MIB}\ninactive_file {16 * MIB}\nactive_file {2 * MIB}\n",
    }
    control_groups(tmp_path, monkeypatch, "0::/\n", files)
    assert machine.memory_gib() == 64 / 1024
    assert machine.available_memory_gib() == (64 - (48 - 16)) / 1024
    with pytest.raises(MemoryError, match=r"expected 0\.1 GiB of free memory, got 0\.0"):
        machine.check_memory(0.05)


def test_older_control_groups_say_the_same_under_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{64 * MIB}\n",
        "memory/memory.usage_in_bytes": f"{48 * MIB}\n",
        "memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {16 * MIB}\n",
    }
    membership = "9:name=systemd:/\n4:memory:/of/the/host\n0::/\n"  # no such folder in here
    control_groups(tmp_path, monkeypatch, membership, files)
    assert machine.memory_gib() == 64 / 1024
    assert machine.available_memory_gib() == 32 / 1024


def test_the_narrowest_of_nested_limits_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def group(limit: str, used: int) -> dict[str, str]:
        return {"max": limit, "current": f"{used * MIB}", "stat": "inactive_file 0\n"}

    files = {
        f"{folder}memory.{name}": text
        for folder, values in {
            "user/job/": group("max", 8),
            "user/": group(f"{64 * MIB}", 60),
            "other/": group(f"{1 * MIB}", 1),
        }.items()
        for name, text in values.items()
    }
    control_groups(tmp_path, monkeypatch, "0::/user/job\n", files)
    assert machine.memory_gib() == 64 / 1024
    assert machine.available_memory_gib() == 4 / 1024


def test_a_limit_that_is_exceeded_leaves_nothing_and_none_leaves_the_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_groups(
        tmp_path, monkeypatch, "0::/\n", {"memory.max": "1024", "memory.current": "4096"}
    )
    assert machine.available_memory_gib() == 0
    control_groups(tmp_path, monkeypatch, "0::/\n", {"memory.max": "max"})
    assert machine.available_memory_gib() > 0.01


def test_the_environment_table_has_what_a_reader_needs_to_repeat() -> None:
    table = runs.environment_table()
    for row in ("Python", "processor", "memory", "device", "git commit", "torch", "peft"):
        assert table.loc[row, "value"]


def test_a_child_s_memory_is_seen() -> None:
    hold = "x = bytearray(300 * 2**20); print(1, flush=True); input()"
    command, pipe = [sys.executable, "-c", hold], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        child.stdout.readline()
        seen_gib = machine.children_gib(os.getpid())
        child.communicate("\n")
    assert 0.29 < seen_gib < 0.6


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
    assert figures.save(figure, step, "line") is None
    path = runs.report_dir("p") / "figures" / "line.png"
    assert not path.exists()
    step.finish()
    n_pixels = plt.imread(path).shape[1]
    assert 0.85 * 2 * 3 * 100 < n_pixels < 1.15 * 2 * 3 * 100  # bbox="tight" trims or adds a little
    plt.close(figure)
