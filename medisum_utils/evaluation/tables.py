"""The tables of 04: scores with their intervals, few decimals, narrow enough for the page.

Systems stand side by side only where they wrote notes of the same encounters: a table of a split
leaves out who wrote fewer; `results.same_encounters` has the splits of which all wrote all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medisum_utils.data.leaks import normalise
from medisum_utils.encounter import SECTIONS, Encounter
from medisum_utils.evaluation.scores import OURS, SplitScores, SystemScores, difference
from medisum_utils.evaluation.systems import WrittenNotes
from medisum_utils.runs.results import SYSTEM_NAMES, complete_systems, split_titles
from medisum_utils.scoring.report import TITLES
from medisum_utils.scoring.rouge import ROUGE_NAMES, interval

FACT_TITLES = {
    "precision": "fact precision",
    "recall": "fact recall",
    "f1": "fact F1",
    "omission": "omitted",
    "hallucination": "hallucinated",
}
MEASURES = {**TITLES, **FACT_TITLES}
N_LENGTHS = 3  # thirds of a split, by the dialogue's words


def name_of(system: str) -> str:
    """A system as tables and legends call it."""
    return SYSTEM_NAMES.get(system, system)


def with_interval(estimate: Mapping[str, float | None] | None, digits: int = 3) -> str:
    """An estimate in two lines of HTML: the mean, its interval below; a dash for none."""
    if estimate is None:
        return "–"
    mean = f"{estimate['mean']:.{digits}f}"
    if estimate["low"] is None:
        return mean
    low, high = (f"{estimate[end]:.{digits}f}" for end in ("low", "high"))
    return f"{mean}<br><small>{low} to {high}</small>".replace("-", "−")


def results_table(splits: Mapping[str, Any]) -> pd.DataFrame:
    """ROUGE, fact F1 and hallucinations of every split and system of `metrics.json`."""
    return _by_system(
        splits,
        lambda scores: {
            "n": scores["n"],
            **_rouge_cells(scores),
            **_fact_cells(scores, ("f1", "hallucination")),
        },
    )


def summary_table(splits: Mapping[str, Any]) -> pd.DataFrame:
    """The main columns of `results_table`, one line a row."""
    table = results_table(splits)[
        ["n", TITLES["rouge1"], FACT_TITLES["f1"], FACT_TITLES["hallucination"]]
    ]
    return table.map(lambda cell: cell.replace("<br>", " ") if isinstance(cell, str) else cell)


def facts_table(splits: Mapping[str, Any]) -> pd.DataFrame:
    """All five fact scores of every split and system."""
    return _by_system(splits, lambda scores: {"n": scores["n"], **_fact_cells(scores, FACT_TITLES)})


def stemmed_table(splits: Mapping[str, Any]) -> pd.DataFrame:
    """ROUGE with stemming, for the splits of real notes; empty if there is none."""
    return _by_system(
        splits, lambda scores: _rouge_cells(scores["stemmed"]) if "stemmed" in scores else {}
    )


def _by_system(
    splits: Mapping[str, Any], cells: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> pd.DataFrame:
    """One row for each split and system that wrote all its notes, where there are cells."""
    titles = split_titles(splits)
    rows = {
        (titles[split], name_of(system)): row
        for split, entry in splits.items()
        for system, scores in complete_systems(entry).items()
        if (row := cells(scores))
    }
    return _frame(rows, ["split", "system"])


def _rouge_cells(scores: Mapping[str, Any]) -> dict[str, str]:
    return {TITLES[name]: with_interval(scores[name]) for name in ROUGE_NAMES}


def _fact_cells(scores: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Fact scores by title; a dash where they have no meaning."""
    facts = scores["facts"] or {}
    return {FACT_TITLES[name]: with_interval(facts.get(name)) for name in names}


def section_table(entry: Mapping[str, Any], scores: SplitScores) -> pd.DataFrame:
    """One split by SOAP section: ROUGE-1, ROUGE-Lsum and facts of every system that has sections.

    `entry` is the split in `metrics.json`, made of `scores`. Assessment and plan stand apart where
    no note joins them, else together: only so the rows are of the same encounters.
    """
    systems = {s: x["sections"] for s, x in complete_systems(entry).items() if x["sections"]}
    places = {  # of the notes over which each section is scored
        section: {
            tuple(part.places) if (part := scores.systems[name].sections.get(section)) else ()
            for name in systems
        }
        for section in ("assessment", "plan")
    }
    apart = all(len(different) <= 1 for different in places.values())
    left_out = ("assessment_and_plan",) if apart else ("assessment", "plan")
    rows = {
        (section.replace("_", " "), name_of(system)): {
            "notes": part["n"],
            "lacking": part["n_missing"],
            "ROUGE-1": with_interval(part["rouge1"]),
            "ROUGE-Lsum": with_interval(part["rougeLsum"]),
            **_fact_cells({"facts": part.get("facts")}, ("f1", "omission", "hallucination")),
        }
        for section in [*SECTIONS, "assessment_and_plan", "other"]
        for system, sections in systems.items()
        if section not in left_out and (part := sections.get(section)) is not None
    }
    return _frame(rows, ["section", "system"])


def kind_table(entry: Mapping[str, Any]) -> pd.DataFrame:
    """The fine-tuned model on one split by kind of fact, with what could be counted."""
    kinds = entry["systems"][OURS]["kinds"]
    columns = [name for name in FACT_TITLES if any(name in kind for kind in kinds.values())]
    rows = {
        name: {
            "facts": kind["n"],
            **({"written": kind["n_stated"]} if "n_stated" in kind else {}),
            **{FACT_TITLES[c]: with_interval(kind.get(c)) for c in columns},
        }
        for name, kind in kinds.items()
    }
    return _frame(rows, ["kind"])


def difference_table(
    scores: Mapping[str, SplitScores], seed: int, others: Sequence[str] = ()
) -> pd.DataFrame:
    """Fine-tuned minus each other system in ROUGE-1, ROUGE-Lsum and fact F1, with p, paired.

    `others` picks some; without it all that wrote every note of the split.
    """
    rows, titles = {}, split_titles(scores)
    for split, result in scores.items():
        for other in others or [name for name in result.complete if name != OURS]:
            row: dict[str, Any] = {"n": result.complete[other].n}
            for measure in ("rouge1", "rougeLsum", "f1"):
                gap = difference(result, other, measure, seed)
                row[MEASURES[measure]] = with_interval(gap)
                row[f"p, {MEASURES[measure]}"] = _p_text(gap)
            rows[titles[split], f"minus {name_of(other)}"] = row
    return _frame(rows, ["split", f"{name_of(OURS)} ..."])


def decoding_table(written: Mapping[str, Mapping[str, WrittenNotes]]) -> pd.DataFrame:
    """What decoding took, by split and system."""
    titles = split_titles(written)
    rows = {
        (titles[split], name_of(system)): {
            "notes": len(result.notes),
            "tokens": f"{result.n_tokens:,}",
            "seconds": f"{result.seconds:.1f}",
            "tokens/s": f"{result.n_tokens / result.seconds:,.0f}",
            "seconds a note": f"{result.seconds / len(result.notes):.2f}",
            "unfinished": result.n_unfinished,
            "kept from an earlier run": "yes" if result.reused else "–",
        }
        for split, results in written.items()
        for system, result in results.items()
    }
    return _frame(rows, ["split", "system"])


def _p_text(gap: Mapping[str, float | None] | None) -> str:
    """A p value; the smallest that 9,999 permutations can give is 0.0002."""
    if gap is None:
        return "–"
    return "< 0.001" if gap["p"] < 0.001 else f"{gap['p']:.3f}"


def condition_of(encounter: Encounter) -> str:
    """What kind of visit it was: its speciality, else its one header, else its subset."""
    if "speciality" in encounter.meta:
        return encounter.meta["speciality"].replace("_", " ")
    if len(encounter.note) == 1:
        return encounter.note[0].header
    return encounter.meta.get("subset", encounter.source)


def lengths_of(encounters: Sequence[Encounter]) -> pd.Categorical:
    """Each encounter's third of the split by the words of its dialogue, as a range of words.

    The categories are in the order of length.
    """
    words = np.array([len(encounter.dialogue_text.split()) for encounter in encounters])
    cuts = np.quantile(words, np.linspace(0, 1, N_LENGTHS + 1)[1:-1])
    places = np.searchsorted(cuts, words)
    ranges = {place: words[places == place] for place in np.unique(places)}
    titles = {p: f"{part.min()} to {part.max()} words" for p, part in ranges.items()}
    return pd.Categorical([titles[p] for p in places], list(dict.fromkeys(titles.values())))


def group_values(
    result: SystemScores, groups: Sequence[str] | pd.Categorical, measure: str
) -> dict[str, list[float]]:
    """A system's values of a measure by group: ordered groups in their order, else largest first.

    Empty where the measure has no meaning for the system.
    """
    values = result.values(measure)
    if values is None:
        return {}
    by_group = pd.Series(values).groupby(pd.Series(groups), observed=True)
    parts = {str(group): part.tolist() for group, part in by_group}
    if isinstance(groups, pd.Categorical):
        return parts
    return dict(sorted(parts.items(), key=lambda item: -len(item[1])))


def group_table(
    scores: SplitScores, groups: Sequence[str] | pd.Categorical, measure: str, seed: int
) -> pd.DataFrame:
    """A measure of every system by group; see `group_values`."""
    by_system = {name: group_values(x, groups, measure) for name, x in scores.complete.items()}
    rows = {
        group: {
            "n": len(values),
            **{
                name_of(name): with_interval(interval(parts[group], seed) if parts else None)
                for name, parts in by_system.items()
            },
        }
        for group, values in max(by_system.values(), key=len).items()
    }
    return _frame(rows, [MEASURES[measure]])


def style_table(scores: SplitScores) -> pd.DataFrame:
    """Form beside content: what each system's notes look like, and how they score.

    Words and lines are medians of a note; "from the dialogue" is the share of a note's words that
    stand in its dialogue.
    """
    rows = {"reference": _style(scores.references, scores.encounters)}
    for system, result in scores.complete.items():
        row = _style(result.texts, scores.encounters)
        for name in ("rouge1", "f1", "hallucination"):
            values = result.values(name)
            row[MEASURES[name]] = "–" if values is None else f"{np.mean(values):.3f}"
        rows[name_of(system)] = row
    return _frame(rows, ["notes"])


def _style(texts: Sequence[str], encounters: Sequence[Encounter]) -> dict[str, Any]:
    shares, n_words = [], []
    for text, encounter in zip(texts, encounters, strict=True):
        spoken, written = set(normalise(encounter.dialogue_text).split()), normalise(text).split()
        shares += [np.mean([word in spoken for word in written])] if written else []
        n_words.append(len(written))
    return {
        "words": f"{np.median(n_words):.0f}",
        "lines": f"{np.median([len(text.splitlines()) for text in texts]):.0f}",
        "from the dialogue": f"{np.mean(shares):.2f}" if shares else "–",
        "empty": sum(not text.strip() for text in texts),
    }


def _frame(rows: Mapping[Any, Mapping[str, Any]], names: list[str]) -> pd.DataFrame:
    """The rows as a table whose index has as many levels as `names`."""
    table = pd.DataFrame(list(rows.values()))
    if len(names) == 1:
        table.index = pd.Index(list(rows), name=names[0])
    elif rows:
        table.index = pd.MultiIndex.from_tuples(list(rows), names=names)
    return table
