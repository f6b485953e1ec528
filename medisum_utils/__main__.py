"""The command line: `python -m medisum_utils run | score | serve | ...`; see `--help`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, NoReturn

import typer

from medisum_utils.runs.notebook_pairs import Side

app = typer.Typer(
    name="medisum_utils",
    help="MediSum: fine-tune a Llama-3 with QLoRA to turn a dialogue into a SOAP note.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    profile: Annotated[
        str | None,
        typer.Option(help="a name from notebooks/profiles, or a .yaml file; tiny by default"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="your own .csv or .jsonl; --profile names the run"),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="start at this notebook")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="run this notebook alone; may be given several times"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STEP.PARAMETER=VALUE", help="override one parameter"),
    ] = None,
) -> None:
    """Execute the notebooks of a profile into reports/PROFILE, stopping at the first failure.

    STEP is a notebook's name or its number, such as 03_qlora_train or 03.
    """
    from medisum_utils.runs import interrupts

    try:
        with interrupts.as_exceptions():
            _run(profile, data, first, only or (), settings or ())
    except interrupts.Interrupted as stop:
        _end(f"stopped by {stop.name} before anything was run", stop.exit_code)


def _run(
    profile: str | None,
    data: str | None,
    first: str | None,
    only: Sequence[str],
    settings: Sequence[str],
) -> None:
    from medisum_utils.runs.execute import ProfileBusy, execute_run
    from medisum_utils.runs.failures import RunFailed, RunStopped
    from medisum_utils.runs.plan import prepare_run

    try:
        if data is not None:
            from medisum_utils.data.own_data import profile_of

            profile = profile_of(data, profile)
        prepared = prepare_run(
            profile or "tiny", first=first, only=only, settings=settings, bring_base=_bring_base
        )
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        _end(f"nothing was run: {error}", 2)
    try:
        execute_run(prepared, say=partial(print, flush=True))
    except ProfileBusy as error:
        _end(f"nothing was run: {error}", 2)
    except RunStopped as stop:
        _end(str(stop), stop.exit_code)
    except (RunFailed, ValueError, OSError) as error:
        _end(f"failed: {error}", 1)


def _bring_base(base: str) -> None:
    from medisum_utils.modelling.fetched_base import bring_base

    bring_base(base, say=typer.echo)


def _end(message: str, exit_code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(exit_code) from None


@app.command()
def index() -> None:
    """Write reports/index.html anew from the manifests and metrics of all profiles."""
    from medisum_utils.runs import shown_path
    from medisum_utils.runs.overview import write_index

    typer.echo(shown_path(write_index()))


@app.command()
def notebooks(
    take: Annotated[
        Side | None, typer.Option(help="where both files of a pair were edited, the one to keep")
    ] = None,
) -> None:
    """Bring each notebook's .py and .ipynb into agreement, from the one that was edited."""
    from medisum_utils.runs.notebook_pairs import settle_pairs

    try:
        outcomes = settle_pairs(take)
    except ValueError as error:
        _end(f"failed: {error}", 1)
    for outcome in outcomes:
        typer.echo(outcome.line, err=not outcome.settled)
    if not all(outcome.settled for outcome in outcomes):
        raise typer.Exit(1)


def _register_commands() -> None:
    """Adds the commands that other modules define; these import their heavy parts when called."""
    from medisum_utils.modelling.cli import base_command
    from medisum_utils.pretraining.cli import ablate_command, pretrain_command
    from medisum_utils.scoring.command import score_command
    from medisum_utils.serving.cli import serve_command

    app.command("base")(base_command)
    app.command("score")(score_command)
    app.command("serve")(serve_command)
    app.command("pretrain")(pretrain_command)
    app.command("ablate")(ablate_command)


_register_commands()


def main() -> None:
    """Runs the command line; a command whose extra is not installed says how to get it."""
    try:
        app(prog_name="python -m medisum_utils")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "medisum_utils":
            raise
        typer.echo(
            f"{error.name} is not installed, and this command needs it: install every extra with "
            "`make install`, or `pip install --constraint constraints.txt --editable '.[all]'`",
            err=True,
        )
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
