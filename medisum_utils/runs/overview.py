"""`reports/index.html`: the results of all profiles, read from their metrics.json and run.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain, headline, profiles
from medisum_utils.runs.headline import listed as listed
from medisum_utils.runs.progress import duration
from medisum_utils.runs.reports import page, report_digest, report_links, templates, write_page
from medisum_utils.runs.steps import (
    is_private,
    project_root,
    read_manifest,
    report_dir,
    sha256_file,
    shown_path,
)

UNLISTED = ("smoke",)  # the tests' profile: its reports are not kept
EXAMPLE_FILE = "example.json"  # written by 05, of generated text alone
MADE_BY_RUNS = ("run.json", "[0-9][0-9]_*.html")
SYSTEM_NAMES = {
    "copy": "dialogue copied",
    "nearest": "nearest training note",
    "base": "base without adapter",
    "finetuned": "fine-tuned",
}
METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
FACTS = {"f1": "fact F1", "hallucination": "hallucinated"}
HALLUCINATED = {  # by `facts_by` of metrics.json
    "record": (
        "the share of the note's statements that are not in the encounter's record (kind, polarity "
        "and wording must agree)"
    ),
    "statements": (
        "the share of the note's statements that neither reference nor dialogue supports"
    ),
}


def write_index() -> Path:
    """Writes the overview over all profiles that were run and returns its path.

    A profile of own data has an overview to itself, `reports/<profile>/index.html`, since git keeps
    the common one.

    Raises: ValueError for a manifest or metrics that cannot be read, with the old overview kept.
    """
    folder = project_root() / "reports"
    made = {path.parent.name for name in MADE_BY_RUNS for path in folder.glob(f"*/{name}")}
    listed_names = sorted(made - set(UNLISTED), key=lambda name: (name != "tiny", name))
    private = [name for name in listed_names if is_private(name)]
    for name in private:
        links_from_there = {**describe_profile(name), "links": _links(name, "")}
        _write_overview(index_path(name), [links_from_there])
    shared = [describe_profile(name) for name in listed_names if name not in private]
    return _write_overview(folder / "index.html", shared)


def index_path(profile: str) -> Path:
    """The overview that shows a profile: the common one, or its own where it is of own data."""
    folder = report_dir(profile) if is_private(profile) else project_root() / "reports"
    return folder / "index.html"


def _write_overview(path: Path, described: Sequence[Mapping[str, Any]]) -> Path:
    body = templates().get_template("overview.html.j2").render(profiles=described)
    nav = '<nav class="reports"><span class="here">MediSum</span></nav>'
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_page(path, page(title="MediSum reports", body=body, navigation=nav))


def _links(profile: str, folder: str) -> list[tuple[str, str]]:
    """Label and address of each report, seen from the overview; no address for one not there."""
    return [
        (label, f"{folder}{step}.html" if exists else "")
        for step, label, exists in report_links(profile)
    ]


def describe_profile(profile: str) -> dict[str, Any]:
    """What the overview says of one profile; scores only if its last evaluation completed."""
    manifest = read_manifest(profile)
    warnings = _warnings(profile, manifest)
    metrics = read_metrics(profile)
    if not metrics and "04_eval" in manifest["steps"] and _metrics_path(profile).exists():
        warnings.append("metrics.json is not the one that 04_eval wrote; run again from 04_eval.")
    splits = metrics.get("splits", {})
    columns = _columns(splits)
    return {
        "name": profile,
        "what": profiles.described(profile),
        "best": headline.best_figure(splits),
        "fails": headline.weaknesses(splits),
        "example": read_example(profile),
        "links": _links(profile, f"{profile}/"),
        "warnings": warnings,
        "columns": [label for _, _, label in columns],
        "rows": _rows(splits, columns),
        "same_rows": _rows(same_encounters(splits), columns),
        "hallucinated": hallucinated(splits),
        "evaluates": "04_eval" in [step for step, _, _ in report_links(profile)],
        "facts": _facts(manifest, metrics),
    }


def read_metrics(profile: str) -> dict[str, Any]:
    """The content of a profile's metrics.json; empty if it is not what its last 04_eval wrote.

    Raises: ValueError for a manifest or metrics that cannot be read.
    """
    path, steps = _metrics_path(profile), read_manifest(profile)["steps"]
    if "04_eval" not in steps or not path.exists() or not _is_output(path, steps["04_eval"]):
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def read_example(profile: str) -> dict[str, str]:
    """The encounter that 05_serve keeps for the overview: `id`, `dialogue` and `note`.

    Only generated encounters are kept (see 05). Empty without one of the newest run of 05.
    """
    path, steps = report_dir(profile) / EXAMPLE_FILE, read_manifest(profile)["steps"]
    written = steps.get("05_serve", {}).get("outputs", {})
    if not path.exists() or written.get(shown_path(path)) != sha256_file(path):
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def _metrics_path(profile: str) -> Path:
    return report_dir(profile) / "metrics.json"


def complete_systems(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The systems of a split with a note for every encounter: these may stand side by side."""
    return {name: scores for name, scores in entry["systems"].items() if scores["n"] == entry["n"]}


def same_encounters(splits: Mapping[str, Any]) -> dict[str, Any]:
    """By split all systems on the encounters that each of them wrote, where that is not all."""
    return {
        split: entry["same_encounters"]
        for split, entry in splits.items()
        if "same_encounters" in entry
    }


def hallucinated(splits: Mapping[str, Any]) -> str:
    """What the column "hallucinated" means for these splits, in words; empty without splits."""
    methods = dict.fromkeys(entry["facts_by"] for entry in splits.values())
    return "; or ".join(HALLUCINATED[method] for method in methods)


def _columns(splits: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Group, key and label of each score that any system of any split has."""
    systems = [system for entry in splits.values() for system in entry["systems"].values()]
    columns = [("", key, label) for key, label in METRICS.items()]
    columns += [("facts", key, label) for key, label in FACTS.items()]
    return [
        (group, key, label)
        for group, key, label in columns
        if any(_score(system, group, key) is not None for system in systems)
    ]


def _rows(
    splits: Mapping[str, Any], columns: Sequence[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """One row for each split and system that wrote all its notes, baselines first."""
    rows = []
    for split, entry in splits.items():
        systems = complete_systems(entry)
        baselines = [name for name in SYSTEM_NAMES if name in systems and name != headline.OURS]
        others = [name for name in systems if name not in SYSTEM_NAMES]
        ours = [name for name in systems if name == headline.OURS]
        for name in baselines + others + ours:
            rows.append(
                {
                    "split": split,
                    "n": systems[name]["n"],
                    "system": SYSTEM_NAMES.get(name, name),
                    "cells": [
                        _cell(_score(systems[name], group, key)) for group, key, _ in columns
                    ],
                    "best": name == headline.OURS,
                }
            )
    return rows


def _score(system: Mapping[str, Any], group: str, key: str) -> dict[str, float] | None:
    """A score of a system; None where it has no meaning."""
    scores = system.get(group) if group else system
    return None if scores is None else scores.get(key)


def _cell(score: dict[str, float] | None) -> dict[str, str]:
    if score is None:
        return {"mean": "–", "range": ""}
    low, high = score.get("low"), score.get("high")
    shown = f"{low:.3f}–{high:.3f}" if low is not None and high is not None else ""
    return {"mean": f"{score['mean']:.3f}", "range": shown}


def _is_output(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file is as a step's entry says that it was written, where it says so."""
    digest = entry.get("outputs", {}).get(shown_path(path))
    return digest in (None, sha256_file(path))


def _warnings(profile: str, manifest: dict[str, Any]) -> list[str]:
    missing = [step for step, _, _ in report_links(profile) if step not in manifest["steps"]]
    leftovers = report_dir(profile).glob("*.failed.*")
    failed = sorted({path.name.partition(".failed.")[0] for path in leftovers})
    outdated = []
    warnings = [f"The last run stopped with an error in {step}." for step in failed]
    missing = [step for step in missing if step not in failed]
    if missing and not failed:
        warnings.append(f"Not run yet: {', '.join(missing)}.")
    for step, entry in manifest["steps"].items():
        report = report_dir(profile) / f"{step}.html"
        shown = entry.get("report_sha256")
        if "wall_s" not in entry or (shown and report.exists() and report_digest(report) != shown):
            outdated.append(step)
    if outdated:
        steps = headline.listed(outdated)
        warnings.append(f"Reports not of their step's newest run: {steps}; run again from there.")
    if stale := chain.stale_steps(manifest["steps"]):
        warnings.append(
            f"Of an older chain: {', '.join(stale)}. What they read has been made anew since; run "
            f"again from {stale[0]}."
        )
    return warnings


def _facts(manifest: dict[str, Any], metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run was and took, in words."""
    machine = manifest.get("machine", {})
    facts = [("base model", metrics.get("model"))]
    if "seconds" in manifest:
        n = len(manifest["steps"])
        facts.append(("time", f"{duration(manifest['seconds'])} for {n} notebook{'s' * (n > 1)}"))
        facts.append(("peak memory", f"{manifest['peak_memory_gib']:.2f} GiB"))
    if machine:
        words = f"{machine['cpu']}, {machine['n_cores']} cores, {machine['memory_gib']} GiB"
        device = machine["device"]
        facts.append(("machine", words if device == "cpu" else f"{words}, {device}"))
    facts.append(("finished", manifest.get("finished", "").replace("T", " ")))
    return [(term, str(value)) for term, value in facts if value]
