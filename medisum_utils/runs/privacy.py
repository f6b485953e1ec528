"""What 01_data decided for the whole run: its splits, and whether text may be shown in reports."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from medisum_utils.runs.machine import git
from medisum_utils.runs.paths import processed_dir, report_dir, shown_path
from medisum_utils.runs.steps import require

SPLIT_MANIFEST = "splits.json"
PRIVACY_FILE = "privacy.json"


def _decided_by_01(path: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """A JSON object that has a value of the right type for each key.

    Raises: ValueError that says what the file lacks.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    values = content if isinstance(content, dict) else {}
    lacking = [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]
    if lacking:
        raise ValueError(
            f"{shown_path(path)}: expected JSON with {', '.join(kinds)}, got no valid "
            f"{', '.join(lacking)}; run again from 01_data"
        )
    return values


def read_split_manifest(profile: str) -> dict[str, Any]:
    """What 01_data wrote about its splits: `source`, `tests`, `splits`.

    Raises: FileNotFoundError that names 01_data; ValueError for a file of another form.
    """
    path = require(processed_dir(profile) / SPLIT_MANIFEST, "01_data", profile)
    return _decided_by_01(path, {"source": str, "tests": list, "splits": dict})


def test_sources(profile: str) -> set[str]:
    """The sources that the tests of a profile come from, as 01_data wrote them down.

    Raises: see `read_split_manifest`.
    """
    manifest = read_split_manifest(profile)
    return {source for test in manifest["tests"] for source in manifest["splits"][test]["sources"]}


def privacy_file(profile: str) -> Path:
    """The file that says whether text may be shown; every step that could show some reads it.

    Raises: FileNotFoundError that names 01_data.
    """
    return require(processed_dir(profile) / PRIVACY_FILE, "01_data", profile)


def text_is_shown(profile: str) -> bool:
    """Whether reports of this profile may show dialogues and notes.

    01_data decides it once: generated text is shown, any other only if `01_data.show_text` says so.

    Raises: FileNotFoundError that names 01_data; ValueError for a file of another form.
    """
    return _decided_by_01(privacy_file(profile), {"show_text": bool})["show_text"]


def reports_with_text(profile: str) -> list[Path]:
    """The reports of later steps than 01 where an earlier run of 01 allowed text in them."""
    path = processed_dir(profile) / PRIVACY_FILE
    if not path.is_file() or not text_is_shown(profile):
        return []
    return [
        report
        for end in ("html", "ipynb")
        for report in report_dir(profile).glob(f"0[2-9]_*.{end}")
    ]


def ignore_in_git(profile: str) -> None:
    """Makes git ignore the reports of a profile, whatever is in them: they are of own data.

    Raises: ValueError where git already keeps reports of that name.
    """
    try:
        tracked = git("ls-files", "--", str(report_dir(profile)))
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without its history
        tracked = ""
    if tracked:
        raise ValueError(
            f"reports/{profile} is tracked by git, and reports of own data must not be; give the "
            "run a profile name of its own"
        )
    report_dir(profile).mkdir(parents=True, exist_ok=True)
    (report_dir(profile) / ".gitignore").write_text("*\n", encoding="utf-8")


def is_private(profile: str) -> bool:
    """Whether the reports of a profile are kept out of git and out of the shipped index."""
    return (report_dir(profile) / ".gitignore").is_file()
