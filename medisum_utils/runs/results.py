"""What a run came to: one reading of its metrics, for the index, the README and the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from medisum_utils.runs.files import sha256_file
from medisum_utils.runs.paths import report_dir, shown_path
from medisum_utils.runs.steps import read_manifest

NAMED = "_named"  # ends the name of a split whose prompts say which section to write
OURS = "finetuned"
BASELINE = "nearest"
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

Splits = Mapping[str, Mapping[str, Any]]  # the "splits" of a metrics.json
Score = Mapping[str, float | None]  # "mean", and "low" and "high" where it has an interval


def read_metrics(profile: str) -> dict[str, Any]:
    """The content of a profile's metrics.json; empty if it is not what its last 04_eval wrote."""
    return read_written(profile, "04_eval", "metrics.json")


def read_written(profile: str, step: str, name: str) -> dict[str, Any]:
    """The content of a JSON file among the reports; empty unless the newest run of `step` wrote it.

    Raises: ValueError for a manifest or file that cannot be read.
    """
    path = report_dir(profile) / name
    outputs = read_manifest(profile)["steps"].get(step, {}).get("outputs", {})
    if not path.exists() or outputs.get(shown_path(path)) != sha256_file(path):
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def complete_systems(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The systems of a split with a note for every encounter: these may stand side by side."""
    return {name: scores for name, scores in entry["systems"].items() if scores["n"] == entry["n"]}


def same_encounters(splits: Splits) -> dict[str, Any]:
    """By split all systems on the encounters that each of them wrote, where that is not all."""
    return {
        split: entry["same_encounters"]
        for split, entry in splits.items()
        if "same_encounters" in entry
    }


def split_titles(splits: Iterable[str]) -> dict[str, str]:
    """What tables call each split: its name, and where it stands twice, under which protocol.

    Notes of one section are asked for in two ways: the model finds out which section it is, or is
    told so, as in the split whose name ends in `NAMED`.
    """
    names = list(splits)
    titles = {}
    for name in names:
        if name.endswith(NAMED):
            titles[name] = f"{name.removesuffix(NAMED)}, header given"
        else:
            titles[name] = f"{name}, header predicted" if f"{name}{NAMED}" in names else name
    return titles


def in_order(systems: Iterable[str]) -> list[str]:
    """Names of systems as tables list them: without a model, base, others, the fine-tuned model.

    The two that need no model stay in the order in which they come.
    """
    rank = {"copy": 0, "nearest": 0, "base": 1, OURS: 3}
    return sorted(systems, key=lambda name: rank.get(name, 2))


def score_of(system: Mapping[str, Any], name: str) -> Score | None:
    """A ROUGE or fact score of a system; None where it has no meaning."""
    return ((system.get("facts") or {}) if name in FACTS else system).get(name)


def hallucinated(splits: Splits) -> str:
    """What the column "hallucinated" means for these splits, in words; empty without splits."""
    methods = dict.fromkeys(entry["facts_by"] for entry in splits.values())
    return "; or ".join(HALLUCINATED[method] for method in methods)


def listed(parts: Iterable[str]) -> str:
    """Parts in a sentence: "a, b and c".

    Raises: ValueError for no parts.
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def with_interval(score: Score, *, percent: bool = False) -> str:
    """A score with its interval, where it has one: "0.928 (0.916 to 0.937)"."""
    mean, low, high = (
        None if each is None else f"{100 * each:.1f}" if percent else f"{each:.3f}"
        for each in (score["mean"], score.get("low"), score.get("high"))
    )
    return f"{mean}" if low is None or high is None else f"{mean} ({low} to {high})"


def score_lines(splits: Splits) -> list[str]:
    """The fine-tuned model's ROUGE-1 and fact F1 with their intervals, one line for each split."""
    lines, titles = [], split_titles(splits)
    for split, entry in splits.items():
        if (system := entry["systems"].get(OURS)) is not None:
            rouge1 = with_interval(system["rouge1"])
            lines.append(f"{titles[split]}, {system['n']} notes: ROUGE-1 {rouge1}")
            if f1 := score_of(system, "f1"):
                lines[-1] += f", fact F1 {with_interval(f1)}"
    return lines


def best_figure(splits: Splits) -> str:
    """The fine-tuned model's fact F1 on the first test, else its ROUGE-1, beside a baseline's.

    The baseline is the nearest training note. Empty without a score.
    """
    for split, entry in splits.items():
        if (system := entry["systems"].get(OURS)) is None:
            continue
        name = "rouge1" if score_of(system, "f1") is None else "f1"
        words = f"{(METRICS | FACTS)[name]} {with_interval(score_of(system, name))} on "
        words += f"{system['n']} notes of {split_titles(splits)[split]}"
        if theirs := score_of(entry["systems"].get(BASELINE, {}), name):
            words += f"; the nearest training note reaches {theirs['mean']:.3f}"
        return f"{words}."
    return ""


def weaknesses(splits: Splits) -> str:
    """Where the fine-tuned model fails: hallucinated share and weakest kind of fact by split.

    Empty where neither was counted.
    """
    shares, kinds = [], []
    for name, entry in splits.items():
        split = split_titles(splits)[name]
        system = entry["systems"].get(OURS, {})
        if share := score_of(system, "hallucination"):
            shares.append(f"{share['mean']:.3f} of the statements on {split}")
        if weakest := weakest_kind(system):
            kind, rates = weakest
            f1 = rates["f1"]["mean"]
            kinds.append(f"{kind} on {split} (fact F1 {f1:.3f}, {rates['n']} facts)")
    parts = {"Hallucinated": shares, "Weakest kind of fact": kinds}
    return " ".join(f"{name}: {listed(each)}." for name, each in parts.items() if each)


def weakest_kind(system: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The kind of fact with the lowest F1 and its rates, among kinds that the references have.

    None where no kind has an F1.
    """
    rated = {
        kind: rates
        for kind, rates in (system.get("kinds") or {}).items()
        if rates["n"] and rates.get("f1") is not None
    }
    return min(rated.items(), key=lambda item: item[1]["f1"]["mean"], default=None)
