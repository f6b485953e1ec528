"""The commands `pretrain` and `ablate`: make a base model, and try settings of fine-tuning it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain_command(
    recipe: Annotated[str, typer.Option(help="a name from pretraining/recipes.yaml")],
    out: Annotated[
        Path, typer.Option(help="the run's folder; the model is in its subfolder model")
    ],
    prepared: Annotated[
        bool,
        typer.Option(
            "--prepared",
            help="use the texts and tokenizer that an earlier call left in OUT/prepared",
        ),
    ] = False,
    start: Annotated[
        Path | None, typer.Option(help="folder of a finished model to continue from")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="processes that make documents [default: cores - 2]")
    ] = None,
    compile: Annotated[
        bool, typer.Option(help="compile the model for the long rows; needs a C compiler")
    ] = True,
) -> None:
    """Pretrain a base model; the same command resumes a run that was killed.

    Texts come from the corpora (see data/README.md). The tokenizer is trained on them or
    taken from the model of --start. With --prepared, for machines without the corpora, both are
    already in place.
    """
    from medisum_utils.pretraining.loop import Pretraining
    from medisum_utils.pretraining.prepare import load_prepared, prepare
    from medisum_utils.pretraining.recipe import load_recipe
    from medisum_utils.runs.machine import n_cores

    try:
        chosen = load_recipe(recipe)
        if not prepared and not (out / "state.pt").exists():
            prepare(out / "prepared", chosen, start)
        run = Pretraining(
            chosen,
            load_prepared(out / "prepared"),
            out,
            name=recipe,
            n_workers=max(0, n_cores() - 2) if workers is None else workers,
            compile=compile,
            start=start,
        )
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"nothing was trained: {error}", err=True)
        raise typer.Exit(2) from None
    try:
        run.train()
    except RuntimeError as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{run.progress.tokens:,} tokens in {run.progress.seconds:,.0f} s: {out / 'model'}")


def ablate_command(
    base: Annotated[str, typer.Option(help="folder of the base model")],
    out: Annotated[Path, typer.Option(help="JSON file to write or to resume")],
    seeds: Annotated[
        str, typer.Option(help="seeds of data and training, separated by commas")
    ] = "17,18,19",
    n: Annotated[int, typer.Option(min=2, help="validation encounters, generated")] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    corpus: Annotated[
        str, typer.Option(help="mts-dialog or aci-bench, instead of generated encounters")
    ] = "",
    trials: Annotated[
        str, typer.Option(help="with --corpus, words of the trials to run, separated by commas")
    ] = "",
    work: Annotated[
        Path | None,
        typer.Option(help="with --corpus, folder for what was learnt [default: OUT.work]"),
    ] = None,
) -> None:
    """Train the default with one setting changed at a time; score each trial on validation data.

    Runs that are already in OUT are not repeated: the same command resumes after a kill. With
    --corpus, training and validation of that corpus are read, and no test.
    """
    from medisum_utils.modelling.model import pick_device
    from medisum_utils.pretraining.ablation import TRIALS, parse_seeds, write_ablation

    try:
        parsed = parse_seeds(seeds)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--seeds") from None
    if not corpus:
        write_ablation(out, base, TRIALS, n_valid=n, seeds=parsed, device=pick_device(device))
        return
    from medisum_utils.pretraining.corpus_ablation import write_corpus_ablation
    from medisum_utils.pretraining.corpus_trials import chosen_trials

    try:
        chosen = chosen_trials(corpus, trials)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--corpus, --trials") from None
    write_corpus_ablation(
        out,
        base,
        chosen,
        seeds=parsed,
        device=pick_device(device),
        folder=work or out.with_suffix(".work"),
    )
