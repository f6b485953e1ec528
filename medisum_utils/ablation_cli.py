"""The command `ablate`: the default training with one thing changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ablate_command(
    base: Annotated[str, typer.Option(help="folder of the base model")],
    out: Annotated[Path, typer.Option(help="JSON file to write")],
    n_test: Annotated[int, typer.Option(min=2, help="encounters of each test split")] = 100,
    seed: Annotated[int, typer.Option(help="of data and training")] = 17,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the default with one thing changed at a time, and score each trial."""
    from medisum_utils.ablation import TRIALS, write_ablation
    from medisum_utils.model import pick_device

    write_ablation(out, base, TRIALS, n_test=n_test, seed=seed, device=pick_device(device))
