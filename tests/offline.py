"""Finds what a page would load or lead to outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

ATTRIBUTES = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
OUTSIDE = re.compile(r"^\s*(https?:|ftp:|wss?:|//)", re.I)
IN_STYLE = re.compile(r"(@import|url\(\s*['\"]?\s*(https?:|//))", re.I)


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        if tag == "script":
            self.found.append("<script>")
        for name, value in attributes:
            outside = name in ATTRIBUTES and OUTSIDE.match(value or "")
            if outside or (name == "style" and IN_STYLE.search(value or "")):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

    def handle_data(self, text: str) -> None:
        if self.in_style and IN_STYLE.search(text):
            self.found.append("<style> that loads")


def outside_addresses(html: str) -> list[str]:
    """The elements of a page that lead or load outside, and its scripts."""
    finder = _Finder()
    finder.feed(html)
    return finder.found
