"""Line ends of texts from outside, which come from every system."""

from __future__ import annotations


def unix_lines(text: str) -> str:
    """The text with `\\n` as its only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
