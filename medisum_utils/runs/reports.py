"""Executed notebooks as HTML that opens without a network: one file each, all of it inside.

The first screen says what came out; parameters and imports are folded under it. Code is folded
under a line each, except cells tagged `show-code`. A content security policy in each page forbids
scripts and outside addresses.
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medisum_utils.runs import profiles
from medisum_utils.runs.files import write_whole
from medisum_utils.runs.paths import report_dir
from medisum_utils.runs.privacy import is_private

TEMPLATES = Path(__file__).with_name("report_template")
NAVIGATION = re.compile(r"<!--navigation-->.*?<!--/navigation-->", re.S)
NUMBER = re.compile(r"[-+−±<>≤≥]?[\d.,:%/ –to()\[\]e+-]*|nan|NaN")
ANSWER = "The answer first"  # the heading of the cell that shows a notebook's answer
# What can be shown without a script, best first.
STATIC_ONLY = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"]
STATIC_ONLY += ["text/plain"]


def write_report(executed: Path, profile: str, name: str, *, step: str | None = None) -> Path:
    """Renders an executed notebook to `reports/<profile>/<name>.html` and returns that path.

    `step` is the notebook's name where it differs from the report's, as for a failed run; such a
    report changes no other. All pages are whole or not written.

    Raises: ValueError for an image that is not in the notebook.
    """
    from bs4 import BeautifulSoup

    step = step or name
    body = BeautifulSoup(_body(executed), "html.parser")
    _make_offline(body)
    _align_columns(body)
    title = _heading(body.h1) if body.h1 else step
    lead = _first_screen(body)
    headings = [(each["id"], _heading(each)) for each in body.find_all("h2") if each.get("id")]
    report = page(
        title=f"{title} ({profile})",
        body=str(body),
        navigation=navigation(profile, step),
        lead=lead,
        contents=headings if len(headings) > 2 else [],
        failed=name != step,
    )
    path = write_page(report_dir(profile) / f"{name}.html", report)
    if name == step:
        _refresh_navigation(profile)
    return path


def _heading(element: Any) -> str:
    return element.get_text().replace("¶", "").strip()


def write_page(path: Path, text: str) -> Path:
    """Writes a page, whole or not at all; one that would not change is left untouched."""
    content = text.encode()
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)
    return path


def _body(executed: Path) -> str:
    """The cells as HTML, by nbconvert and this package's template."""
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": STATIC_ONLY}}),
        template_name=TEMPLATES.name,
        extra_template_basedirs=[str(TEMPLATES.parent)],
        embed_images=True,
        exclude_output_prompt=True,
    )
    resources = {"metadata": {"path": str(profiles.notebooks_dir())}}
    body, _ = exporter.from_notebook_node(nbformat.read(executed, as_version=4), resources)
    return body


def _make_offline(body: Any) -> None:
    """Takes out what would load or lead outside: a link becomes its text with the bare address.

    Links between notebooks lead to their reports; links into the repository keep leading there.

    Raises: ValueError for an image that is not in the page.
    """
    for element in body.find_all(["script", "link", "iframe", "object", "embed", "base"]):
        element.decompose()
    for image in body.find_all("img"):
        if not image.get("src", "").startswith("data:"):
            raise ValueError(
                f"expected images inside the report, got the address {image.get('src')!r}"
            )
    for anchor in body.find_all("a", href=True):
        address = urlsplit(anchor["href"])
        if address.scheme in ("http", "https") or address.netloc:
            bare = (address.netloc + address.path).rstrip("/")
            text = anchor.get_text()
            anchor.name = "span"
            anchor.attrs = {"class": "address"}
            anchor.string = bare if urlsplit(text).netloc else f"{text} ({bare})"
        elif re.fullmatch(r"\d\d_\w+\.(ipynb|py)", address.path):
            anchor["href"] = Path(address.path).with_suffix(".html").name
        elif address.path.startswith("../"):  # from notebooks/ to here, one folder further down
            anchor["href"] = f"../{anchor['href']}"


def _align_columns(body: Any) -> None:
    """Sets the columns of data frames that hold words left; numbers stay right.

    A long name at the head of a column may break after an underscore, so that no column is cut off.
    """
    from bs4 import BeautifulSoup

    for table in body.select("table.dataframe"):
        for head in table.select("thead th"):
            parts = html.escape(head.get_text()).replace("_", "_<wbr/>")
            head.clear()
            head.append(BeautifulSoup(parts, "html.parser"))
        rows = [row.find_all(["th", "td"]) for row in table.find_all("tr")]
        for cells in zip(*rows, strict=False) if len({len(row) for row in rows}) == 1 else ():
            if not all(
                NUMBER.fullmatch(cell.get_text().strip()) for cell in cells if cell.name == "td"
            ):
                for cell in cells:
                    cell["class"] = "words"


def _first_screen(body: Any) -> dict[str, Any]:
    """Takes a report's beginning out of its body and returns it, ready for a reader in a hurry.

    That is the `title` with its paragraph, then the `answers` in a box, then `setup`: parameters
    and imports folded together. The answers are what the cells under the heading `ANSWER` show;
    without that heading there are none. A report without a title stays as it is.
    """
    cells = body.find_all("div", class_="cell")
    if not cells or cells[0].h1 is None:
        return {}
    answers, setup, answering = [], [], False
    for cell in cells[1:]:
        is_code = "code_cell" in cell["class"]
        is_heading = cell.h2 is not None and ANSWER in cell.h2.get_text()
        answering = answering or is_heading
        outputs = cell.find_all("div", class_="output_wrapper")
        if (outputs and not answering) or not (is_code or is_heading):
            break
        answers += [output.extract() for output in outputs]
        if is_code:
            setup.append(cell.extract())
        else:
            cell.decompose()  # it says that the answer is filled in later, which has happened
    return {"title": cells[0].extract(), "answers": answers, "setup": setup}


def page(title: str, body: str, navigation: str, **parts: Any) -> str:
    """A whole HTML page around a body and a navigation that are HTML already.

    `parts` are what a report has besides: `lead`, `contents`, `failed`; see the template.
    """
    template = templates().get_template("page.html.j2")
    parts = {"lead": {}, "contents": [], "failed": False, **parts}
    return template.render(title=title, body=body, navigation=navigation, css=_css(), **parts)


@cache
def _css() -> str:
    """The reports' own style and that of highlighted code."""
    from pygments.formatters import HtmlFormatter

    own = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return own + HtmlFormatter(style="default", nobackground=True).get_style_defs(".highlight")


@cache
def templates() -> Any:
    """The jinja2 environment of the report's templates; what is inserted is escaped."""
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def navigation(profile: str, here: str) -> str:
    """The line at the top of a report: the overview, then each report of the profile."""
    overview = "index.html" if is_private(profile) else "../index.html"
    parts = [f'<a href="{overview}">MediSum</a>']
    for step, label, exists in report_links(profile):
        if step == here:
            parts.append(f'<span class="here" aria-current="page">{label}</span>')
        elif exists:
            parts.append(f'<a href="{step}.html">{label}</a>')
        else:
            parts.append(f'<span class="absent">{label}</span>')
    parts.append(f'<span class="profile">profile {profile}</span>')
    inner = "\n".join(parts)
    return f'<!--navigation--><nav class="reports">\n{inner}\n</nav><!--/navigation-->'


def report_links(profile: str) -> list[tuple[str, str, bool]]:
    """Each notebook's name, its label and whether its report exists; those outside a run if so."""
    links, standard = [], profiles.steps_of(profile)
    for step in profiles.notebook_names():
        exists = (report_dir(profile) / f"{step}.html").exists()
        if exists or step in standard:
            number, _, words = step.partition("_")
            links.append((step, f"{number} {words.replace('_', ' ')}", exists))
    return links


def report_digest(path: Path) -> str:
    """The SHA-256 of a report without its navigation, which changes as others come and go."""
    text = NAVIGATION.sub("", path.read_text(encoding="utf-8"), count=1)
    return hashlib.sha256(text.encode()).hexdigest()


def _refresh_navigation(profile: str) -> None:
    """Brings the line at the top of a profile's reports up to date, where others came or went."""
    for step, _, exists in report_links(profile):
        if exists:
            path = report_dir(profile) / f"{step}.html"
            line = navigation(profile, step)
            text = NAVIGATION.sub(lambda _, line=line: line, path.read_text("utf-8"), count=1)
            write_page(path, text)
