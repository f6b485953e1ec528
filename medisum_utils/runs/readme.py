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
SHOWN_ROUGE = ("rouge1", "rouge2")  # the README's; the report of 04 has all four
FACTS = ("f1", "hallucination")
LIKE_FOR_LIKE = ("base", "finetuned")  # compared where the base wrote a part of the notes
GOALS = (  # set before the runs: fact score, split, threshold, wording, unit of what came out
    ("hallucination", "test", 0.02, "at most {goal:.0f}% hallucinated on `test`", "%"),
    ("f1", "test_unseen", 0.75, "a fact F1 of at least {goal:.0f} on `test_unseen`", ""),
)
HIGHER_IS_BETTER = {"f1": True, "hallucination": False}
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
    """The Markdown table: the systems that wrote all notes of a split, then base and fine-tuned.

    The base, where it wrote the first notes alone, stands beside the fine-tuned model on these and
    nowhere else.
    """
    names = [METRICS[rouge] for rouge in SHOWN_ROUGE] + ["fact F1", "hallucinated"]
    lines = [f"| encounters | system | {' | '.join(names)} |", "| --- | --- |" + " --- |" * 4]
    for split, entry in splits.items():
        lines += _rows(f"`{split}` (n = {entry['n']})", complete_systems(entry))
    for split, entry in same_encounters(splits).items():
        compared = {name: entry["systems"][name] for name in LIKE_FOR_LIKE}
        lines += _rows(f"`{split}`, first {entry['n']}", compared)
    return "\n".join(lines)


def _rows(encounters: str, systems: Mapping[str, Any]) -> list[str]:
    """A row for each system, baselines first."""
    rows = []
    for system in (name for name in SYSTEM_NAMES if name in systems):
        scores, facts = systems[system], systems[system]["facts"] or {}
        cells = [scores[rouge] for rouge in SHOWN_ROUGE] + [facts.get(fact) for fact in FACTS]
        shown = " | ".join(map(percent, cells))
        rows.append(f"| {encounters} | {SYSTEM_NAMES[system]} | {shown} |")
    return rows


def results(record: Record) -> str:
    """The README's table, and before it what was run, where, and what a column means."""
    return f"{_origin(record[DEFAULT])}\n\n{results_table(record[DEFAULT]['splits'])}"


def _origin(run: Record) -> str:
    commit, date = run["commit"][:7], run["finished"].partition("T")[0]
    machine = run["machine"]
    where = f"{machine['n_cores']} cores ({machine['cpu']})".replace("(R)", "")
    where = where if machine["device"] == "cpu" else f"{machine['device']} and {where}"
    text = (
        f"Profile `{DEFAULT}` at commit {commit}, {date}: the run took "
        f"{run['seconds'] / 60:.1f} minutes and {run['peak_memory_gib']:.1f} GiB of memory on "
        f"{where}. *Hallucinated* is {HALLUCINATED['record']}."
    )
    if any(entry["systems"]["copy"]["facts"] is None for entry in run["splits"].values()):
        text += " A copied dialogue is not a note and has no fact scores."
    return text


def findings(record: Record) -> str:
    """The paragraph below the table: how well it works, where it fails, and the goals."""
    splits = record[DEFAULT]["splits"]
    f1 = [f"{_mean(entry, 'f1')} on `{split}`" for split, entry in splits.items()]
    hallucinated = [f"{_mean(entry, 'hallucination')}%" for entry in splits.values()]
    weakest = {split: entry["weakest_kind"] for split, entry in splits.items()}
    weak = [
        f"*{kind['kind']}* on `{split}` (fact F1 {100 * kind['f1']:.1f}, {kind['n']} facts)"
        for split, kind in weakest.items()
    ]
    return (
        f"The fine-tuned model reaches a fact F1 of {listed(f1)}; on average, "
        f"{listed(hallucinated)} of a note's statements, respectively, are hallucinated. It is "
        f"weakest in {listed(weak)}. {_goals(splits)}"
    )


def _mean(entry: Mapping[str, Any], fact: str) -> str:
    """The fine-tuned model's mean of a fact score, in percent."""
    return f"{100 * entry['systems']['finetuned']['facts'][fact]['mean']:.1f}"


def _goals(splits: Mapping[str, Any]) -> str:
    """The goals that were set before the runs, and whether the published run met them."""
    parts = []
    for fact, split, goal, wording, unit in GOALS:
        mean = splits[split]["systems"]["finetuned"]["facts"][fact]["mean"]
        met = mean >= goal if HIGHER_IS_BETTER[fact] else mean <= goal
        outcome = f"{'met' if met else 'missed'}: {_mean(splits[split], fact)}{unit}"
        parts.append(f"{wording.format(goal=100 * goal)} ({outcome})")
    return f"The goals, set in advance, were {listed(parts)}."


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
