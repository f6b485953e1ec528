"""The README's figures, written from `reports/published.json` and from nothing else.

`python -m medisum_utils.runs.readme` (`make readme`) copies what the README needs from the newest
run of the default profile into that record and rewrites the README's marked parts. A run alone
changes neither: the README reports the run that the maintainers published, whatever a user runs
afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medisum_utils.runs import results
from medisum_utils.runs.files import write_json
from medisum_utils.runs.paths import project_root, report_dir
from medisum_utils.runs.results import FACTS, METRICS, OURS, listed, score_of
from medisum_utils.runs.steps import read_manifest, require

DEFAULT = "tiny"
SHOWN = ("rouge1", "rouge2", "f1", "hallucination")  # the report of 04 has all four ROUGE scores
LIKE_FOR_LIKE = ("base", OURS)  # compared where the base wrote a part of the notes
MINUTES = re.compile(r"(\| `(0[1-5]_\w+)` \|.*\| )[^|]*( \|)$", re.MULTILINE)

Record = Mapping[str, Any]


def record_path() -> Path:
    """Where the published figures are kept."""
    return project_root() / "reports" / "published.json"


def profile_record(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the README needs of one profile's `metrics.json` and `run.json`.

    Raises: ValueError for a run that lacks a step.
    """
    if not metrics or not manifest.get("complete"):
        raise ValueError(
            f"expected a complete run of {manifest['profile']}, got the steps "
            f"{', '.join(manifest['steps']) or 'none'}"
        )
    return {
        "commit": manifest["steps"]["04_eval"]["git_commit"],
        "finished": manifest["finished"],
        "machine": _only(manifest["machine"], "cpu", "n_cores", "memory_gib", "device"),
        "seconds": manifest["seconds"],
        "peak_memory_gib": manifest["peak_memory_gib"],
        "step_seconds": {name: step["seconds"] for name, step in manifest["steps"].items()},
        "splits": {name: _split_record(entry) for name, entry in metrics["splits"].items()},
    }


def _split_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    record = _only(entry, "n", "facts_by") | {"systems": _system_records(entry["systems"])}
    if "same_encounters" in entry:
        same = entry["same_encounters"]
        record["same_encounters"] = {"n": same["n"], "systems": _system_records(same["systems"])}
    if entry["facts_by"] == "record":
        kind, rates = results.weakest_kind(entry["systems"][OURS])
        record["weakest_kind"] = {"kind": kind, "n": rates["n"], "f1": rates["f1"]["mean"]}
    return record


def _system_records(systems: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _only(scores, "n", *METRICS)
        | {"facts": None if scores["facts"] is None else _only(scores["facts"], *FACTS)}
        for name, scores in systems.items()
    }


def _only(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: content[name] for name in names}


def results_table(splits: Mapping[str, Any], shown: Sequence[str] = SHOWN) -> str:
    """The Markdown table: the systems that wrote all notes of a split, then base and fine-tuned.

    The base, where it wrote the first notes alone, stands beside the fine-tuned model on these and
    nowhere else. `shown` are the scores of the columns.
    """
    names = " | ".join((METRICS | FACTS)[name] for name in shown)
    lines = [f"| encounters | system | {names} |", "| --- | --- |" + " --- |" * len(shown)]
    titles = results.split_titles(splits)
    for split, entry in splits.items():
        encounters = f"`{titles[split]}` (n = {entry['n']})"
        lines += _rows(encounters, results.complete_systems(entry), shown)
    for split, entry in results.same_encounters(splits).items():
        compared = {name: entry["systems"][name] for name in LIKE_FOR_LIKE}
        lines += _rows(f"`{titles[split]}`, first {entry['n']}", compared, shown)
    return "\n".join(lines)


def _rows(encounters: str, systems: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    rows = []
    for system in results.in_order(systems):
        scores = [score_of(systems[system], name) for name in shown]
        cells = [
            "–" if each is None else results.with_interval(each, percent=True) for each in scores
        ]
        rows.append(f"| {encounters} | {results.SYSTEM_NAMES[system]} | {' | '.join(cells)} |")
    return rows


def results_part(record: Record) -> str:
    """The README's table, and before it what was run, where, and what a column means."""
    run = record[DEFAULT]
    commit, date = run["commit"][:7], run["finished"].partition("T")[0]
    machine = run["machine"]
    where = f"{machine['n_cores']} cores ({machine['cpu']})".replace("(R)", "")
    where = where if machine["device"] == "cpu" else f"{machine['device']} and {where}"
    text = (
        f"Profile `{DEFAULT}` at commit {commit}, {date}: the run took "
        f"{run['seconds'] / 60:.1f} minutes and {run['peak_memory_gib']:.1f} GiB of memory on "
        f"{where}. *Hallucinated* is {results.HALLUCINATED['record']}."
    )
    if any(entry["systems"]["copy"]["facts"] is None for entry in run["splits"].values()):
        text += " A copied dialogue is not a note and has no fact scores."
    return f"{text}\n\n{results_table(run['splits'])}"


def findings(record: Record) -> str:
    """The paragraph below the table: how well it works, where it fails, and the goals."""
    splits = record[DEFAULT]["splits"]
    f1 = [f"{_percent(entry, 'f1')} on `{split}`" for split, entry in splits.items()]
    hallucinated = [f"{_percent(entry, 'hallucination')}%" for entry in splits.values()]
    weakest = {split: entry["weakest_kind"] for split, entry in splits.items()}
    weak = [
        f"*{kind['kind']}* on `{split}` (fact F1 {100 * kind['f1']:.1f}, {kind['n']} facts)"
        for split, kind in weakest.items()
    ]
    test, unseen = splits["test"], splits["test_unseen"]  # the goals were set before the runs
    few = "met" if _mean(test, "hallucination") <= 0.02 else "missed"
    good = "met" if _mean(unseen, "f1") >= 0.75 else "missed"
    return (
        f"The fine-tuned model reaches a fact F1 of {listed(f1)}; on average, "
        f"{listed(hallucinated)} of a note's statements, respectively, are hallucinated. It is "
        f"weakest in {listed(weak)}. The goals, set in advance, were at most 2% hallucinated on "
        f"`test` ({few}: {_percent(test, 'hallucination')}%) and a fact F1 of at least 75 on "
        f"`test_unseen` ({good}: {_percent(unseen, 'f1')})."
    )


def _mean(entry: Mapping[str, Any], fact: str) -> float:
    """The fine-tuned model's mean of a fact score, as a fraction."""
    return entry["systems"][OURS]["facts"][fact]["mean"]


def _percent(entry: Mapping[str, Any], fact: str) -> str:
    return f"{100 * _mean(entry, fact):.1f}"


def filled(readme: str, record: Record) -> str:
    """The README's text with the marked parts and the minutes of the record.

    Raises: ValueError if a mark is missing.
    """
    for name, text in {"results": results_part(record), "findings": findings(record)}.items():
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
    require(report_dir(DEFAULT) / "metrics.json", "04_eval", DEFAULT)
    metrics = results.read_metrics(DEFAULT)
    record = {DEFAULT: profile_record(metrics, read_manifest(DEFAULT))}
    readme = project_root() / "README.md"
    text = filled(readme.read_text(encoding="utf-8"), record)
    write_json(record_path(), record)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
