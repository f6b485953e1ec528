"""Notes as a reader sees them in 04: beside their reference, with the differences marked.

Everything here shows text: the caller decides whether it may be seen.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

import numpy as np

from medisum_utils.evaluation.scores import OURS, SplitScores

# Marked by more than colour: what the note lacks is underlined, what it adds stands in bold.
LACKING = '<u style="background:#fbe3c4;text-decoration-style:dotted">{}</u>'
ADDED = '<b style="background:#cfe6f5">{}</b>'
SWAPPED = {"left": "right", "right": "left", "denies": "reports", "reports": "denies"}
_PIECE = re.compile(r"\s+|[^\W_]+|[\W_]")


def marked(reference: str, note: str) -> tuple[str, str]:
    """Both texts as HTML, with the words marked that only one of them has at that place."""
    pieces = [_PIECE.findall(text) for text in (reference, note)]
    keys = [[piece.lower() for piece in text] for text in pieces]
    left = right = ""
    for tag, i, i_end, j, j_end in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        same = tag == "equal"
        left += _mark("".join(pieces[0][i:i_end]), "{}" if same else LACKING)
        right += _mark("".join(pieces[1][j:j_end]), "{}" if same else ADDED)
    return left, right


def _mark(text: str, form: str) -> str:
    return form.format(html.escape(text)) if text.strip() else html.escape(text)


def altered(note: str) -> str:
    """The note made wrong where it matters: digits, sides and denials changed, few words touched.

    Every digit becomes the next one (9 becomes 1), left and right change places, "denies" and
    "reports" too, and the word "no" goes.
    """
    text = re.sub(r"\d", lambda digit: str(int(digit[0]) % 9 + 1), note)
    pattern = rf"\b({'|'.join(SWAPPED)})\b"
    text = re.sub(pattern, _swapped, text, flags=re.I)
    return re.sub(r"\bno ", "", text, flags=re.I)


def _swapped(match: re.Match) -> str:
    other = SWAPPED[match[0].lower()]
    return other.capitalize() if match[0][0].isupper() else other


def chosen_notes(scores: SplitScores, n_worst: int) -> dict[str, int]:
    """The places of the best, the median and the `n_worst` worst notes by fact F1, by title."""
    order = np.argsort(scores.systems[OURS].values("f1"), kind="stable")
    worst = {f"worst, number {i + 1}": int(place) for i, place in enumerate(order[:n_worst])}
    return {"best": int(order[-1]), "median": int(order[len(order) // 2]), **worst}


def headline(scores: SplitScores, place: int, title: str) -> str:
    """What stands above a note: which it is, and its scores. It holds no text of the note."""
    ours = scores.systems[OURS]
    return (
        f"{title.capitalize()}: {scores.encounters[place].id}, "
        f"ROUGE-1 {ours.rouge['rouge1'][place]:.2f}, fact F1 {ours.judged[place].f1:.2f}, "
        f"hallucinated {ours.judged[place].hallucination:.2f}"
    )


def side_by_side(scores: SplitScores, place: int) -> str:
    """One note beside its reference, in full."""
    texts = marked(scores.references[place], scores.systems[OURS].texts[place])
    cell = '<td style="vertical-align:top;text-align:left;white-space:pre-wrap">'
    head = "".join(f"<th>{name}</th>" for name in ("reference note", "written note"))
    row = "".join(f"{cell}{text}</td>" for text in texts)
    style = "table-layout:fixed;width:100%;overflow-wrap:anywhere"
    return f'<table style="{style}"><tr>{head}</tr><tr>{row}</tr></table>'


def wrong_facts(scores: SplitScores) -> dict[str, list[tuple[str, str, str]]]:
    """The notes' "omitted" and "hallucinated" facts, each as (id, kind, text)."""
    judged = scores.systems[OURS].judged
    return {
        side: [
            (encounter.id, fact.kind or "statement", fact.text)
            for encounter, note in zip(scores.encounters, judged, strict=False)
            for fact in getattr(note, side)
        ]
        for side in ("omitted", "hallucinated")
    }


def most_common_kinds(facts: Iterable[tuple[str, str, str]], n: int) -> str:
    """The most frequent kinds with their counts, in words."""
    counts = Counter(kind.replace("_", " ") for _, kind, _ in facts).most_common(n)
    return ", ".join(f"{kind} ({count})" for kind, count in counts) or "none"


def examples_table(facts: Sequence[tuple[str, str, str]], n: int, seed: int) -> str:
    """Up to `n` facts drawn by `seed`, not chosen, as an HTML table in the order of the split."""
    drawn = np.random.default_rng(seed).permutation(len(facts))[:n]
    rows = [("th", ("encounter", "kind", "text"))]
    rows += [("td", facts[place]) for place in sorted(drawn)]
    cell = "<{0} style='text-align:left'>{1}</{0}>"
    lines = ["".join(cell.format(tag, html.escape(part)) for part in row) for tag, row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
