"""What 04 puts on its page: a table in one call, details folded away, prose that may be absent."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

import pandas as pd
from IPython.display import HTML, Markdown, display

COUNTS = ("n", "notes")  # a row that holds nothing beside these has nothing to say


def say(*paragraphs: str) -> None:
    """Displays paragraphs of Markdown; empty ones, which do not apply, leave no trace."""
    if any(paragraphs):
        display(document(*paragraphs))


def document(*parts: str | pd.DataFrame) -> Markdown:
    """Paragraphs of Markdown and tables as one output, for a place that is filled in later.

    The cells of a table must hold no empty line, at which Markdown would end it.
    """
    blocks = [part if isinstance(part, str) else as_html(part) for part in parts]
    return Markdown("\n\n".join(block for block in blocks if block))


def show(table: pd.DataFrame, caption: str = "", *, folded: bool = False) -> None:
    """Displays a table whose cells are HTML under its caption; an empty one leaves no trace.

    A folded table shows its caption alone, until a reader opens it.
    """
    if folded:
        show_folded(caption, [as_html(table)])
    elif block := as_html(table, caption):
        display(HTML(block))


def show_folded(summary: str, blocks: Iterable[str], *, opened: bool = False) -> None:
    """Displays blocks of HTML behind a line that a reader may open; nothing for no blocks.

    What is `opened` is seen at once, and may be folded.
    """
    if inside := "".join(blocks):
        tag = "<details open>" if opened else "<details>"
        display(HTML(f"{tag}<summary>{inline_code(summary)}</summary>{inside}</details>"))


def as_html(table: pd.DataFrame, caption: str = "") -> str:
    """A table whose cells are HTML already; the index stands in the first columns.

    Rows and columns that hold nothing but zeros and dashes are left out; "" if nothing remains.
    """
    table = without_empty(table)
    if table.empty:
        return ""
    shown = table.reset_index() if any(table.index.names) else table
    block = shown.to_html(
        escape=False,
        index=shown is table,
        na_rep="–",
        border=0,
        float_format="{:.3f}".format,
    )
    if caption:
        block = block.replace(">", f"><caption>{inline_code(caption)}</caption>", 1)
    return block


def without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns and rows in which nothing was counted or measured.

    Means of zero are kept: that something never happened in measured notes is a result.
    """
    blank = table.map(lambda cell: pd.isna(cell) or str(cell) in ("0", "–", ""))
    measured = blank.drop(columns=[name for name in COUNTS if name in table])
    if measured.shape[1]:
        table, blank = table[~measured.all(axis=1)], blank[~measured.all(axis=1)]
    return table.loc[:, ~blank.all()]


def inline_code(text: str) -> str:
    """Plain text as HTML, with what stands between backticks set as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))
