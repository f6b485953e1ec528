"""Files that are whole or not there, their hashes, and records as lines of JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from medisum_utils.runs.paths import PathLike, shown_path

Record = TypeVar("Record")


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


def write_whole(path: PathLike, content: bytes) -> Path:
    """Writes a file, whole or not at all: what stood there before stays until all is written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_json(path: PathLike, content: Any) -> Path:
    """Writes indented JSON, whole or not at all; see `json_text` for what it raises."""
    return write_whole(path, f"{json_text(content)}\n".encode())


def json_text(content: Any) -> str:
    """Indented JSON, NumPy's numbers and arrays as plain ones.

    Raises: ValueError for NaN or infinity, TypeError for what JSON cannot hold.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return shown_path(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"expected a value that JSON can hold, got {type(value).__name__}")


def write_json_lines(path: PathLike, records: Iterable[Mapping[str, Any]]) -> int:
    """Writes one JSON object a line, the file whole or not at all, and returns how many."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    write_whole(path, "".join(lines).encode())
    return len(lines)


def read_json_lines(path: PathLike, kind: type[Record]) -> list[Record]:
    """The records of a JSON Lines file as instances of a dataclass; empty lines are passed over.

    Raises: ValueError that names file, line and field, never the text, for an invalid line.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    records = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                records.append(adapter.validate_json(line, extra="forbid"))
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                problem = [".".join(map(str, first["loc"])), first["msg"]]
                raise ValueError(
                    f"{shown_path(path)}, line {number}: expected the JSON of one "
                    f"{kind.__name__}; {': '.join(filter(None, problem))}"
                ) from None
    return records
