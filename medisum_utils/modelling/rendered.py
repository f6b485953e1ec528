"""Rendered splits: what became of every encounter, and the files that pass them on to training."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.prompt import RenderedExample, Renderer
from medisum_utils.runs.files import read_json_lines, write_json_lines


def render_all(
    renderer: Renderer,
    encounters: Iterable[Encounter],
    *,
    max_tokens: int,
    policy: str = "drop",
) -> tuple[list[RenderedExample], Counter[str]]:
    """Renders a split and counts what became of it: "whole", "cut", "dropped: <reason>".

    Raises: ValueError if nothing is left, for an unknown policy, an empty dialogue or note.
    """
    examples: list[RenderedExample] = []
    fates: Counter[str] = Counter()
    for encounter in encounters:
        rendered = renderer.fitted_example(encounter, max_tokens, policy)
        if isinstance(rendered, str):
            fates[f"dropped: {rendered}"] += 1
            continue
        fates["cut" if rendered.n_cut_turns else "whole"] += 1
        examples.append(rendered)
    if not examples:
        raise ValueError(f"expected examples within {max_tokens} tokens, got none ({dict(fates)})")
    return examples, fates


def write_rendered(path: str | os.PathLike, examples: Iterable[RenderedExample]) -> int:
    """Writes one JSON object an example, the file whole or not at all, and returns how many."""
    return write_json_lines(path, map(asdict, examples))


def read_rendered(path: str | os.PathLike) -> list[RenderedExample]:
    """What `write_rendered` wrote; see `files.read_json_lines` for what it raises."""
    return read_json_lines(path, RenderedExample)


def supervised_html(renderer: Renderer, example: RenderedExample) -> str:
    """The example as HTML with the supervised tokens marked and every control token in a box.

    It shows the text: the caller decides whether it may be seen.
    """
    names = {number: token for token, number in renderer.control_ids.items()}
    parts: list[str] = []
    run: list[int] = []  # pieces decode together: one character may be spread over several

    def close(supervised: bool) -> None:
        if not run:
            return
        text = html.escape(renderer.decode_note(run))
        parts.append(f"<mark>{text}</mark>" if supervised else text)
        run.clear()

    was_supervised = 0
    for token, supervised in zip(example.input_ids, example.completion_mask, strict=True):
        if token in names or supervised != was_supervised:
            close(bool(was_supervised))
        if token in names:
            box = f"<b>{html.escape(names[token])}</b>"
            parts.append(f"<mark>{box}</mark>" if supervised else box)
        else:
            run.append(token)
        was_supervised = supervised
    close(bool(was_supervised))
    return f'<pre style="white-space: pre-wrap">{"".join(parts)}</pre>'
