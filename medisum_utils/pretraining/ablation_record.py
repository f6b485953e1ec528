"""The file of trials beside a base: its form, how it is read, and the table that 00 shows.

`ablation_schema.json` says the form in full. Trials are scored on validation encounters only, each
with several seeds; a file of the form before, whose trials were scored on the tests, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.runs import sha256_file, shown_path, write_json

if TYPE_CHECKING:
    import pandas

ABLATION = "ablation.json"  # beside the base that it was run on
SCHEMA_FILE = Path(__file__).with_name("ablation_schema.json")
FORM = 2  # 1 had no number: one seed a trial, and scores of test splits
SPLIT = "valid"
WEIGHTS = "model.safetensors"  # of the base
SHOWN = {"facts_f1": "fact F1", "rouge1": "ROUGE-1"}

AGAIN = "run `python -m medisum_utils ablate` on this base anew and put its file here"


def read_ablation(path: Path) -> list[dict[str, Any]]:
    """The groups of trials in a file; those of one group share base and validation encounters.

    Raises: ValueError for a file of another form, or one with scores of another split.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: expected JSON, got {type(error).__name__}") from None
    form = content.get("form", 1) if isinstance(content, dict) else None
    if form != FORM:
        why = " (its trials were scored on test splits, which they may not look at)"
        raise ValueError(
            f"{path.name}: expected trials in form {FORM}, scored on {SPLIT} with several seeds, "
            f"got form {form}{why if form == 1 else ''}; {AGAIN}"
        )
    groups = content["groups"]
    splits = sorted({group["validation"]["split"] for group in groups})
    if splits != [SPLIT]:
        raise ValueError(f"{path.name}: expected scores on {SPLIT}, got {splits}; {AGAIN}")
    return groups


def group_of(path: Path, base: str, validation: Mapping[str, Any]) -> dict[str, Any]:
    """The group that a file holds, to add runs to; one without trials where there is no file.

    Raises: ValueError for a file that holds more, or trials of another base or other encounters.
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


def has_run(group: Mapping[str, Any], settings: Mapping[str, Any], seed: int) -> bool:
    """Whether a group has the trial of these settings with this seed."""
    trial = _trial(group, settings)
    return trial is not None and seed in [run["seed"] for run in trial["runs"]]


def add_run(group: dict[str, Any], settings: Mapping[str, Any], run: dict[str, Any]) -> None:
    """Adds a run to the trial of these settings, as the last one of a new trial if need be."""
    trial = _trial(group, settings)
    if trial is None:
        group["trials"].append({**settings, "runs": [run]})
    else:
        trial["runs"].append(run)


def _trial(group: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    for trial in group["trials"]:
        if {key: value for key, value in trial.items() if key != "runs"} == settings:
            return trial
    return None


def write_groups(path: Path, groups: Sequence[Mapping[str, Any]]) -> Path:
    """Writes a file that `read_ablation` reads, whole or not at all."""
    return write_json(path, {"form": FORM, "groups": groups})


def ablation_table(group: Mapping[str, Any]) -> pandas.DataFrame:
    """One row a trial: its settings, fact F1 and ROUGE-1 as mean, lowest and highest of its seeds.

    Cells are HTML. Scores are fractions of 1, on the group's validation encounters.
    """
    import pandas as pd

    from medisum_utils.evaluation.tables import with_interval

    rows = {}
    for trial in group["trials"]:
        runs = trial["runs"]
        scores = {
            name: with_interval(over_seeds([run["scores"][measure] for run in runs]))
            for measure, name in SHOWN.items()
        }
        rows[trial["change"]] = {
            "examples": trial["n_train"],
            "examples a step": trial["batch_size"],
            "steps": runs[0]["n_steps"],
            "rank": "all weights" if trial["full"] else trial["rank"],
            "seeds": len(runs),
            **scores,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("what was changed")


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, lowest and highest of the seeds; of one seed there is no spread.

    Raises: ValueError for no values.
    """
    if not values:
        raise ValueError("expected the score of at least one seed, got none")
    mean = sum(values) / len(values)
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None}
    return {"mean": mean, "low": min(values), "high": max(values)}


def described(group: Mapping[str, Any]) -> str:
    """What a group's scores are of, in a sentence or two of Markdown."""
    validation = group["validation"]
    seeds = sorted({run["seed"] for trial in group["trials"] for run in trial["runs"]})
    machines = sorted({run["machine"] for trial in group["trials"] for run in trial["runs"]})
    return (
        f"**{group['title']}.** Validation: {validation['n']} encounters of "
        f"`{validation['split']}` drawn with seed {validation['seed']}, the same for every row; "
        "these encounters are not 04's. Each score is the mean over trainings with the seeds "
        f"{', '.join(map(str, seeds))}, below it the lowest and the highest of them. "
        f"On: {', '.join(machines)}."
    )
