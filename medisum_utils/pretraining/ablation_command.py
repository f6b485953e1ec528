"""The command `ablate`: the default training with one thing changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ablate_command(
    base: Annotated[str, typer.Option(help="folder of the base model")],
    out: Annotated[Path, typer.Option(help="JSON file to write, or to go on")],
    seeds: Annotated[str, typer.Option(help="of data and training, parted by commas")] = "17,18,19",
    n: Annotated[int, typer.Option(min=2, help="validation encounters")] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the default with one thing changed at a time, and score each trial on validation.

    A run that OUT has already is not repeated: the same command goes on after a kill.
    """
    from medisum_utils.modelling.model import pick_device
    from medisum_utils.pretraining.ablation import TRIALS, parse_seeds, write_ablation

    try:
        parsed = parse_seeds(seeds)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--seeds") from None
    write_ablation(out, base, TRIALS, n_valid=n, seeds=parsed, device=pick_device(device))
