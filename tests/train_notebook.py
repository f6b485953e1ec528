"""Notebook 03 run as a whole on a small random base, for the tests of records and resuming."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import small_model

from medisum_utils import runs
from medisum_utils.encounter import read_jsonl, write_jsonl
from medisum_utils.modelling.model import load_tokenizer
from medisum_utils.modelling.prompt import PROMPT_FILE, Renderer
from medisum_utils.modelling.rendered import write_rendered

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "03_qlora_train.py"
PROFILE = "small"
DEFAULTS = {
    "profile": PROFILE,
    "seed": 5,
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
    (runs.project_root() / "notebooks").symlink_to(NOTEBOOK.parent)
    small_model.make_base(runs.project_root() / "models" / "base")
    write_data()
    render()


def write_data(seed: int = 1) -> None:
    """What 01 leaves."""
    step = runs.start("01_data", PROFILE, {})
    for split, n, seed_of_split in (("train", 12, seed), ("valid", 4, 2)):
        path = step.stage(runs.processed_dir(PROFILE) / f"{split}.jsonl")
        write_jsonl(path, small_model.encounters(n, seed_of_split, split))
    step.finish()
    small_model.leave_splits(runs.processed_dir(PROFILE), {"typed": 12}, tested_on="elsewhere")


def render(instruction: str = small_model.INSTRUCTION) -> None:
    """What 02 leaves."""
    folder = runs.processed_dir(PROFILE)
    paths = {split: folder / f"{split}.jsonl" for split in ("train", "valid")}
    step = runs.start("02_format", PROFILE, {}, [*paths.values()])
    renderer = Renderer(load_tokenizer("models/base"), instruction, "models/base")
    for split, path in paths.items():
        examples = [renderer.example(encounter) for encounter in read_jsonl(path)]
        write_rendered(step.stage(folder / "rendered" / f"{split}.jsonl"), examples)
    renderer.save(step.stage(folder / "rendered" / PROMPT_FILE).parent)
    step.finish()


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
