"""Reports open without a network and link to each other; the overview repeats the files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from offline import outside_addresses

from medisum_utils import runs
from medisum_utils.runs import overview, profiles, reports, results

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(
    path for path in (ROOT / "reports").glob("**/*.html") if ".failed." not in path.name
)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/"
    "iZk9HQAAAABJRU5ErkJggg=="
)


def executed_notebook(path: Path) -> Path:
    """A notebook with one of each output that reports show, written as if it had been run."""
    table = '<table border="1" class="dataframe"><thead><tr><th></th><th>system</th><th>r</th></tr>'
    table += "</thead><tbody><tr><th>0</th><td>copy</td><td>0.25</td></tr></tbody></table>"
    cells = [
        v4.new_markdown_cell(
            "# The report\n\nSee [a paper](https://arxiv.org/abs/2305.14314), "
            "<https://example.org/x/>, [the next](02_format.ipynb), [code](../README.md)\n\n"
            "## One\n\n## Two\n\n## Three"
        ),
        v4.new_code_cell("n = 3", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("n = 4", metadata={"tags": ["injected-parameters"]}),
        v4.new_code_cell(
            "show('a < b')\nagain()",
            outputs=[
                v4.new_output("display_data", {"text/html": table, "text/plain": "a table"}),
                v4.new_output("display_data", {"image/png": PIXEL}),
                v4.new_output(
                    "display_data",
                    {"application/javascript": "fetch('https://example.org')", "text/plain": "js"},
                ),
                v4.new_output("stream", name="stdout", text="a < b & c"),
            ],
        ),
        v4.new_code_cell("lora = 16", metadata={"tags": ["show-code"]}),
    ]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def html(project: Path) -> str:
    for name in ("01_data", "02_format"):
        (project / "notebooks" / f"{name}.py").touch()
    folder = runs.report_dir("p")
    folder.mkdir(parents=True)
    executed = executed_notebook(folder / "01_data.ipynb")
    return reports.write_report(executed, "p", "01_data").read_text()


def test_the_finder_sees_every_way_outside() -> None:
    for element in (
        '<img src="https://a.org/x.png">',
        '<link href="//a.org/x.css">',
        '<a href="http://a.org">x</a>',
        "<script>1</script>",
        "<style>@import 'x.css';</style>",
        '<p style="background: url(https://a.org/x.png)">',
    ):
        assert outside_addresses(element), element
    assert outside_addresses('<a href="x.html">x</a><img src="data:image/png;base64,xx">') == []


def test_a_report_leads_nowhere_outside_and_keeps_the_source(html: str) -> None:
    assert outside_addresses(html) == []
    assert "a paper (arxiv.org/abs/2305.14314)" in html
    assert ">example.org/x<" in html
    assert "default-src 'none'" in html


def test_links_lead_to_reports_and_into_the_repository(html: str) -> None:
    assert 'href="02_format.html"' in html
    assert 'href="../../README.md"' in html
    assert 'href="../index.html"' in html


def test_code_is_folded_but_for_what_is_to_be_seen(html: str) -> None:
    setup = html[html.index('<details class="setup">') : html.index('<div class="rest">')]
    assert setup.count('<details class="code" open="">') == 2  # once the fold is open
    rest = html.partition('<div class="rest">')[2]
    assert rest.count('<details class="code" open="">') == 1
    assert rest.count('<details class="code">') == 1
    assert "Parameters set by the profile" in html
    assert "Code, 2 lines" in html


def report_of(*cells: nbformat.NotebookNode) -> str:
    folder = runs.report_dir("p")
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=list(cells)), folder / "x.ipynb")
    return reports.write_report(folder / "x.ipynb", "p", "x").read_text()


def answer_cell(text: str) -> nbformat.NotebookNode:
    shown = v4.new_output("display_data", {"text/markdown": text, "text/plain": "markdown"})
    return v4.new_code_cell("answer = display(Markdown('...'))", outputs=[shown])


def test_the_answer_stands_above_parameters_and_contents(project: Path) -> None:
    html = report_of(
        v4.new_markdown_cell("# The report\n\nWhat it is about."),
        v4.new_code_cell("n = 3", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("import os"),
        v4.new_markdown_cell(f"## {reports.ANSWER}\n\nFilled in by the last cells."),
        answer_cell("**Yes**, 0.928."),
        v4.new_markdown_cell("## One\n\n## Two\n\n## Three"),
        v4.new_code_cell("show('the rest')"),
    )
    order = (
        "What it is about",
        "<strong>Yes</strong>, 0.928",
        "Parameters and imports",
        '<nav class="contents"',
        '<div class="rest">',
    )
    places = [html.index(shown) for shown in order]
    assert places == sorted(places)
    assert html.count("0.928") == 1  # moved, not copied
    assert "Filled in by" not in html
    setup = html[html.index('<details class="setup">') : html.index('class="contents"')]
    assert setup.count('class="code"') == 3  # parameters, imports and the code of the answer
    assert "show" in html.partition('<div class="rest">')[2]


def test_a_report_without_an_answer_hides_no_output(project: Path) -> None:
    html = report_of(
        v4.new_markdown_cell("# The report"),
        v4.new_code_cell("n = 3", metadata={"tags": ["parameters"]}),
        answer_cell("An output."),
    )
    assert '<section class="answer">' not in html
    assert "An output." in html.partition('<div class="rest">')[2]


def test_a_report_without_a_title_is_left_as_it_is(project: Path) -> None:
    html = report_of(v4.new_code_cell("n = 3", metadata={"tags": ["parameters"]}))
    assert '<details class="setup">' not in html
    assert "Parameters and their defaults" in html


def test_long_names_of_columns_may_break(project: Path) -> None:
    table = '<table class="dataframe"><thead><tr><th>a_b&lt;c</th></tr></thead></table>'
    shown = v4.new_output("display_data", {"text/html": table, "text/plain": "table"})
    html = report_of(v4.new_code_cell("table", outputs=[shown]))
    assert "a_<wbr/>b&lt;c</th>" in html


def test_outputs_are_shown_as_they_are_and_scripts_are_not(html: str) -> None:
    assert f"data:image/png;base64,{PIXEL}" in html
    assert "a &lt; b &amp; c" in html
    assert "fetch(" not in html
    assert '<td class="words">copy</td>' in html
    assert "<td>0.25</td>" in html


def test_an_image_that_lies_outside_is_refused(project: Path) -> None:
    folder = runs.report_dir("p")
    folder.mkdir(parents=True)
    cell = v4.new_markdown_cell("![a figure](https://example.org/x.png)")
    nbformat.write(v4.new_notebook(cells=[cell]), folder / "x.ipynb")
    with pytest.raises(ValueError, match="images inside the report"):
        reports.write_report(folder / "x.ipynb", "p", "x")


def test_navigation_links_only_reports_that_exist(html: str) -> None:
    assert '<span class="absent">02 format</span>' in html
    second = runs.report_dir("p") / "02_format.ipynb"
    shutil.copy(runs.report_dir("p") / "01_data.ipynb", second)
    reports.write_report(second, "p", "02_format")
    first = (runs.report_dir("p") / "01_data.html").read_text()
    assert '<a href="02_format.html">02 format</a>' in first
    assert first.count('<nav class="reports">') == 1


def test_a_report_that_need_not_change_is_not_written(html: str) -> None:
    folder = runs.report_dir("p")
    for name in ("01_data", "02_format"):
        reports.write_report(folder / "01_data.ipynb", "p", name)
    for path in folder.glob("*.html"):
        os.utime(path, (0, 0))
    second = executed_notebook(folder / "02_format.ipynb")
    notebook = nbformat.read(second, as_version=4)
    notebook.cells[0].source += "\n\nMore."
    nbformat.write(notebook, second)
    reports.write_report(second, "p", "02_format")
    reports.write_report(second, "p", "02_format.failed", step="02_format")
    assert "More." in (folder / "02_format.html").read_text()
    assert (folder / "01_data.html").stat().st_mtime == 0


def test_a_report_of_a_failure_changes_no_other(html: str) -> None:
    folder = runs.report_dir("p")
    page = folder / "01_data.html"
    page.write_text(page.read_text().replace("02 format", "of another time"))
    before = page.read_bytes()
    reports.write_report(folder / "01_data.ipynb", "p", "02_format.failed", step="02_format")
    assert page.read_bytes() == before


def test_a_page_is_whole_or_not_written(
    html: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.report_dir("p")
    index = overview.write_index()
    before = {path: path.read_bytes() for path in (index, folder / "01_data.html")}

    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", lambda path, text, *_, **__: full(path, text.encode()))
    runs.report_dir("q").mkdir()
    shutil.copy(folder / "01_data.html", runs.report_dir("q") / "01_data.html")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Short")]), folder / "x.ipynb")
    with pytest.raises(OSError, match="No space left"):
        overview.write_index()
    with pytest.raises(OSError, match="No space left"):
        reports.write_report(folder / "x.ipynb", "p", "01_data")
    assert {path: path.read_bytes() for path in before} == before
    assert not list(project.rglob("*.partial"))


def score(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def evaluated(profile: str, metrics: dict) -> None:
    """Leaves the metrics as a completed 04_eval does."""
    step = runs.start("04_eval", profile, {})
    runs.write_json(step.stage(runs.report_dir(profile) / "metrics.json"), metrics)
    step.finish()


def test_the_overview_shows_what_the_files_say(html: str, project: Path) -> None:
    ours = {"n": 217, "rouge1": score(0.8123), "facts": {"f1": score(0.7)}}
    copied = {"n": 217, "rouge1": score(0.3), "facts": None}
    base = {"n": 31, "rouge1": score(0.4444), "facts": {"f1": score(0.1)}}
    entry = {
        "n": 217,
        "facts_by": "record",
        "systems": {"finetuned": ours, "copy": copied, "base": base},
    }
    metrics = {"model": "models/a-base", "splits": {"test": entry}}
    evaluated("p", metrics)
    index = overview.write_index().read_text()
    assert outside_addresses(index) == []
    for shown in ("217", "0.812", "0.802–0.822", "0.700", "models/a-base", "p/01_data.html"):
        assert shown in index, shown
    assert "Fact F1 0.700 (0.690 to 0.710) on 217 notes of test." in index
    assert index.index("dialogue copied") < index.index("fine-tuned</td>")  # baselines first
    assert index.count("<td>–</td>") == 1  # the copy's fact F1
    assert "not in the encounter's record" in unescape(index)
    assert "0.444" not in index  # the base wrote others' encounters in part
    first = {name: found | {"n": 31} for name, found in entry["systems"].items()}
    entry["same_encounters"] = {"n": 31, "systems": first}
    evaluated("p", metrics)
    index = overview.write_index().read_text()
    assert index.index("on the first encounters") < index.index("0.444")
    assert "test, 31 notes" in index


def test_the_overview_shows_no_score_of_an_evaluation_that_did_not_complete(
    html: str, project: Path
) -> None:
    runs.write_manifest("p", {"profile": "p", "steps": {"01_data": {}}})
    runs.write_json(
        runs.report_dir("p") / "metrics.json",
        {"splits": {"test": {"n": 9, "systems": {"copy": {"rouge1": score(0.4567)}}}}},
    )
    index = overview.write_index().read_text()
    assert "0.457" not in index
    assert "Not run yet: 02_format" in index


def test_the_overview_of_nothing_says_how_to_begin(project: Path) -> None:
    assert "run --profile tiny" in overview.write_index().read_text()


def test_committed_reports_are_there() -> None:
    if not COMMITTED:
        pytest.fail("expected reports/index.html and the reports of tiny: run `make run`")
    assert ROOT / "reports" / "index.html" in COMMITTED


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_committed_reports_are_closed_small_and_their_links_lead_somewhere(path: Path) -> None:
    html = path.read_text(encoding="utf-8")
    assert outside_addresses(html) == []
    assert len(html.encode()) < 3_000_000
    for link in set(re.findall(r'href="([^"#]+)(?:#[^"]*)?"', html)):
        assert (path.parent / link).exists(), link


def fact_scores(f1: float, hallucination: float) -> dict:
    return {"f1": score(f1), "hallucination": score(hallucination)}


def write_metrics(profile: str, facts_by: str = "record") -> None:
    """Metrics of two splits as 04 writes them, with every score of every system."""
    rouges = {name: score(0.9) for name in results.METRICS}
    kinds = {
        "dose": {"n": 40, "f1": score(0.9)},
        "allergy": {"n": 65, "f1": score(0.464)},
        "outside the grammar": {"n": 0, "f1": score(0.0)},
        "plan": {"n": 3, "f1": None},
    }
    systems = {
        "copy": {"n": 200, **rouges, "facts": None, "kinds": None},
        "nearest": {"n": 200, **rouges, "facts": fact_scores(0.197, 0.8), "kinds": kinds},
        "finetuned": {"n": 200, **rouges, "facts": fact_scores(0.928, 0.065), "kinds": kinds},
    }
    split = {"n": 200, "facts_by": facts_by, "systems": systems}
    evaluated(profile, {"model": "m", "splits": {"test": split, "test_unseen": split}})


def test_the_overview_says_what_a_profile_is_its_best_figure_and_where_it_fails(
    project: Path,
) -> None:
    (project / "notebooks" / "profiles" / "p.yaml").write_text(
        "# The default: Llama-3-8B, any\n# CPU. Sized so that it ends.\n01_data: {}  # more\n"
    )
    write_metrics("p")
    index = overview.write_index().read_text()
    assert "<p>The default: Llama-3-8B, any CPU.</p>" in index
    assert "Sized" not in index
    best = "Fact F1 0.928 (0.918 to 0.938) on 200 notes of test; the nearest training note reaches "
    assert f"{best}0.197." in index
    assert "0.065 of the statements on test and 0.065 of the statements on test_unseen" in index
    assert "allergy on test (fact F1 0.464, 65 facts)" in index
    assert index.index("Best figure") < index.index("<table")


def test_the_overview_has_no_empty_section(project: Path) -> None:
    runs.write_manifest("p", {"profile": "p", "steps": {}})
    body = overview.write_index().read_text().partition("<body>")[2]
    for absent in ("<table", "<dl", "<details", "Best figure", "Where it fails", "One example"):
        assert absent not in body, absent


def test_a_profile_without_facts_is_judged_by_rouge(project: Path) -> None:
    systems = {"finetuned": {"n": 9, "rouge1": score(0.5), "facts": None, "kinds": None}}
    splits = {"test": {"n": 9, "facts_by": "record", "systems": systems}}
    assert results.best_figure(splits) == "ROUGE-1 0.500 (0.490 to 0.510) on 9 notes of test."
    assert results.weaknesses(splits) == ""
    assert results.score_lines(splits) == ["test, 9 notes: ROUGE-1 0.500 (0.490 to 0.510)"]
    assert results.best_figure({}) == ""


def test_the_overview_shows_an_example_only_of_the_newest_run_of_05(project: Path) -> None:
    step = runs.start("05_serve", "p", {})
    path = runs.report_dir("p") / overview.EXAMPLE_FILE
    content = {"id": "test-1", "dialogue": "Doctor: a < b?", "note": "Plan:\nNone."}
    runs.write_json(step.stage(path), content)
    step.finish()
    index = overview.write_index().read_text()
    assert "<pre>Doctor: a &lt; b?</pre><pre>Plan:\nNone.</pre>" in index
    runs.write_json(path, {**content, "note": "Of another run."})
    assert "Of another run" not in overview.write_index().read_text()


def test_a_profile_of_own_data_is_found_in_its_own_overview(project: Path) -> None:
    write_metrics("p")
    assert overview.index_path("p") == project / "reports" / "index.html"
    (runs.report_dir("p") / ".gitignore").write_text("*\n")
    assert overview.index_path("p") == runs.report_dir("p") / "index.html"


def test_every_profile_says_what_it_is() -> None:
    for name in profiles.profile_names():
        assert len(profiles.described(name)) > 20, name
        assert profiles.described(name).endswith("."), name
    assert profiles.described("of-nobody") == ""


def seen_by_a_browser(page: Path, folder: Path, width: int, expression: str) -> str:
    """What a JavaScript expression is in a page that Chromium has laid out."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs a Chromium on the PATH")
    html = page.read_text(encoding="utf-8")
    html = html.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    script = f"<script>document.title = 'seen ' + ({expression})</script>"
    watched = folder / "watched.html"
    watched.write_text(html.replace("</body>", f"{script}</body>"), encoding="utf-8")
    arguments = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'user'}", f"--window-size={width},900", "--dump-dom",
    ]  # fmt: skip
    result = subprocess.run(
        [chromium, *arguments, watched.as_uri()], capture_output=True, text=True, timeout=60
    )
    found = re.search(r"<title>seen (.*?)</title>", result.stdout, re.S)
    assert found, result.stderr[-500:]
    return found[1]


@pytest.mark.browser
def test_a_browser_renders_a_report_with_no_element_cut_off(html: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    wide = "<table><tr>" + "<td>a_long_word_in_a_cell</td>" * 30 + "</tr></table>"
    page.write_text(html.replace("</main>", f'<div class="output_subarea">{wide}</div></main>'))
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert seen_by_a_browser(page, tmp_path, 700, fits) == "true"


@pytest.mark.browser
def test_a_browser_cuts_off_no_column_of_the_overview(project: Path, tmp_path: Path) -> None:
    write_metrics("p")
    index = overview.write_index()
    cut = "[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
    assert seen_by_a_browser(index, tmp_path, 1000, cut) == "0"
    narrow = seen_by_a_browser(index, tmp_path, 500, cut)
    assert int(narrow) > 0  # so that the measure is known to see one


@pytest.mark.browser
def test_a_browser_shows_the_answer_on_the_first_screen(project: Path, tmp_path: Path) -> None:
    report_of(
        v4.new_markdown_cell("# The report\n\n" + "What it is about. " * 20),
        v4.new_code_cell("n = 3\n" * 40, metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell(f"## {reports.ANSWER}\n\nFilled in by the last cells."),
        answer_cell("**Yes**, 0.928."),
        v4.new_markdown_cell("\n\n".join(f"## Part {i}" for i in range(15))),
    )
    page = runs.report_dir("p") / "x.html"
    bottom = "document.querySelector('.answer').getBoundingClientRect().bottom"
    assert float(seen_by_a_browser(page, tmp_path, 1000, bottom)) < 500
    contents = bottom.replace(".answer", ".contents")
    assert float(seen_by_a_browser(page, tmp_path, 1000, contents)) < 900
