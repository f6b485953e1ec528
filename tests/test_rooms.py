"""The package's rooms: what may import what, and what each door gives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "medisum_utils"

# From the ground up: a room uses rooms that stand before it, never one beside or behind. Data stand
# above scoring, since 01 says what the nearest training note would score and since own notes must
# hold something for the judge to read.
FLOORS = (
    ("clutter", "runs"),
    ("encounter", "figures"),
    ("notes",),
    ("synthesis", "facts"),
    ("scoring",),
    ("data",),
    ("modelling",),
    ("evaluation", "serving"),
    ("pretraining",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SOURCES = sorted(PACKAGE.rglob("*.py"))
N_LINES = 320  # a module does one thing


def room_of(path: Path) -> str:
    """The room of a source file; a single file is a room of its own."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a file imports from and the lines, imports within functions among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "medisum_utils":
            names = [f"medisum_utils.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "medisum_utils" and rest and not rest.startswith("__"):
                yield rest.partition(".")[0], node.lineno


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(path) for path in SOURCES} - {"__init__"} == set(FLOOR_OF)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_uses_lower_ones_alone(path: Path) -> None:
    room = room_of(path)
    for used, line in imported_rooms(path):
        assert used == room or FLOOR_OF[used] < FLOOR_OF.get(room, 0), (
            f"{path.relative_to(PACKAGE)}, line {line}: {room} imports {used}, which does not "
            "stand below it"
        )


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in SOURCES} - {PACKAGE}), ids=lambda path: path.name
)
def test_a_door_says_what_its_room_is_for(folder: Path) -> None:
    door = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    said = ast.get_docstring(door) or ""
    assert len(said.splitlines()[0]) > 30
    kinds = (ast.ImportFrom, ast.Expr)  # a docstring and names: a door does no work
    assert all(isinstance(node, kinds) for node in door.body)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_short(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= N_LINES, f"expected at most {N_LINES} lines, got {n_lines}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_takes_at_most_seven_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [each.arg for each in given.posonlyargs + given.args + given.kwonlyargs]
            names = names[1:] if names[:1] in (["self"], ["cls"]) else names
            assert len(names) <= 7 or node.name.endswith("_command"), f"{node.name}: {names}"
