"""What every step of a run shares: where files live, its manifest, seeds and checks of the machine.

State passes from notebook to notebook through files. Each step ends with an entry in
`reports/<profile>/run.json`, written last, so that an entry means a completed step.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medisum_utils.machine import (
    check_free_disk,
    check_gpu,
    check_memory,
    device_name,
    environment,
    n_cores,
    peak_memory_gib,
    versions,
)

__all__ = [
    "Step",
    "adapter_dir",
    "check_free_disk",
    "check_gpu",
    "check_memory",
    "environment_table",
    "git_commit",
    "processed_dir",
    "project_root",
    "read_manifest",
    "report_dir",
    "require",
    "resolve",
    "seed_everything",
    "sha256_file",
    "shown_path",
    "start",
    "write_json",
    "write_manifest",
]

PathLike = str | os.PathLike


def project_root() -> Path:
    """The folder that holds notebooks, data, models and reports; `MEDISUM_HOME` names another."""
    home = os.environ.get("MEDISUM_HOME")
    return Path(home).resolve() if home else Path(__file__).resolve().parent.parent


def resolve(path: PathLike) -> Path:
    """A path as it is if absolute, else under the project root (a notebook's folder may differ)."""
    return project_root() / Path(path).expanduser()


def processed_dir(profile: str) -> Path:
    """Where 01_data puts the splits of a profile."""
    return project_root() / "data" / "processed" / profile


def adapter_dir(profile: str) -> Path:
    """Where 03_qlora_train puts the adapter of a profile."""
    return project_root() / "models" / profile


def report_dir(profile: str) -> Path:
    """Where the executed notebooks, figures, metrics and manifest of a profile go."""
    return project_root() / "reports" / profile


def require(path: PathLike, made_by: str) -> Path:
    """Returns `path` as an existing file or folder.

    Raises: FileNotFoundError that names the notebook that makes it.
    """
    path = resolve(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{shown_path(path)} is missing; notebook {made_by} makes it: run "
            f"`python -m medisum_utils run --profile NAME --from {made_by}`"
        )
    return path


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch; import torch before, an unloaded one is not loaded here."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def sha256_file(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal; of a folder, over its files' names and hashes."""
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            line = f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n"
            digest.update(line.encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown_path(path: PathLike) -> str:
    """A path as a report may show it: under the root relative, elsewhere without its folders."""
    path = Path(path)
    if not path.is_absolute():
        return path.as_posix()
    if path.is_relative_to(project_root()):
        return path.relative_to(project_root()).as_posix()
    corpora = os.environ.get("MEDISUM_CORPORA")
    if corpora and path.is_relative_to(Path(corpora).resolve()):
        return f"corpora/{path.relative_to(Path(corpora).resolve()).as_posix()}"
    return path.name


def git_commit() -> str | None:
    """The commit of the project, with "+changes" if tracked files differ; None outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without its history
        return None
    return head + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


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


def write_json(path: PathLike, content: Any) -> Path:
    """Writes indented JSON, whole or not at all; NumPy numbers become plain ones.

    Raises: ValueError for NaN or infinity, TypeError for what JSON cannot hold.
    """
    path = Path(path)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _plain(value: Any) -> Any:
    """What JSON can hold for a path, a NumPy number or array."""
    if isinstance(value, Path):
        return shown_path(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"expected a value that JSON can hold, got {type(value).__name__}")


@dataclass
class Step:
    """One running notebook; `finish` writes its entry into the manifest."""

    name: str
    profile: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    started: float = field(default_factory=time.perf_counter)

    def finish(self, outputs: Iterable[PathLike] = (), **figures: Any) -> dict[str, Any]:
        """Writes the entry of this step and returns it.

        `outputs` are files or folders that exist; `figures` are further values for the entry, such
        as `n_train=1000`. `peak_memory_gib` is this process's largest resident size, on a GPU also
        `peak_gpu_memory_gib`.

        Raises: FileNotFoundError for an output that was not written.
        """
        entry = {
            "parameters": self.parameters,
            "inputs": self.inputs,
            "outputs": _hashes(outputs, made_by=self.name),
            "versions": versions(),
            "git_commit": git_commit(),
            "device": device_name(),
            "n_cores": n_cores(),
            "seconds": round(time.perf_counter() - self.started, 2),
            **peak_memory_gib(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **figures,
        }
        manifest = read_manifest(self.profile)
        manifest["steps"][self.name] = entry
        manifest["steps"] = dict(sorted(manifest["steps"].items()))
        write_manifest(self.profile, manifest)
        return entry


def start(
    name: str, profile: str, parameters: Mapping[str, Any], inputs: Iterable[PathLike] = ()
) -> Step:
    """Begins a step: takes the hashes of its inputs and its old entry out of the manifest.

    Raises: FileNotFoundError for an input that does not exist.
    """
    hashes = _hashes(inputs, made_by="before " + name)
    manifest = read_manifest(profile)
    if manifest["steps"].pop(name, None) is not None:  # an entry means: completed, as it stands
        write_manifest(
            profile, {"profile": profile, "steps": manifest["steps"]}
        )  # old totals go too
    return Step(name, profile, dict(parameters), hashes)


def _hashes(paths: Iterable[PathLike], made_by: str) -> dict[str, str]:
    return {shown_path(path): sha256_file(require(path, made_by)) for path in paths}


def environment_table():
    """A pandas DataFrame of machine, commit and package versions for the end of a report."""
    import pandas

    rows = {**environment(), "git commit": git_commit() or "no git history"}
    rows |= versions()
    return pandas.DataFrame({"value": rows})
