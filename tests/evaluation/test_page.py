"""What 04 puts on its page: nothing for what does not apply, no empty rows, details folded."""

from __future__ import annotations

import pandas as pd
import pytest

from medisum_utils.evaluation import page


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """The data of everything that is displayed."""
    displayed: list[str] = []
    monkeypatch.setattr(page, "display", lambda output: displayed.append(output.data))
    return displayed


@pytest.fixture
def table() -> pd.DataFrame:
    rows = {"a": (3, 0, "0.000<br><small>0.000 to 0.000</small>"), "b": (5, 0, "–")}
    index = pd.Index(rows, name="system")
    return pd.DataFrame(list(rows.values()), index, columns=["n", "empty", "fact F1"])


def test_what_does_not_apply_leaves_no_trace(shown):
    page.say("")
    page.show(pd.DataFrame({"n": []}), "A caption")
    page.show_folded("A summary", [])
    page.show_folded("A summary", [page.as_html(pd.DataFrame())])
    assert shown == []
    assert page.document("", pd.DataFrame()).data == ""


def test_prose_is_said_once_in_paragraphs(shown):
    page.say("One.", "", "Two.")
    assert shown == ["One.\n\nTwo."]


def test_rows_and_columns_without_content_are_left_out_and_means_of_zero_kept(table):
    remaining = page.without_empty(table)
    assert remaining.columns.tolist() == ["n", "fact F1"]
    assert remaining.index.tolist() == ["a"]


def test_a_table_of_counts_alone_keeps_its_rows(table):
    assert page.without_empty(table[["n"]]).index.tolist() == ["a", "b"]


def test_a_caption_is_escaped_and_its_code_marked(shown, table):
    page.show(table, "`test` <by> section")
    assert shown[0].startswith("<table")
    assert "><caption><code>test</code> &lt;by&gt; section</caption>" in shown[0]
    assert shown[0].count("<caption>") == 1
    assert "<details" not in shown[0]


def test_a_folded_table_stands_behind_its_caption(shown, table):
    page.show(table, "`test` by section", folded=True)
    assert shown[0].startswith("<details><summary><code>test</code> by section</summary><table")
    assert shown[0].endswith("</table></details>")
    assert "caption" not in shown[0]
    page.show_folded("A note", ["<p>text</p>"], opened=True)
    assert shown[1] == "<details open><summary>A note</summary><p>text</p></details>"


def test_integers_and_fractions_are_shown_as_such():
    table = pd.DataFrame({"n": [40, 40], "ROUGE-1": [0.51764, None]}, index=["GPT-4", "mine"])
    table["ROUGE-2"] = [0.25, 0.5]
    block = page.as_html(table)
    assert "<td>40</td>" in block
    assert "<td>0.518</td>" in block
    assert "<td>–</td>" in block


def test_a_document_holds_prose_and_tables_that_markdown_does_not_break(table):
    said = page.document("One.", table, "Two.").data
    first, block, last = said.split("\n\n")
    assert (first, last) == ("One.", "Two.")
    assert block.startswith("<table")
    assert block.endswith("</table>")
