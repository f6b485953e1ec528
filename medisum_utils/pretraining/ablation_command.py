"""The command `ablate`: trains the default with one setting changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ablate_command(
    base: Annotated[str, typer.Option(help="folder of the base model")],
    out: Annotated[Path, typer.Option(help="JSON file to write or to resume")],
    seeds: Annotated[
        str, typer.Option(help="seeds of data and training, separated by commas")
    ] = "17,18,19",
    n: Annotated[int, typer.Option(min=2, help="validation encounters")] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the default with one setting changed at a time; score each trial on validation data.

    Runs that are already in OUT are not repeated: the same command resumes after a kill.
    """
    from medisum_utils.modelling.model import pick_device
    from medisum_utils.pretraining.ablation import TRIALS, parse_seeds, write_ablation

    try:
        parsed = parse_seeds(seeds)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--seeds") from None
    write_ablation(out, base, TRIALS, n_valid=n, seeds=parsed, device=pick_device(device))
