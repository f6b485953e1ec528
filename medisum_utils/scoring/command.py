"""The command `score`: one system's notes against their references, as a table and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def score_command(
    references: Annotated[Path, typer.Option(help="CSV with the reference notes")],
    predictions: Annotated[Path, typer.Option(help="CSV with the notes to score")],
    dialogues: Annotated[
        Path | None, typer.Option(help="CSV with column dialogue: adds the fact scores")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="CSV of another system: adds the paired differences")
    ] = None,
    protocol: Annotated[str, typer.Option(help="aci-bench, mts or soap")] = "aci-bench",
    column: Annotated[
        str | None,
        typer.Option(help="column of the notes in every file [default: note; mts: section_text]"),
    ] = None,
    match: Annotated[
        str,
        typer.Option(help="match rows by id or by row; auto: by id, or by row if no file has ids"),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="seed of intervals and p-values")] = 0,
    json: Annotated[Path | None, typer.Option(help="file to write the result to, as JSON")] = None,
) -> None:
    """Score notes against references: ROUGE per note and division in percent, with 95% intervals.

    Bad input (an unknown column, a NaN cell, ids or lengths that differ) is an error with
    exit status 2; an empty prediction is scored and counted.
    """
    from medisum_utils.scoring.files import Reading
    from medisum_utils.scoring.protocols import score_files

    try:
        result = score_files(
            references,
            predictions,
            dialogues=dialogues,
            against=against,
            protocol=protocol,
            reading=Reading(column, match),
            seed=seed,
        )
        if json is not None:
            result.write(json)
    except (ValueError, OSError) as error:
        typer.echo(f"nothing was scored: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(result.table())
