"""The `serve` command: `python -m medisum_utils serve --profile tiny`."""

from __future__ import annotations

import functools
import ipaddress
import logging
from typing import Annotated

import typer


def serve_command(
    profile: Annotated[str, typer.Option(help="The profile whose adapter writes.")] = "tiny",
    base_model: Annotated[
        str | None,
        typer.Option(help="Where the adapter's own base is now; default: where it was."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Notes written at once.")] = 8,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 32,
) -> None:
    """Serve the fine-tuned model over HTTP, with a demo page, decoding as 04_eval scored it."""
    import uvicorn

    from medisum_utils.clutter import silence_clutter
    from medisum_utils.serving.app import create_app
    from medisum_utils.serving.engine import Engine
    from medisum_utils.serving.writer import load_writer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not is_loopback(host):
        typer.echo(
            f"Listening on {host}: anyone who reaches it can use the model, and dialogues travel "
            "unencrypted. Put a proxy with TLS and a login before it.",
            err=True,
        )
    silence_clutter()
    load = functools.partial(load_writer, profile, base_model)
    app = create_app(Engine(load, max_waiting=max_waiting, max_batch=max_batch))
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may stand for any address
        return False
