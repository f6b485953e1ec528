"""One running notebook: what it reads is checked, what it writes replaces the old files at its end.

State passes from notebook to notebook through files. Each step ends with an entry in
`reports/<profile>/run.json`, written last, so that an entry means a completed step. What a step
writes waits in hidden folders beside its place, `<folder>/.01_data.partial/train.jsonl`, so that a
step that fails, or is killed, or finds the disk full, leaves everything that stood there before.
Moving the files into place is a rename, which needs no space.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain
from medisum_utils.runs.files import json_text, sha256_file, write_json
from medisum_utils.runs.hub import base_source
from medisum_utils.runs.machine import device_name, git_commit, n_cores, peak_memory_gib, versions
from medisum_utils.runs.paths import (
    PathLike,
    adapter_dir,
    processed_dir,
    report_dir,
    resolve,
    shown_path,
)


def require(path: PathLike, made_by: str, profile: str) -> Path:
    """Returns `path` as an existing file or folder.

    Raises: FileNotFoundError that names the notebook that makes it, and how to run that.
    """
    path = resolve(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{shown_path(path)} is missing; notebook {made_by} makes it: "
            f"`python -m medisum_utils run --profile {profile} --from {made_by}`"
        )
    return path


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch; import torch before, an unloaded one is not loaded here."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def read_manifest(profile: str) -> dict[str, Any]:
    """The content of `reports/<profile>/run.json`, `{"profile", "steps": {}}` before any step.

    Raises: ValueError for a file that is no manifest.
    """
    path = report_dir(profile) / "run.json"
    if not path.exists():
        return {"profile": profile, "steps": {}}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["steps"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{shown_path(path)}: expected a JSON object with "steps", got '
            f"{type(error).__name__}; delete the file and run the profile again"
        ) from None
    return manifest


def write_manifest(profile: str, manifest: Mapping[str, Any]) -> Path:
    """Writes `reports/<profile>/run.json`, whole or not at all."""
    return write_json(report_dir(profile) / "run.json", manifest)


@dataclass
class Step:
    """One running notebook; `finish` moves what it wrote into place and writes its entry."""

    name: str
    profile: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    started: float = field(default_factory=time.perf_counter)
    staged: dict[Path, Path] = field(default_factory=dict)  # by its place, where a file waits
    base_source: dict[str, Any] | None = None  # of a base that was fetched

    def stage(self, path: PathLike) -> Path:
        """Where this step writes the file that will be `path` once the step has finished."""
        path = resolve(path)
        waiting = path.parent / _hidden_folder(self.name) / path.name
        waiting.parent.mkdir(parents=True, exist_ok=True)
        self.staged[path] = waiting
        return waiting

    def read_base(self, base: str, digest: str) -> None:
        """Notes the base model that this step reads, by its name and `model.base_digest`.

        The entry will also hold where a base that was fetched comes from.

        Raises: chain.BrokenChain where an earlier step read another one under this name.
        """
        inputs = {f"base model {shown_path(base)}": digest}
        entries = read_manifest(self.profile)["steps"]
        chain.check_chain(self.profile, self.name, inputs, entries)
        self.inputs |= inputs
        self.base_source = base_source(base)

    def finish(
        self, outputs: Iterable[PathLike] = (), obsolete: Iterable[PathLike] = (), **figures: Any
    ) -> dict[str, Any]:
        """Replaces the old files by the staged ones, writes the entry of this step and returns it.

        What was staged is an output, moved into place in the order of staging; `outputs` are
        further files or folders that stand where they belong. `obsolete` files of an earlier run
        are removed; `figures` are further values for the entry, such as `n_train=1000`.

        Raises: FileNotFoundError for an output that was not written; ValueError or TypeError for a
        figure that JSON cannot hold. Nothing has been replaced then.
        """
        json_text(figures)
        others = [require(path, self.name, self.profile) for path in outputs]
        missing = [path.name for path, waiting in self.staged.items() if not waiting.is_file()]
        if missing:
            raise FileNotFoundError(f"{self.name} was to write {' and '.join(missing)}, has not")
        for path, waiting in self.staged.items():
            waiting.replace(path)
        for folder in {waiting.parent for waiting in self.staged.values()}:
            shutil.rmtree(folder)
        for path in obsolete:
            resolve(path).unlink(missing_ok=True)
        entry = {
            "parameters": self.parameters,
            "inputs": self.inputs,
            "outputs": _hashes([*self.staged, *others]),
            "versions": versions(),
            "git_commit": git_commit(),
            "device": device_name(),
            "n_cores": n_cores(),
            "seconds": round(time.perf_counter() - self.started, 2),
            **peak_memory_gib(),
            **({"base_source": self.base_source} if self.base_source else {}),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **figures,
        }
        # The runner's totals go: they, and the report, are of an earlier run until it renews them.
        steps = {**read_manifest(self.profile)["steps"], self.name: entry}
        manifest = {"profile": self.profile, "steps": dict(sorted(steps.items()))}
        write_manifest(self.profile, manifest)
        return entry


def start(
    name: str, profile: str, parameters: Mapping[str, Any], inputs: Sequence[PathLike] = ()
) -> Step:
    """Begins a step: hashes its inputs and makes sure that they are what earlier steps wrote.

    What an earlier run of this step left staged is discarded.

    Raises: FileNotFoundError for an input that does not exist; chain.BrokenChain for one that is
    not what the step before wrote.
    """
    missing = [shown_path(path) for path in inputs if not resolve(path).exists()]
    if missing:
        raise FileNotFoundError(f"{name} reads {' and '.join(missing)}, which is missing")
    hashes = _hashes(inputs)
    folders = (processed_dir(profile), adapter_dir(profile), report_dir(profile))
    prefixes = tuple(f"{shown_path(folder)}/" for folder in folders)
    own = {path for path in hashes if path.startswith(prefixes)}
    chain.check_chain(profile, name, hashes, read_manifest(profile)["steps"], own)
    for folder in folders:
        for left_over in list(folder.rglob(_hidden_folder(name))):
            shutil.rmtree(left_over, ignore_errors=True)
    shown = {key: recorded(value) for key, value in parameters.items()}
    return Step(name, profile, shown, hashes)


def recorded(value: Any) -> Any:
    """A parameter as the manifest may show it: a path loses the folders of this machine."""
    return shown_path(value) if isinstance(value, str) and os.path.isabs(value) else value


def _hashes(paths: Iterable[PathLike]) -> dict[str, str]:
    return {shown_path(path): sha256_file(resolve(path)) for path in paths}


def _hidden_folder(step: str) -> str:
    return f".{step}.partial"
