"""The digest of a base model, by which checkpoints, adapter and notes are known to be of it."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from medisum_utils.runs import sha256_file, shown_path
from medisum_utils.runs.hub import find_base

_INDEX = "model.safetensors.index.json"  # of weights in several files
_NAMED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def base_digest(base: str) -> str:
    """The SHA-256 over names and contents of a base's configuration, tokenizer and weights.

    A hub model, as it lies in the local cache, and a copy of it in a folder have the same digest.
    `*.bin` count only where there is no `*.safetensors`: otherwise they are not loaded.

    Raises: FileNotFoundError for weights that are not there, or not all; see also `find_base`.
    """
    place = find_base(base)
    folder = Path(place) if Path(place).is_dir() else _snapshot(place)
    weights = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    there = {path.name for path in weights if path.is_file()}
    needed: set[str] = set()
    if (folder / _INDEX).is_file() and "model.safetensors" not in there:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        needed = set(index["weight_map"].values())
    if not there or needed - there:
        raise FileNotFoundError(
            f"the weights of {shown_path(base)} are not all there: expected "
            f"{', '.join(sorted(needed - there)) or '*.safetensors or *.bin'}; restore the folder, "
            "or let notebook 03_qlora_train load the model from the hub once"
        )
    files = sorted(path for path in (*weights, *(folder / n for n in _NAMED)) if path.is_file())
    lines = ""
    for path in files:
        stat = path.stat()
        digest = _file_digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        lines += f"{digest}  {path.name}\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*_NAMED, _INDEX, "*.safetensors", "*.bin"]
    return Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    """16 GB are read once, not for every system and split; another size or time reads again."""
    return sha256_file(path)
