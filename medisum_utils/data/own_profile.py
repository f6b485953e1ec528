"""The profile of a user's own file: `run --data visits.csv` needs no other one.

It is stored with the data that it makes, in `data/processed/<name>/profile.yaml`, which git
ignores, so that later commands (`run --profile visits --from 04_eval`, `serve --profile visits`)
find it. What it leaves out follows from the source: splits, tests, and that no text is shown.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from medisum_utils.data.sources import is_own
from medisum_utils.runs.paths import processed_dir, shown_path
from medisum_utils.runs.profiles import OWN_PROFILE, checked_name, profile_names


def profile_of(data: str | os.PathLike, name: str | None = None) -> str:
    """Writes the profile of a JSONL or CSV file and returns its name, by default the file's.

    Raises: FileNotFoundError for a missing file; ValueError for one of another kind, or a name that
    another profile has.
    """
    path = Path(data).expanduser().absolute()
    if not is_own(str(path)):
        raise ValueError(f"--data {path.name}: expected a file named .csv or .jsonl")
    if not path.is_file():
        raise FileNotFoundError(f"--data {data}: expected a CSV or JSONL file, found none there")
    name = checked_name(name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "own")
    instead = "give the run another name with --profile"
    if name in profile_names():
        raise ValueError(f"{name!r} is one of the project's own profiles; {instead}")
    profile = processed_dir(name) / OWN_PROFILE
    content = {"01_data": {"source": str(path)}}
    if profile.is_file() and yaml.safe_load(profile.read_text(encoding="utf-8")) != content:
        raise ValueError(
            f"{shown_path(profile)} is of another file than {path.name}; {instead}, or delete it"
        )
    profile.parent.mkdir(parents=True, exist_ok=True)
    profile.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return name
