"""The README's results table and minutes, written from the committed run and from nothing else.

`python -m medisum_utils.readme` rewrites the marked parts; a test holds README and files together.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medisum_utils import runs
from medisum_utils.overview import METRICS, SYSTEM_NAMES

PROFILE = "tiny"
BLOCK = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
MINUTES = re.compile(r"(\| `(0[1-5]_\w+)` \|.*\| )[^|]*( \|)$", re.MULTILINE)


def percent(score: dict[str, float]) -> str:
    """A score with its interval, in percent: "76.1 (75.0 to 77.2)"."""
    mean, low, high = (100 * score[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def results_table(metrics: dict[str, Any]) -> str:
    """The Markdown table of all splits and systems, baselines first."""
    lines = [
        f"| split | system | {' | '.join(METRICS.values())} | fact F1 | hallucinated |",
        "| --- | --- |" + " --- |" * (len(METRICS) + 2),
    ]
    for split, entry in metrics["splits"].items():
        for system, label in SYSTEM_NAMES.items():
            scores = entry["systems"][system]
            cells = [percent(scores[name]) for name in METRICS]
            cells += [percent(scores["facts"][name]) for name in ("f1", "hallucination")]
            own_n = f" (first {scores['n']})" if scores["n"] != entry["n"] else ""
            lines.append(f"| {split} (n = {entry['n']}) | {label}{own_n} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def filled(readme: str, metrics: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The README's text with table and minutes of this run.

    Raises: ValueError if the marks are missing.
    """
    if not BLOCK.search(readme):
        raise ValueError("expected <!-- results --> and <!-- /results --> in the README, got none")
    table = results_table(metrics)
    readme = BLOCK.sub(lambda match: match[1] + table + match[2], readme)

    def minutes(match: re.Match) -> str:
        seconds = manifest["steps"][match[2]]["seconds"]
        return f"{match[1]}{seconds / 60:.1f}{match[3]}"

    return MINUTES.sub(minutes, readme)


def main() -> None:
    """Rewrites README.md."""
    path = runs.project_root() / "README.md"
    folder = runs.report_dir(PROFILE)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    text = filled(path.read_text(encoding="utf-8"), metrics, runs.read_manifest(PROFILE))
    Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
