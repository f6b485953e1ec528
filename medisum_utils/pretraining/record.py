"""The records of a run: its log, and `pretraining.json` next to the weights."""

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
    for name, texts_of_kind in texts.items():
        digest.update(name.encode("utf-8"))
        for text in texts_of_kind:
            digest.update(hashlib.sha256(text.encode("utf-8")).digest())
    return digest.hexdigest()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The probes of a run, one record each, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trim_log(path: Path, step: int) -> None:
    """Removes log lines after a killed run's last checkpoint, since those steps are repeated."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")


def training_machine() -> str:
    """A description of the training device."""
    device = machine.device_name()
    return device if device != "cpu" else f"{machine.cpu_model()}, {machine.n_cores()} cores"


def write_record(folder: Path, recipe: Recipe, run: Mapping[str, Any]) -> None:
    """Writes `pretraining.json` from the log and the weights in `folder`.

    `run` says what they do not: names of `recipe` and `machine`, the `corpus`, how it was made.
    Tokens and seconds are those of the last log line.
    """
    versions, last = machine.versions(), read_log(folder / LOG)[-1]
    weights = folder / WEIGHTS
    content = {
        **run,
        "seconds": last["seconds"],
        "tokens": last["tokens"],
        "steps": last["step"],
        "final": {key: value for key, value in last.items() if key.endswith(("loss", "_exact"))},
        "n_parameters": count_parameters(weights),
        "weights_bytes": weights.stat().st_size,
        "weights_sha256": sha256_file(weights),
        "versions": {name: versions[name] for name in PACKAGES},
        "settings": asdict(recipe),
    }
    write_json(folder / RECORD, content)


def join_records(folder: Path, start: Path) -> None:
    """Merges the log and record of the run in `start` with those of its continuation in `folder`.

    The result describes both as one run: steps, tokens and seconds are added up, stages are
    concatenated, `recipe` has both names, and `runs` keeps what differs between them.
    """
    first, second = (
        json.loads((run / RECORD).read_text(encoding="utf-8")) for run in (start, folder)
    )
    lines = read_log(start / LOG)
    for line in read_log(folder / LOG):
        for key, total in (("step", "steps"), ("tokens", "tokens"), ("seconds", "seconds")):
            line[key] = round(line[key] + first[total], 1)
        lines.append(line)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / LOG).write_text(text, encoding="utf-8")
    stages = [*first["settings"]["stages"], *second["settings"]["stages"]]
    joined = second | {
        **{key: round(first[key] + second[key], 1) for key in ("steps", "tokens", "seconds")},
        "runs": [*first.get("runs", [_run_fields(first)]), _run_fields(second)],
        "recipe": f"{first['recipe']}, {second['recipe']}",
        "settings": {**second["settings"], "stages": stages},
    }
    write_json(folder / RECORD, joined)


def _run_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a merged record keeps for each run; the stages are merged."""
    names = ("recipe", "machine", "steps", "tokens", "seconds", "weights_sha256", "versions")
    settings = {key: value for key, value in record["settings"].items() if key != "stages"}
    return {key: record[key] for key in (*names, "n_loader_workers")} | {"settings": settings}


def count_parameters(weights: Path) -> int:
    """The parameters of a safetensors file; tied matrices are stored and counted once."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        names = list(file.keys())
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
