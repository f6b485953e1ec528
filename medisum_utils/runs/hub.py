"""Finds a base model, in a folder or on the Hugging Face hub; says in one line what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medisum_utils.runs.paths import PathLike, resolve, shown_path

SOURCE_FILE = "source.json"  # in a base's folder: where its weights come from

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")  # any of them

# Folders of bases that a command makes, and that command.
MADE_BY_COMMAND = {"models/smollm2-135m": "python -m medisum_utils base smollm2"}


def find_base(
    name_or_path: str, *, endpoint: str | None = None, holding: Sequence[str] = ("config.json",)
) -> str:
    """The folder of a local base model, else its hub name once its files can be had.

    A name with exactly one slash that is no folder is taken for a hub name, except below
    `models/`. `endpoint` is another hub's address. A folder must hold one of the files `holding`.

    Raises: FileNotFoundError for a missing or incomplete folder or an unknown hub name;
    PermissionError without log-in (401) or licence (403); ConnectionError offline; ValueError for
    what can be no name.
    """
    name_or_path = str(name_or_path)
    folder = resolve(name_or_path)
    if folder.is_dir():
        if not any((folder / name).exists() for name in holding):
            raise FileNotFoundError(
                f"{shown_path(folder)} holds no {' or '.join(holding)}, so it is no complete base "
                f"model; "
                f"{_how_to_get(shown_path(folder))}"
            )
        return str(folder)
    local = ("/", ".", "~", "models/")
    if name_or_path.startswith(local) or name_or_path.count("/") != 1:
        raise FileNotFoundError(
            f"base model {shown_path(name_or_path)} is missing; {_how_to_get(shown_path(folder))}"
        )
    from huggingface_hub import hf_hub_download

    with hub_errors(name_or_path):
        hf_hub_download(name_or_path, "config.json", endpoint=endpoint)
    return name_or_path


def _how_to_get(folder: str) -> str:
    """What to do about a base's folder that is missing or not whole."""
    if command := MADE_BY_COMMAND.get(folder):
        return f"make it with `{command}`, which says what it will download"
    return (
        "the shipped one comes with the repository (restore it from git) and notebook "
        "00_tiny_base makes it"
    )


def base_source(base: PathLike) -> dict[str, Any] | None:
    """Where a base's weights come from, as its `source.json` says; None for a base without one.

    The hashes of its files are left out.

    Raises: ValueError for a file that is no JSON object.
    """
    path = resolve(base) / SOURCE_FILE
    if not path.is_file():
        return None
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in source.items() if name != "files"}
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{shown_path(path)}: expected a JSON object, got {type(error).__name__}; "
            f"{_how_to_get(shown_path(path.parent))}"
        ) from None


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Raises what the hub's client raises within the block as one line that says what to do.

    Raises: as `find_base`.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"expected a hub name such as owner/model, got {name!r}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        status = _status_of(error)
        if status == 403:
            raise PermissionError(
                f"{name}: access denied (403): this account lacks the model's licence; open "
                f"https://huggingface.co/{name}, accept it, and wait until it is granted"
            ) from error
        if status == 401:
            raise PermissionError(
                f"{name}: not logged in (401), or no such model: run `hf auth login` with an "
                "account that was granted access, or set HF_TOKEN"
            ) from error
        if status == 404:
            raise FileNotFoundError(
                f"{name}: the hub has no such model with a config.json (404); check its name"
            ) from error
        if is_offline_mode():
            raise ConnectionError(
                f"{name} is not in the local cache and HF_HUB_OFFLINE forbids to download it; "
                "unset it once, or give a local path as base model"
            ) from error
        why = f"(status {status})" if status else "which cannot be reached"
        raise ConnectionError(
            f"{name} cannot be had from the hub, {why}; check the network, or give a local path "
            "as base model"
        ) from error
    except Exception as error:
        # httpx comes with the hub's client and is no dependency of ours, so its errors are known by
        # the name of their module; every other one is raised as it came.
        if not type(error).__module__.startswith("httpx"):
            raise
        raise ConnectionError(
            f"{name}: the connection to the hub broke ({type(error).__name__}); try again"
        ) from error


def _status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the hub's client; it wraps some of them."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code
    return error.__cause__ and _status_of(error.__cause__)
