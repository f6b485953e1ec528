"""`reports/index.html`: the results of all profiles, read from their metrics.json and run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medisum_utils.runs import chain, profiles, results
from medisum_utils.runs.paths import project_root, report_dir
from medisum_utils.runs.privacy import is_private
from medisum_utils.runs.progress import duration
from medisum_utils.runs.reports import page, report_digest, report_links, templates, write_page
from medisum_utils.runs.results import Score, Splits
from medisum_utils.runs.steps import read_manifest

UNLISTED = ("smoke",)  # the tests' profile: its reports are not kept
EXAMPLE_FILE = "example.json"  # written by 05, of generated text alone
MADE_BY_RUNS = ("run.json", "[0-9][0-9]_*.html")


def write_index() -> Path:
    """Writes the overview over all profiles that were run and returns its path.

    A profile of own data has an overview to itself, `reports/<profile>/index.html`, since git keeps
    the common one.

    Raises: ValueError for a manifest or metrics that cannot be read, with the old overview kept.
    """
    folder = project_root() / "reports"
    made = {path.parent.name for name in MADE_BY_RUNS for path in folder.glob(f"*/{name}")}
    names = sorted(made - set(UNLISTED), key=lambda name: (name != "tiny", name))
    private = [name for name in names if is_private(name)]
    for name in private:
        _write_overview(index_path(name), [{**describe_profile(name), "links": _links(name, "")}])
    shared = [describe_profile(name) for name in names if name not in private]
    return _write_overview(folder / "index.html", shared)


def index_path(profile: str) -> Path:
    """The overview that shows a profile: the common one, or its own where it is of own data."""
    folder = report_dir(profile) if is_private(profile) else project_root() / "reports"
    return folder / "index.html"


def _write_overview(path: Path, described: Sequence[Mapping[str, Any]]) -> Path:
    body = templates().get_template("overview.html.j2").render(profiles=described)
    nav = '<nav class="reports"><span class="here">MediSum</span></nav>'
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
    metrics = results.read_metrics(profile)
    splits = metrics.get("splits", {})
    warnings = _warnings(profile, manifest["steps"])
    has_metrics = (report_dir(profile) / "metrics.json").exists()
    if has_metrics and not metrics and "04_eval" in manifest["steps"]:
        warnings.append("metrics.json is not the one that 04_eval wrote; run again from 04_eval.")
    systems = [system for entry in splits.values() for system in entry["systems"].values()]
    columns = {
        name: label
        for name, label in (results.METRICS | results.FACTS).items()
        if any(results.score_of(system, name) is not None for system in systems)
    }
    return {
        "name": profile,
        "what": profiles.described(profile),
        "best": results.best_figure(splits),
        "fails": results.weaknesses(splits),
        # 05 keeps only an encounter that was generated
        "example": results.read_written(profile, "05_serve", EXAMPLE_FILE),
        "links": _links(profile, f"{profile}/"),
        "warnings": warnings,
        "columns": list(columns.values()),
        "rows": _rows(splits, columns),
        "same_rows": _rows(results.same_encounters(splits), columns),
        "hallucinated": results.hallucinated(splits),
        "evaluates": "04_eval" in [step for step, _, _ in report_links(profile)],
        "facts": _facts(manifest, metrics),
    }


def _rows(splits: Splits, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row for each split and system that wrote all its notes, baselines first."""
    return [
        {
            "split": results.split_titles(splits)[split],
            "n": systems[name]["n"],
            "system": results.SYSTEM_NAMES.get(name, name),
            "cells": [_cell(results.score_of(systems[name], column)) for column in columns],
            "best": name == results.OURS,
        }
        for split, entry in splits.items()
        for systems in [results.complete_systems(entry)]
        for name in results.in_order(systems)
    ]


def _cell(score: Score | None) -> dict[str, str]:
    if score is None:
        return {"mean": "–", "range": ""}
    low, high = score.get("low"), score.get("high")
    shown = f"{low:.3f}–{high:.3f}" if low is not None and high is not None else ""
    return {"mean": f"{score['mean']:.3f}", "range": shown}


def _warnings(profile: str, steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader has to know of reports that are missing, failed or of different runs."""
    left_over = report_dir(profile).glob("*.failed.*")
    failed = sorted({path.name.partition(".failed.")[0] for path in left_over})
    warnings = [f"The last run stopped with an error in {step}." for step in failed]
    missing = [step for step, _, _ in report_links(profile) if step not in steps]
    if missing and not failed:
        warnings.append(f"Not run yet: {', '.join(missing)}.")
    outdated = []
    for step, entry in steps.items():
        report = report_dir(profile) / f"{step}.html"
        shown = entry.get("report_sha256")
        if "wall_s" not in entry or (shown and report.exists() and report_digest(report) != shown):
            outdated.append(step)
    if outdated:
        warnings.append(
            f"Reports not of their step's newest run: {results.listed(outdated)}; run again from "
            "there."
        )
    if stale := chain.stale_steps(steps):
        warnings.append(
            f"Of an older chain: {', '.join(stale)}. What they read has been made anew since; run "
            f"again from {stale[0]}."
        )
    return warnings


def _facts(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run was and took, in words."""
    facts = [("base model", metrics["model"])] if metrics.get("model") else []
    if "seconds" in manifest:  # and with it the runner's other totals
        n, machine = len(manifest["steps"]), manifest["machine"]
        facts.append(("time", f"{duration(manifest['seconds'])} for {n} notebook{'s' * (n > 1)}"))
        facts.append(("peak memory", f"{manifest['peak_memory_gib']:.2f} GiB"))
        words = f"{machine['cpu']}, {machine['n_cores']} cores, {machine['memory_gib']} GiB"
        device = machine["device"]
        facts.append(("machine", words if device == "cpu" else f"{words}, {device}"))
        facts.append(("finished", manifest["finished"].replace("T", " ")))
    return facts
