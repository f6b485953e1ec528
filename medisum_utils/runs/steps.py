"""What every step of a run shares: where files live, its manifest, seeds and checks of the machine.

State passes from notebook to notebook through files. Each step ends with an entry in
`reports/<profile>/run.json`, written last, so that an entry means a completed step. A step starts
only where the chain before it holds (`chain`), and replaces files only when it ends (`staging`).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain, staging
from medisum_utils.runs.files import json_text, sha256_file, write_json
from medisum_utils.runs.machine import (
    check_free_disk,
    check_gpu,
    check_memory,
    device_name,
    environment,
    n_cores,
    peak_memory_gib,
    versions,
)
from medisum_utils.runs.paths import (
    PathLike,
    adapter_dir,
    processed_dir,
    project_root,
    report_dir,
    resolve,
    shown_path,
)
from medisum_utils.runs.revision import git, git_commit

__all__ = [
    "Step",
    "adapter_dir",
    "check_free_disk",
    "check_gpu",
    "check_memory",
    "environment_table",
    "git_commit",
    "is_private",
    "keep_private",
    "privacy_file",
    "processed_dir",
    "project_root",
    "read_manifest",
    "read_split_manifest",
    "recorded",
    "report_dir",
    "reports_with_text",
    "require",
    "resolve",
    "seed_everything",
    "sha256_file",
    "shown_path",
    "start",
    "text_is_shown",
    "write_json",
    "write_manifest",
]

SPLIT_MANIFEST = "splits.json"
PRIVACY_FILE = "privacy.json"


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


def read_split_manifest(profile: str) -> dict[str, Any]:
    """What 01_data wrote about its splits: `source`, `tests`, `splits`.

    Raises: FileNotFoundError that names 01_data; ValueError for a file of another form.
    """
    path = require(processed_dir(profile) / SPLIT_MANIFEST, "01_data", profile)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = {"source", "tests", "splits"} - set(content)
    except (ValueError, TypeError):
        missing = {"JSON"}
    if missing:
        raise ValueError(
            f"{shown_path(path)}: expected source, tests and splits, got none of "
            f"{', '.join(sorted(missing))}; run again from 01_data"
        )
    return content


def privacy_file(profile: str) -> Path:
    """What 01_data wrote about whether text may be shown; every step that could show some reads it.

    Raises: FileNotFoundError that names 01_data.
    """
    return require(processed_dir(profile) / PRIVACY_FILE, "01_data", profile)


def text_is_shown(profile: str) -> bool:
    """Whether reports of this profile may show dialogues and notes, as 01_data resolved it.

    It is decided once, in 01: generated text is shown, any other only if `01_data.show_text` says
    so.

    Raises: FileNotFoundError that names 01_data; ValueError for a file of another form.
    """
    path = privacy_file(profile)
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))["show_text"]
    except (ValueError, KeyError, TypeError):
        shown = None
    if not isinstance(shown, bool):
        raise ValueError(f"{shown_path(path)}: expected show_text as true or false; run 01_data")
    return shown


def reports_with_text(profile: str) -> list[Path]:
    """The reports of later steps than 01 where an earlier run of 01 allowed text in them."""
    path = processed_dir(profile) / PRIVACY_FILE
    if not path.is_file() or not text_is_shown(profile):
        return []
    kinds = ("0[2-9]_*.html", "0[2-9]_*.ipynb")
    return [report for kind in kinds for report in report_dir(profile).glob(kind)]


def keep_private(profile: str) -> None:
    """Makes git ignore the reports of a profile, whatever is in them: they are of own data.

    Raises: ValueError where git already keeps reports of that name.
    """
    try:
        kept = git("ls-files", "--", str(report_dir(profile)))
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without its history
        kept = ""
    if kept:
        raise ValueError(
            f"reports/{profile} is tracked by git, and reports of own data must not be; give the "
            "run a profile name of its own"
        )
    report_dir(profile).mkdir(parents=True, exist_ok=True)
    (report_dir(profile) / ".gitignore").write_text("*\n", encoding="utf-8")


def is_private(profile: str) -> bool:
    """Whether the reports of a profile are kept out of git and out of the shipped index."""
    return (report_dir(profile) / ".gitignore").is_file()


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
    path = report_dir(profile) / "run.json"
    return write_json(path, manifest)


@dataclass
class Step:
    """One running notebook; `finish` moves what it wrote into place and writes its entry."""

    name: str
    profile: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    started: float = field(default_factory=time.perf_counter)
    staged: list[Path] = field(default_factory=list)

    def stage(self, path: PathLike) -> Path:
        """Where this step writes the file that will be `path` once the step has finished."""
        path = resolve(path)
        if path not in self.staged:
            self.staged.append(path)
        return staging.stage(self.name, path)

    def read_base(self, base: str, digest: str) -> None:
        """Notes the base model that this step reads, by its name and `model.base_digest`.

        Raises: chain.BrokenChain where an earlier step read another one under this name.
        """
        inputs = {f"base model {shown_path(base)}": digest}
        entries = read_manifest(self.profile)["steps"]
        chain.check_chain(self.profile, self.name, inputs, entries)
        self.inputs |= inputs

    def finish(
        self, outputs: Iterable[PathLike] = (), obsolete: Iterable[PathLike] = (), **figures: Any
    ) -> dict[str, Any]:
        """Replaces the old files by the staged ones, writes the entry of this step and returns it.

        What was staged is an output, moved into place in the order of staging; `outputs` are
        further files or folders that stand where they belong. `obsolete` files of an earlier run
        are removed; `figures` are further values for the entry, such as `n_train=1000`.
        `peak_memory_gib` is this process's largest resident size, on a GPU also
        `peak_gpu_memory_gib`.

        Raises: FileNotFoundError for an output that was not written; ValueError or TypeError for a
        figure that JSON cannot hold. Nothing has been replaced then.
        """
        json_text(figures)
        others = [require(path, self.name, self.profile) for path in outputs]
        staging.publish(self.name, self.staged)
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
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **figures,
        }
        # The runner's totals go: they, and the report, are of an earlier run until it renews them.
        steps = {**read_manifest(self.profile)["steps"], self.name: entry}
        write_manifest(
            self.profile, {"profile": self.profile, "steps": dict(sorted(steps.items()))}
        )
        return entry


def start(
    name: str,
    profile: str,
    parameters: Mapping[str, Any],
    inputs: Sequence[PathLike] = (),
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
    staging.discard(name, folders)
    shown = {key: recorded(value) for key, value in parameters.items()}
    return Step(name, profile, shown, hashes)


def recorded(value: Any) -> Any:
    """A parameter as the manifest may show it: a path loses the folders of this machine."""
    return shown_path(value) if isinstance(value, str) and os.path.isabs(value) else value


def _hashes(paths: Iterable[PathLike]) -> dict[str, str]:
    return {shown_path(path): sha256_file(resolve(path)) for path in paths}


def environment_table():
    """A pandas DataFrame of machine, commit and package versions for the end of a report."""
    import pandas

    rows = {**environment(), "git commit": git_commit() or "no git history"}
    rows |= versions()
    return pandas.DataFrame({"value": rows})
