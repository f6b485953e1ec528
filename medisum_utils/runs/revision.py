"""Which state of the project's own code is running, as git knows it."""

from __future__ import annotations

import subprocess

from medisum_utils.runs.paths import project_root


def git_commit() -> str | None:
    """The commit of the project, with "+changes" if tracked files differ; None outside git."""
    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without its history
        return None
    return head + ("+changes" if changed else "")


def git(*arguments: str) -> str:
    """What a git command says of the project.

    Raises: subprocess.CalledProcessError where it fails, OSError without git.
    """
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
