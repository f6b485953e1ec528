"""The `serve` command: `python -m medisum_utils serve --profile tiny`."""

from __future__ import annotations

import functools
import ipaddress
import logging
from typing import Annotated

import typer


def serve_command(
    profile: Annotated[
        str, typer.Option(help="The profile whose adapter writes the notes.")
    ] = "tiny",
    base_model: Annotated[
        str | None,
        typer.Option(
            help="Current location of the adapter's base model [default: where it was trained]."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Notes written in one batch.")] = 8,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests that may wait in the queue.")
    ] = 32,
) -> None:
    """Serve the fine-tuned model over HTTP, with a demo page, decoding exactly as 04_eval did."""
    import uvicorn

    from medisum_utils.clutter import silence_clutter
    from medisum_utils.runs import interrupts
    from medisum_utils.serving.app import create_app
    from medisum_utils.serving.engine import Engine
    from medisum_utils.serving.remarks import data_remark
    from medisum_utils.serving.writer import bring_base_of, load_writer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not is_loopback(host):
        typer.echo(
            f"Listening on {host}: anyone who can reach it can use the model, and dialogues are "
            "sent unencrypted. Put it behind a proxy with TLS and a login.",
            err=True,
        )
    silence_clutter()
    try:
        with interrupts.as_exceptions():
            bring_base_of(profile, base_model, typer.echo)
    except interrupts.Interrupted as stop:
        typer.echo(f"stopped by {stop.name}", err=True)
        raise typer.Exit(stop.exit_code) from None
    except (ValueError, OSError, MemoryError) as error:
        also = "by hand: `python -m medisum_utils base --help`"
        typer.echo(f"failed, no base model: {error}; {also}", err=True)
        raise typer.Exit(1) from None
    load = functools.partial(load_writer, profile, base_model)
    if remark := data_remark(profile):
        typer.echo(remark, err=True)
    engine = Engine(load, max_waiting=max_waiting, max_batch=max_batch)
    app = create_app(engine, remark=remark)
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name, which may resolve to any address
        return False
