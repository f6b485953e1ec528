"""Notebook 03 run as a whole on a small random base, for the tests of records and resuming."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import small_model

from medisum_utils import runs
from medisum_utils.encounter import write_jsonl
from medisum_utils.model import load_tokenizer
from medisum_utils.prompt import Renderer
from medisum_utils.rendered import write_rendered

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "03_qlora_train.py"
PROFILE = "small"
DEFAULTS = {
    "profile": PROFILE,
    "seed": 5,
    "base_model": "models/base",
    "device": "cpu",
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 5.0e-3,
    "n_epochs": 1.0,
    "batch_size": 2,
    "n_validations": 3,
    "n_valid": 4,
    "arithmetic": "fp32",
    "resume": False,
}


def prepare() -> None:
    """What 01 and 02 leave, and a base, in the project that MEDISUM_HOME names."""
    small_model.make_base(runs.project_root() / "models" / "base")
    folder = runs.processed_dir(PROFILE)
    renderer = Renderer(load_tokenizer("models/base"), small_model.INSTRUCTION)
    for split, n, seed in (("train", 12, 1), ("valid", 4, 2)):
        encounters = small_model.encounters(n, seed, split)
        write_jsonl(folder / f"{split}.jsonl", encounters)
        examples = [renderer.example(encounter) for encounter in encounters]
        write_rendered(folder / "rendered" / f"{split}.jsonl", examples)
    renderer.save(folder / "rendered")


@contextlib.contextmanager
def _shell() -> Iterator[Any]:
    """An IPython shell, for `display`; without a history file."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        yield shell
    finally:
        InteractiveShell.clear_instance()


def run_notebook(**parameters: Any) -> str:
    """Runs 03 with these parameters; returns what its report says, prose and tables.

    Raises: what the notebook raises.
    """
    from IPython.utils.capture import capture_output

    values = {**DEFAULTS, **parameters}
    said: list[str] = []
    with _shell() as shell:
        for cell in jupytext.read(NOTEBOOK).cells:
            if cell.cell_type != "code":
                continue
            source = cell.source
            if "parameters" in cell.metadata.get("tags", ()):
                source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
            with capture_output() as captured:
                result = shell.run_cell(source)
            result.raise_error()
            for output in captured.outputs:
                said.append(output.data.get("text/markdown") or output.data.get("text/plain", ""))
            said.append(captured.stdout)  # with what a last line shows
    return "\n".join(said)
