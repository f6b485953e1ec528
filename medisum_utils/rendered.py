"""Rendered splits: what became of every encounter, and the files that pass them on to training."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from medisum_utils.encounter import Encounter
from medisum_utils.prompt import RenderedExample, Renderer


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
    """Writes one JSON object per example (id, input_ids, completion_mask); returns how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    n = 0
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for example in examples:
            record = {
                "id": example.id,
                "input_ids": example.input_ids,
                "completion_mask": example.completion_mask,
                "n_cut_turns": example.n_cut_turns,
            }
            file.write(json.dumps(record) + "\n")
            n += 1
    partial.replace(path)
    return n


def read_rendered(path: str | os.PathLike) -> list[RenderedExample]:
    """Reads what `write_rendered` wrote.

    Raises: ValueError that names file and line of what is no rendered example.
    """
    examples = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                example = RenderedExample(
                    record["id"],
                    tuple(record["input_ids"]),
                    tuple(record["completion_mask"]),
                    record["n_cut_turns"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{Path(path).name}, line {number}: expected a rendered example; {error}"
                ) from None
            examples.append(example)
    return examples


def supervised_html(renderer: Renderer, example: RenderedExample) -> str:
    """The example as HTML with the supervised tokens marked and every control token in a box.

    It shows the text: whoever calls it decides whether that may be seen.
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

    before = 0
    for token, supervised in zip(example.input_ids, example.completion_mask, strict=True):
        if token in names or supervised != before:
            close(bool(before))
        if token in names:
            box = f"<b>{html.escape(names[token])}</b>"
            parts.append(f"<mark>{box}</mark>" if supervised else box)
        else:
            run.append(token)
        before = supervised
    close(bool(before))
    return f'<pre style="white-space: pre-wrap">{"".join(parts)}</pre>'
