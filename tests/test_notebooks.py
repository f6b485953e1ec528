"""The notebooks stay short: their cells, lines, parameters and functions are counted.

A notebook that outgrows these limits has logic in it that belongs into the package, with a test.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@dataclass(frozen=True)
class Counts:
    """Sizes of a notebook, or the most that they may be.

    Lines are those of code, without empty ones and comments of their own.
    """

    n_cells: int = 40
    n_lines: int = 220  # about 200
    n_parameters: int = 15
    n_lines_of_longest_cell: int = 30
    n_functions: int = 2


LIMITS = {
    "00_tiny_base": Counts(),
    "01_data": Counts(),
    "02_format": Counts(),
    "03_qlora_train": Counts(n_lines=230, n_parameters=18),
    "04_eval": Counts(),
    "05_serve": Counts(),
}


def count(notebook: Any) -> Counts:
    """The sizes of a notebook that jupytext read."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    trees = [ast.parse(cell.source) for cell in code]
    tagged = [
        len(tree.body)
        for cell, tree in zip(code, trees, strict=True)
        if "parameters" in cell.metadata.get("tags", ())
    ]
    n_lines = [sum(is_code(line) for line in cell.source.splitlines()) for cell in code]
    return Counts(
        n_cells=len(notebook.cells),
        n_lines=sum(n_lines),
        n_parameters=sum(tagged),
        n_lines_of_longest_cell=max(n_lines),
        n_functions=sum(
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for tree in trees
            for node in ast.walk(tree)
        ),
    )


def is_code(line: str) -> bool:
    """Whether a line of a code cell is more than a comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def test_every_notebook_has_a_limit() -> None:
    assert set(LIMITS) == {path.stem for path in NOTEBOOKS.glob("*.py")}


@pytest.mark.parametrize("name", LIMITS)
def test_a_notebook_is_short(name: str) -> None:
    counts, limits = vars(count(jupytext.read(NOTEBOOKS / f"{name}.py"))), vars(LIMITS[name])
    too_many = {what: n for what, n in counts.items() if n > limits[what]}
    allowed = {what: limits[what] for what in too_many}
    assert not too_many, f"{name}: expected at most {allowed}, got {too_many}"


def test_the_count_is_right() -> None:
    source = (
        '# %% [markdown]\n# Text.\n\n# %% tags=["parameters"]\nn = 1  # one\nm: int = 2\n\n'
        "# %%\ndef double(x):\n    # twice\n\n    return 2 * x\n\n\nclass A:\n"
        "    def half(self):\n        return 1\n"
    )
    assert count(jupytext.reads(source, fmt="py:percent")) == Counts(
        n_cells=3, n_lines=7, n_parameters=2, n_lines_of_longest_cell=5, n_functions=2
    )


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_notebook_imports_is_there(name: str) -> None:
    source = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medisum_utils"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_notebook_calls_is_there(name: str) -> None:
    """Attributes of imported modules, such as `runs.start`; a kernel would find out later."""
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medisum_utils"):
            for alias in node.names:
                with contextlib.suppress(ModuleNotFoundError):
                    modules[alias.asname or alias.name] = importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
    assert modules
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{node.value.id}.{node.attr}"
