"""Where everything lives: the project's folders, and paths as a report may show them."""

from __future__ import annotations

import os
from pathlib import Path

PathLike = str | os.PathLike


def project_root() -> Path:
    """The folder that holds notebooks, data, models and reports; `MEDISUM_HOME` names another."""
    root = os.environ.get("MEDISUM_HOME")
    return Path(root).resolve() if root else Path(__file__).resolve().parents[2]


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


def shown_path(path: PathLike) -> str:
    """A path as a report may show it: under the root relative, elsewhere without its folders."""
    path, corpora = Path(path), os.environ.get("MEDISUM_CORPORA")
    if not path.is_absolute():
        return path.as_posix()
    if path.is_relative_to(project_root()):
        return path.relative_to(project_root()).as_posix()
    if corpora and path.is_relative_to(folder := Path(corpora).resolve()):
        return f"corpora/{path.relative_to(folder).as_posix()}"
    return path.name
