"""The file of trials next to a base model or in a profile's reports: format, reading, tables.

Groups of trials share base and validation encounters; each trial has its settings (`Trial`) and one
run per seed (`run_trial`). Trials are scored on validation encounters only; files of the previous
format, whose trials were scored on tests, are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.runs import report_dir, sha256_file, shown_path, write_json

if TYPE_CHECKING:
    import pandas

ABLATION = "ablation.json"  # next to the base that the trials used
FORM = 2  # form 1 had no number, one seed per trial, and scores on test splits
SPLIT = "valid"
WEIGHTS = "model.safetensors"  # of the base
SHOWN = {"facts_f1": "fact F1", "rouge1": "ROUGE-1"}
DEFAULT = "nothing"  # what the default changes
SHOWN_OF_CORPORA = ("rouge1", "rouge2", "rougeLsum")

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


def show_trials(profile: str) -> None:
    """Shows the trials on a real corpus that lie in a profile's reports, in its notebook.

    Where there are none, nothing is shown.
    """
    from medisum_utils.evaluation import page

    path = report_dir(profile) / ABLATION
    for group in read_ablation(path) if path.exists() else []:
        page.say(described_corpus(group))
        page.show(corpus_table(group))


def corpus_table(group: Mapping[str, Any], seed: int = 0) -> pandas.DataFrame:
    """One row per trial on a real corpus: its size, ROUGE without stemming, what the change did.

    Cells are HTML; scores are fractions of 1. A score is the mean over seeds and validation
    encounters, with its bootstrap interval over encounters, each with the mean of its seeds; for
    ROUGE-1 the mean of the lowest and the highest seed stand beside it. The last column is the
    paired difference from the default, with its interval. `seed` draws the bootstrap.
    """
    import pandas as pd

    from medisum_utils.evaluation.tables import with_interval
    from medisum_utils.scoring.report import TITLES
    from medisum_utils.scoring.rouge import interval, paired_difference

    default, rows = next(filter(is_default, group["trials"]), None), {}
    for trial in group["trials"]:
        runs = trial["runs"]
        spread = over_seeds([run["scores"]["rouge1"] for run in runs])
        row = {
            "examples": runs[0]["n_examples"],
            "steps": runs[0]["n_steps"],
            "seeds": len(runs),
        }
        row |= {
            TITLES[name]: with_interval(interval(_of_notes(trial, name), seed))
            for name in SHOWN_OF_CORPORA
        }
        if len(runs) > 1:
            row["seeds, ROUGE-1"] = f"{spread['low']:.3f} to {spread['high']:.3f}"
        if default and trial is not default:
            own, its = (_of_notes(each, "rouge1") for each in (trial, default))
            row["change, ROUGE-1"] = with_interval(paired_difference(own, its, seed))
        rows[trial["change"]] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("what was changed")
    return table.fillna("–")


def is_default(trial: Mapping[str, Any]) -> bool:
    """Whether a recorded trial on a real corpus is the one that the others change."""
    return trial["change"].startswith(DEFAULT)


def _of_notes(trial: Mapping[str, Any], name: str) -> list[float]:
    """A score of each validation encounter, the mean over the trial's seeds."""
    by_note = zip(*(run["per_note"][name] for run in trial["runs"]), strict=True)
    return [sum(scores) / len(scores) for scores in by_note]


def described_corpus(group: Mapping[str, Any]) -> str:
    """A description of the scores of trials on a real corpus, in Markdown."""
    runs = [run for trial in group["trials"] for run in trial["runs"]]
    seeds, machines = (sorted({run[key] for run in runs}) for key in ("seed", "machine"))
    n, corpus = group["validation"]["n"], group["validation"]["corpus"]
    seconds = sum(run["seconds_training"] + run["seconds_writing"] for run in runs)
    changed = ""
    for default in filter(is_default, group["trials"]):
        before = f" after training on {default['start']}" if default["start"] else ""
        changed = (
            f"The default, in the first row, has an adapter of rank {default['rank']} on "
            f"{default['base']} weights, learns in {default['n_passes']} passes{before}, and "
            f"writes notes by part (`{default['parts']}`); each other row changes what it says. "
        )
    return (
        f"**{group['title']} on {corpus}.** {changed}"
        f"Scores are ROUGE without stemming of notes written greedily, on the {n} encounters of "
        f"`{SPLIT}`; no test was read. Each is the mean over trainings with the seeds "
        f"{', '.join(map(str, seeds))}, below it the 95% interval over encounters. "
        f"{len(runs)} trainings took {seconds / 60:.0f} minutes in all, on {', '.join(machines)}."
    )


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
