"""What a step writes waits in hidden folders beside its place, and moves there when the step ends.

    staging.stage("01_data", folder / "train.jsonl")   # <folder>/.01_data.partial/train.jsonl

A step that fails, or is killed, or finds the disk full, leaves everything that stood there before.
The hidden folder lies in the same folder, so that moving is a rename, which needs no space.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from medisum_utils.runs.paths import PathLike


def stage(step: str, path: PathLike) -> Path:
    """Where a running step writes the file that will be `path`; its folder exists."""
    path = Path(path)
    hidden = path.parent / _hidden_name(step)
    hidden.mkdir(parents=True, exist_ok=True)
    return hidden / path.name


def publish(step: str, paths: Sequence[PathLike]) -> None:
    """Moves what was staged to `paths`, in their order, and removes the emptied hidden folders.

    Raises: FileNotFoundError for one that was not written; nothing has been moved then.
    """
    moves = [(stage(step, path), Path(path)) for path in paths]
    missing = [path.name for hidden, path in moves if not hidden.is_file()]
    if missing:
        raise FileNotFoundError(f"{step} was to write {' and '.join(missing)}, and has not")
    for hidden, path in moves:
        hidden.replace(path)
    for folder in dict.fromkeys(hidden.parent for hidden, _ in moves):
        shutil.rmtree(folder)


def discard(step: str, folders: Iterable[PathLike]) -> None:
    """Removes what an earlier, broken-off run of a step left staged anywhere below `folders`."""
    for folder in map(Path, folders):
        for hidden in list(folder.rglob(_hidden_name(step))):
            shutil.rmtree(hidden, ignore_errors=True)


def _hidden_name(step: str) -> str:
    return f".{step}.partial"
