"""Keeps each notebook's `.py` and `.ipynb` the same, without overwriting an edit of either.

    python -m medisum_utils notebooks

The side that was edited is the one that differs from the last state in which both agreed: the one
remembered here, the staged or the committed one. The clock is not asked: a checkout or a run in
JupyterLab changes times without an edit. jupytext writes the other side.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from medisum_utils.runs import profiles
from medisum_utils.runs.files import write_json, write_whole
from medisum_utils.runs.machine import git
from medisum_utils.runs.paths import project_root

MEMORY = ".pairs.json"  # in the notebooks' folder: hashes of the inputs on which pairs agreed
HEADER = re.compile(r"\A# ---\n(?:#.*\n)*?# ---\n")


class Side(StrEnum):
    """One half of a pair, by its file's ending."""

    PY = "py"
    IPYNB = "ipynb"

    @property
    def other(self) -> Side:
        """The other half."""
        return Side.IPYNB if self is Side.PY else Side.PY


class Outcome(NamedTuple):
    """What became of a pair that was not in agreement; `settled` is False where it is refused."""

    line: str
    settled: bool


def settle_pairs(take: Side | None = None) -> list[Outcome]:
    """Brings every pair into agreement and removes outputs; `take` decides where both were edited.

    Raises: ValueError for a file that is no notebook.
    """
    folder = profiles.notebooks_dir()
    names = sorted({p.stem for side in Side for p in folder.glob(f"[0-9][0-9]_*.{side}")})
    outcomes = [settle_pair(folder / name, take) for name in names]
    return [outcome for outcome in outcomes if outcome]


def settle_pair(stem: Path, take: Side | None = None) -> Outcome | None:
    """Brings one pair into agreement; `stem` is its path without an ending."""
    paths = {side: stem.with_name(f"{stem.name}.{side}") for side in Side}
    existing = [side for side in Side if paths[side].exists()]
    hashes = {
        side: _hash_of_inputs(paths[side].read_text("utf-8"), paths[side]) for side in existing
    }
    if len(existing) == 1:
        edited, why = existing[0], "the other was missing"
    elif hashes[Side.PY] == hashes[Side.IPYNB]:
        removed = _strip_outputs(paths[Side.IPYNB])
        _remember(stem, hashes[Side.PY])
        return Outcome(f"{stem.name}.ipynb: outputs removed", True) if removed else None
    elif take:
        edited, why = take, "as asked for"
    else:
        edited, why = _edited(stem, paths, hashes), "which alone was edited"
        if not edited:
            return Outcome(_refusal(stem.name, paths), False)
    _write(paths, edited)
    _remember(stem, hashes[edited])
    return Outcome(f"{stem.name}.{edited.other} written from .{edited}, {why}", True)


def _hash_of_inputs(text: str, path: Path) -> str:
    """The hash of what a reader edits: cells and tags, no outputs, no header."""
    import jupytext
    import nbformat

    try:
        notebook = jupytext.reads(text, fmt="py:percent" if path.suffix == ".py" else "ipynb")
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(
            f"{path.name}: expected a notebook, got {type(error).__name__} on reading it"
        ) from None
    notebook.metadata = {}
    inputs = HEADER.sub("", jupytext.writes(notebook, fmt="py:percent"))
    return hashlib.sha256(inputs.encode()).hexdigest()


def _edited(stem: Path, paths: dict[Side, Path], hashes: dict[Side, str]) -> Side | None:
    """The one side that was edited since both agreed; None where both were, or none is known.

    What is staged comes before what is committed: after a first try to commit, both sides may be
    staged in agreement, and then a formatter changes one.
    """
    bases = [_memory(stem.parent).get(stem.name)]
    for revision in ("", "HEAD"):
        texts = {path: _in_git(path, revision) for path in paths.values()}
        if None not in texts.values():
            agreed = {_hash_of_inputs(text, path) for path, text in texts.items()}
            bases += agreed if len(agreed) == 1 else []
    changed = [[side for side in Side if hashes[side] != base] for base in bases]
    alone = {sides[0] for sides in changed if len(sides) == 1}
    return alone.pop() if len(alone) == 1 else None  # two answers: one side was put back by hand


def _memory(folder: Path) -> dict[str, str]:
    path = folder / MEMORY
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _remember(stem: Path, inputs_hash: str) -> None:
    agreed = _memory(stem.parent)
    if agreed.get(stem.name) != inputs_hash:
        write_json(stem.parent / MEMORY, {**agreed, stem.name: inputs_hash})


def _in_git(path: Path, revision: str) -> str | None:
    """A file's text in a commit or, for "", in git's index; None where git does not have it."""
    try:  # from the root, where a hook's own relative paths to git's files hold
        return git("show", f"{revision}:./{path.relative_to(project_root()).as_posix()}")
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, no such file in it
        return None


def _refusal(name: str, paths: dict[Side, Path]) -> str:
    times = {side: path.stat().st_mtime_ns for side, path in paths.items()}
    newer = max(times, key=times.__getitem__)
    clock = f".{newer} is the newer file" if len(set(times.values())) > 1 else "both are as old"
    return (
        f"{name}: expected one of .py and .ipynb to be edited, got two that differ from each other "
        f"and from every state in which they agreed; {clock}. Decide with --take py or "
        "--take ipynb, which overwrites the other"
    )


def _write(paths: dict[Side, Path], edited: Side) -> None:
    """Writes the other side from the edited one, by jupytext; the `.ipynb` ends without outputs."""
    import jupytext
    from jupytext.cli import jupytext as run_jupytext

    if edited is Side.PY:
        update = ["--update"] if paths[Side.IPYNB].exists() else []  # keeps the cells' ids
        run_jupytext(["--quiet", "--to", "ipynb", *update, str(paths[Side.PY])])
    else:
        text = jupytext.writes(jupytext.read(paths[Side.IPYNB]), fmt="py:percent")
        if paths[Side.PY].exists():  # its header holds no versions, nor the editor's kernel
            header = HEADER.match(paths[Side.PY].read_text("utf-8"))
            text = (header.group() if header else "") + HEADER.sub("", text)
        write_whole(paths[Side.PY], text.encode())
    _strip_outputs(paths[Side.IPYNB])


def _strip_outputs(path: Path) -> bool:
    """Removes outputs and execution counts; returns whether there were any."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    ran = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None)
    ]
    for cell in ran:
        cell.outputs, cell.execution_count = [], None
    if ran:
        write_whole(path, f"{nbformat.writes(notebook).rstrip()}\n".encode())
    return bool(ran)
