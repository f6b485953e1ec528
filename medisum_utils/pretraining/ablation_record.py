"""The file of trials next to a base model: its format, reading it, and the table in 00.

Groups of trials share base and validation encounters; each trial has its settings (`Trial`) and one
run per seed (`run_trial`). Trials are scored on validation encounters only; files of the previous
format, whose trials were scored on tests, are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.runs import sha256_file, shown_path, write_json

if TYPE_CHECKING:
    import pandas

ABLATION = "ablation.json"  # next to the base that the trials used
FORM = 2  # form 1 had no number, one seed per trial, and scores on test splits
SPLIT = "valid"
WEIGHTS = "model.safetensors"  # of the base
SHOWN = {"facts_f1": "fact F1", "rouge1": "ROUGE-1"}

AGAIN = "run `python -m medisum_utils ablate` again on this base and put its file here"


def read_ablation(path: Path) -> list[dict[str, Any]]:
    """The groups of trials in a file.

    Raises: ValueError for a file in another form or with scores on another split.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: expected JSON, got {type(error).__name__}") from None
    form = content.get("form", 1) if isinstance(content, dict) else None
    if form != FORM:
        raise ValueError(
            f"{path.name}: expected trials in form {FORM}, scored on {SPLIT} with several seeds, "
            f"got form {form}; {AGAIN}"
        )
    splits = sorted({group["validation"]["split"] for group in content["groups"]})
    if splits != [SPLIT]:
        raise ValueError(f"{path.name}: expected scores on {SPLIT}, got {splits}; {AGAIN}")
    return content["groups"]


def group_of(path: Path, base: str, validation: Mapping[str, Any]) -> dict[str, Any]:
    """The group in a file, to add runs to; an empty group if there is no file.

    Raises: ValueError for a file with several groups, another base or other encounters.
    """
    group = {
        "title": shown_path(base),
        "base_sha256": sha256_file(Path(base) / WEIGHTS),
        "validation": dict(validation),
    }
    if not path.exists():
        return {**group, "trials": []}
    groups = read_ablation(path)
    if len(groups) != 1:
        raise ValueError(f"{path.name}: expected one group of trials to add to, got {len(groups)}")
    for key in ("base_sha256", "validation"):
        if groups[0][key] != group[key]:
            raise ValueError(
                f"{path.name}: expected trials with {key} {group[key]} to add to, got "
                f"{groups[0][key]}; write to another file"
            )
    return groups[0]


def write_groups(path: Path, groups: Sequence[Mapping[str, Any]]) -> None:
    """Writes a file that `read_ablation` reads, atomically."""
    write_json(path, {"form": FORM, "groups": groups})


def ablation_table(group: Mapping[str, Any]) -> pandas.DataFrame:
    """One row per trial: settings, fact F1 and ROUGE-1 as mean, lowest and highest of its seeds.

    Cells are HTML. Scores are fractions of 1, on the group's validation encounters.
    """
    import pandas as pd

    from medisum_utils.evaluation.tables import with_interval

    rows = {}
    for trial in group["trials"]:
        runs = trial["runs"]
        rows[trial["change"]] = {
            "examples": trial["n_train"],
            "examples a step": trial["batch_size"],
            "steps": runs[0]["n_steps"],
            "rank": "all weights" if trial["full"] else trial["rank"],
            "seeds": len(runs),
        }
        for measure, name in SHOWN.items():
            estimate = over_seeds([run["scores"][measure] for run in runs])
            rows[trial["change"]][name] = with_interval(estimate)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("what was changed")


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, lowest and highest over the seeds; low and high are None for a single seed."""
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    return {"mean": sum(values) / len(values), "low": low, "high": high}


def described(group: Mapping[str, Any]) -> str:
    """A description of a group's scores, in Markdown."""
    validation = group["validation"]
    runs = [run for trial in group["trials"] for run in trial["runs"]]
    seeds, machines = (sorted({run[key] for run in runs}) for key in ("seed", "machine"))
    return (
        f"**{group['title']}.** Validation: {validation['n']} encounters of "
        f"`{validation['split']}` drawn with seed {validation['seed']}, the same for every row; "
        "these encounters are not 04's. Each score is the mean over trainings with the seeds "
        f"{', '.join(map(str, seeds))}, below it the lowest and the highest of them. "
        f"On: {', '.join(machines)}."
    )
