"""What a run leaves to read: its log, and `pretraining.json` beside the weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medisum_utils.pretraining.recipe import Recipe
from medisum_utils.runs import machine, sha256_file, write_json

LOG, RECORD, WEIGHTS = "pretraining_log.jsonl", "pretraining.json", "model.safetensors"
PACKAGES = ("torch", "transformers")


def texts_sha256(texts: Mapping[str, Iterable[str]]) -> str:
    """One hash over texts, their names and their order."""
    digest = hashlib.sha256()
    for name, part in texts.items():
        digest.update(name.encode("utf-8"))
        for text in part:
            digest.update(hashlib.sha256(text.encode("utf-8")).digest())
    return digest.hexdigest()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The probes of a run, one record each, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trim_log(path: Path, step: int) -> None:
    """Drops what a killed run logged after its last checkpoint, as those steps are run again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")


def training_machine() -> str:
    """The device that trains, in words."""
    device = machine.device_name()
    return device if device != "cpu" else f"{machine.cpu_model()}, {machine.n_cores()} cores"


def write_record(
    folder: Path,
    recipe_name: str,
    recipe: Recipe,
    corpus: Mapping[str, Any],
    made_with: Mapping[str, Any],
) -> Path:
    """Writes `pretraining.json` from the log and the weights that lie in `folder`.

    `corpus` says what was read, `made_with` the `machine`, the `n_loader_workers` and whether the
    model was `compiled`; tokens and seconds are those of the log's last line.
    """
    versions = machine.versions()
    last = read_log(folder / LOG)[-1]
    content = {
        "recipe": recipe_name,
        "machine": made_with["machine"],
        "seconds": last["seconds"],
        "tokens": last["tokens"],
        "steps": last["step"],
        "final": {key: value for key, value in last.items() if key.endswith(("loss", "_exact"))},
        "n_parameters": count_parameters(folder / WEIGHTS),
        "weights_bytes": (folder / WEIGHTS).stat().st_size,
        "weights_sha256": sha256_file(folder / WEIGHTS),
        "corpus": dict(corpus),
        "n_loader_workers": made_with["n_loader_workers"],
        "compiled": made_with["compiled"],
        "versions": {name: versions[name] for name in PACKAGES},
        "settings": asdict(recipe),
    }
    return write_json(folder / RECORD, content)


def join_records(folder: Path, start: Path) -> None:
    """Puts the log and record of the run that `folder` started from before its own.

    Afterwards they tell of both as of one: steps, tokens and seconds go on, stages follow each
    other, `recipe` is both names, and `runs` keeps what differs between them.
    """
    first = json.loads((start / RECORD).read_text(encoding="utf-8"))
    second = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    counted = ("steps", "tokens", "seconds")
    lines = read_log(start / LOG)
    for line in read_log(folder / LOG):
        moved = {"step": line["step"] + first["steps"], "tokens": line["tokens"] + first["tokens"]}
        seconds = round(line["seconds"] + first["seconds"], 1)
        lines.append({**line, **moved, "seconds": seconds})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / LOG).write_text(text, encoding="utf-8")
    earlier = first.get("runs", [_told(first)])
    stages = [*first["settings"]["stages"], *second["settings"]["stages"]]
    second |= {
        **{key: round(first[key] + second[key], 1) for key in counted},
        "runs": [*earlier, _told(second)],
        "recipe": f"{first['recipe']}, {second['recipe']}",
        "settings": {**second["settings"], "stages": stages},
    }
    write_json(folder / RECORD, second)


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a joined record keeps of one run; the stages of all runs stand together."""
    told = ("recipe", "machine", "steps", "tokens", "seconds", "weights_sha256", "versions")
    settings = {key: value for key, value in record["settings"].items() if key != "stages"}
    return {key: record[key] for key in (*told, "n_loader_workers")} | {"settings": settings}


def count_parameters(weights: Path) -> int:
    """The parameters of a safetensors file; tied matrices are stored, and counted, once."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        names = list(file.keys())
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
