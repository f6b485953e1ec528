"""The README's figures, written from `reports/published.json` and from nothing else.

`python -m medisum_utils.runs.readme` (`make readme`) copies what the README needs from the newest
run of the default profile into that record and rewrites the README's marked parts. A run alone
changes neither: the README reports the run that the maintainers published, whatever a user runs
afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medisum_utils.runs.overview import (
    HALLUCINATED,
    METRICS,
    SYSTEM_NAMES,
    complete_systems,
    listed,
    same_encounters,
)
from medisum_utils.runs.steps import project_root, read_manifest, report_dir, require, write_json

DEFAULT = "tiny"
FACTS = ("f1", "hallucination")
GOALS = (  # set before the runs: fact score, its name and unit, split, threshold, direction
    ("hallucination", "% hallucinated", "test", 0.02, "at most"),
    ("f1", " fact F1", "test_unseen", 0.75, "at least"),
)
MINUTES = re.compile(r"(\| `(0[1-5]_\w+)` \|.*\| )[^|]*( \|)$", re.MULTILINE)

Record = Mapping[str, Any]


def record_path() -> Path:
    """Where the published figures are kept."""
    return project_root() / "reports" / "published.json"


def profile_record(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the README needs of one profile's `metrics.json` and `run.json`.

    Raises: ValueError for a run that lacks a step.
    """
    if not manifest.get("complete"):
        raise ValueError(
            f"expected a complete run of {manifest['profile']}, got the steps "
            f"{', '.join(manifest['steps']) or 'none'}"
        )
    machine = manifest["machine"]
    return {
        "commit": manifest["steps"]["04_eval"]["git_commit"],
        "finished": manifest["finished"],
        "machine": {name: machine[name] for name in ("cpu", "n_cores", "memory_gib", "device")},
        "seconds": manifest["seconds"],
        "peak_memory_gib": manifest["peak_memory_gib"],
        "step_seconds": {name: step["seconds"] for name, step in manifest["steps"].items()},
        "splits": {name: _split_record(entry) for name, entry in metrics["splits"].items()},
    }


def _split_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    record = {key: entry[key] for key in ("n", "facts_by")}
    record["systems"] = _system_records(entry["systems"])
    if "same_encounters" in entry:
        same = entry["same_encounters"]
        record["same_encounters"] = {"n": same["n"], "systems": _system_records(same["systems"])}
    if entry["facts_by"] == "record":
        kinds = entry["systems"]["finetuned"]["kinds"]
        f1 = {kind: rates["f1"]["mean"] for kind, rates in kinds.items() if rates["n"]}
        weakest = min(f1, key=f1.__getitem__)
        record["weakest_kind"] = {"kind": weakest, "n": kinds[weakest]["n"], "f1": f1[weakest]}
    return record


def _system_records(systems: Mapping[str, Any]) -> dict[str, Any]:
    records = {}
    for name, scores in systems.items():
        facts = scores["facts"]
        records[name] = {"n": scores["n"], **{rouge: scores[rouge] for rouge in METRICS}}
        records[name]["facts"] = None if facts is None else {fact: facts[fact] for fact in FACTS}
    return records


def percent(score: Mapping[str, float | None] | None) -> str:
    """A score with its interval, in percent: "76.1 (75.0 to 77.2)"; a dash for none."""
    if score is None:
        return "–"
    if score["low"] is None:
        return f"{100 * score['mean']:.1f}"
    mean, low, high = (100 * score[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def results_table(splits: Mapping[str, Any]) -> str:
    """The Markdown table of all splits and systems that wrote all notes, baselines first."""
    lines = [
        f"| split | system | {' | '.join(METRICS.values())} | fact F1 | hallucinated |",
        "| --- | --- |" + " --- |" * (len(METRICS) + len(FACTS)),
    ]
    for split, entry in splits.items():
        systems = complete_systems(entry)
        for system in (name for name in SYSTEM_NAMES if name in systems):
            scores, facts = systems[system], systems[system]["facts"] or {}
            cells = [scores[name] for name in METRICS] + [facts.get(name) for name in FACTS]
            where = f"{split} (n = {scores['n']})"
            shown = " | ".join(map(percent, cells))
            lines.append(f"| {where} | {SYSTEM_NAMES[system]} | {shown} |")
    return "\n".join(lines)


def results(record: Record) -> str:
    """The README's tables and what they were measured by and on."""
    splits = record[DEFAULT]["splits"]
    parts = [_origin(record[DEFAULT]), results_table(splits)]
    same = same_encounters(splits)
    if same:
        parts += ["All systems on the first encounters, which each of them wrote:"]
        parts += [results_table(same)]
    return "\n\n".join(parts)


def _origin(run: Record) -> str:
    commit, date = run["commit"][:7], run["finished"].partition("T")[0]
    machine = run["machine"]
    where = f"{machine['n_cores']} cores ({machine['cpu']})".replace("(R)", "")
    where = where if machine["device"] == "cpu" else f"{machine['device']} and {where}"
    said = (
        f"Profile `{DEFAULT}`, commit {commit}, {date}, {run['seconds'] / 60:.1f} minutes and "
        f"{run['peak_memory_gib']:.1f} GiB on {where}. *Hallucinated* is {HALLUCINATED['record']}."
    )
    if any(entry["systems"]["copy"]["facts"] is None for entry in run["splits"].values()):
        said += " A copied dialogue cannot be read as a note, hence its dashes."
    return said


def findings(record: Record) -> str:
    """The paragraph below the tables: where it fails, and the goals."""
    weakest = {split: entry["weakest_kind"] for split, entry in record[DEFAULT]["splits"].items()}
    weak = [
        f"*{kind['kind']}* on `{split}` (fact F1 {100 * kind['f1']:.1f}, {kind['n']} facts)"
        for split, kind in weakest.items()
    ]
    return f"The fine-tuned model is weakest in {listed(weak)}. {_goals(record)}"


def _goals(record: Record) -> str:
    """The goals that were set before, and whether the published run met them."""
    parts = []
    for score, unit, split, goal, bound in GOALS:
        facts = record[DEFAULT]["splits"][split]["systems"]["finetuned"]["facts"]
        mean = facts[score]["mean"]
        met = mean >= goal if bound == "at least" else mean <= goal
        sign = "%" if unit.startswith("%") else ""
        parts.append(
            f"{bound} {100 * goal:.0f}{unit} on `{split}` "
            f"({'met' if met else 'missed'}: {100 * mean:.1f}{sign})"
        )
    return f"The goals were {listed(parts)}."


def filled(readme: str, record: Record) -> str:
    """The README's text with the marked parts and the minutes of the record.

    Raises: ValueError if a mark is missing.
    """
    for name, text in {"results": results(record), "findings": findings(record)}.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not block.search(readme):
            raise ValueError(
                f"expected <!-- {name} --> and <!-- /{name} --> in the README, got none"
            )
        readme = block.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", readme)

    def minutes(match: re.Match) -> str:
        seconds = record[DEFAULT]["step_seconds"][match[2]]
        return f"{match[1]}{seconds / 60:.1f}{match[3]}"

    return MINUTES.sub(minutes, readme)


def main() -> None:
    """Renews the record from the newest run, then README.md from the record.

    Raises: FileNotFoundError or ValueError without a complete run.
    """
    metrics = require(report_dir(DEFAULT) / "metrics.json", "04_eval", DEFAULT)
    read = json.loads(metrics.read_text(encoding="utf-8"))
    record = {DEFAULT: profile_record(read, read_manifest(DEFAULT))}
    readme = project_root() / "README.md"
    text = filled(readme.read_text(encoding="utf-8"), record)
    write_json(record_path(), record)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
