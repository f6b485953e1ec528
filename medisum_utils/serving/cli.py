"""The `serve` command: `python -m medisum_utils serve --profile tiny`."""

from __future__ import annotations

import functools
import ipaddress
import logging
from typing import Annotated

import typer

from medisum_utils.profiles import find_profile, load_profile, profile_names


def serve_command(
    profile: Annotated[str, typer.Option(help="The profile whose adapter writes.")] = "tiny",
    base_model: Annotated[
        str | None, typer.Option(help="Hub name or path; default: the adapter's own base.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest note, in tokens.")] = 512,
    guidance: Annotated[
        float | None, typer.Option(min=1, help="Context-aware decoding; default: the profile's.")
    ] = None,
    no_repeat_ngram: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens that may stand in a row only once; default: likewise."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Notes written at once.")] = 8,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 32,
) -> None:
    """Serve the fine-tuned model over HTTP, with a demo page."""
    import uvicorn

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
    asked = {"guidance": guidance, "no_repeat_ngram": no_repeat_ngram}
    choices = decoding_of(profile) | {k: v for k, v in asked.items() if v is not None}
    load = functools.partial(load_writer, profile, base_model, max_new_tokens, **choices)
    app = create_app(Engine(load, max_waiting=max_waiting, max_batch=max_batch))
    uvicorn.run(app, host=host, port=port, access_log=False, log_config=None)


def decoding_of(profile: str) -> dict[str, float | int]:
    """How 05 of a profile in `notebooks/profiles` decodes, {} without one; not what `--set` chose.

    Raises: ValueError for a file that the notebooks' parameters do not fit.
    """
    if profile not in profile_names():
        return {}
    chosen = load_profile(find_profile(profile)[1]).get("05_serve", {})
    return {key: chosen[key] for key in ("guidance", "no_repeat_ngram") if key in chosen}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may stand for any address
        return False
