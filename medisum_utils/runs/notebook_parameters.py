"""The parameters of a notebook, read from its cell tagged `parameters` without running it.

`papermill.inspect_notebook` would not do: it passes over what its pattern does not know, such as
`show_text: bool | None = None`, infers no type without an annotation, and reads the first of
several tagged cells without a word.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What may be given where a notebook's default or annotation has this type.
ACCEPTED: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}

SCIENTIFIC = re.compile(r"([-+]?\d+)(\.\d*)?[eE]([-+]?)(\d+)")


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell: its default and the types it takes."""

    name: str
    default: Any
    types: tuple[str, ...]


def parameters_in_file(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook's `.py` by name, from its one cell tagged `parameters`.

    Raises: ValueError for none or several such cells, or a value that is no literal.
    """
    import jupytext

    cells = [
        cell.source
        for cell in jupytext.read(path).cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise ValueError(f"{path.name}: expected one cell tagged `parameters`, found {len(cells)}")
    assignments = (_assignment(node, path) for node in ast.parse(cells[0]).body)
    return {parameter.name: parameter for parameter in assignments}


def _assignment(node: ast.stmt, path: Path) -> Parameter:
    target = annotation = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        target, annotation = node.target, ast.unparse(node.annotation)
    if not isinstance(target, ast.Name):
        raise ValueError(
            f"{path.name}, parameters cell, line {node.lineno}: expected `name = literal`"
        )
    try:
        default = ast.literal_eval(node.value)
    except ValueError:
        raise ValueError(
            f"{path.name}, parameters cell: expected a literal for {target.id}, "
            f"got `{ast.unparse(node.value)}`"
        ) from None
    return Parameter(target.id, default, _types(default, annotation))


def _types(default: Any, annotation: str | None) -> tuple[str, ...]:
    """Type names from the annotation, else from the default; `None` alone takes any type."""
    if annotation is not None:
        names = (part.strip().partition("[")[0] for part in annotation.split("|"))
        return tuple(name for name in names if name in ACCEPTED)
    name = "None" if default is None else type(default).__name__
    return () if name == "None" else (name.replace("tuple", "list"),)


def check_value(notebook: str, parameter: Parameter, value: Any) -> None:
    """Refuses a value of another type than the notebook's own.

    Raises: ValueError that shows what was expected and what came.
    """
    accepted = tuple(kind for name in parameter.types for kind in ACCEPTED.get(name, ()))
    is_bool_for_number = isinstance(value, bool) and bool not in accepted
    if not accepted or (isinstance(value, accepted) and not is_bool_for_number):
        return
    message = (
        f"{notebook}.{parameter.name}: expected {' or '.join(parameter.types)} "
        f"like {parameter.default!r}, got {type(value).__name__} {value!r}"
    )
    if isinstance(value, str) and (number := SCIENTIFIC.fullmatch(value)):
        whole, decimals, sign, power = number.groups()  # YAML 1.1 wants a point and a sign
        message += (
            f"; YAML reads {value} as text, write {whole}{decimals or '.0'}e{sign or '+'}{power}"
        )
    raise ValueError(message)
