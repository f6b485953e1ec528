"""Finds a base model, in a folder or on the Hugging Face hub; says in one line what is wrong."""

from __future__ import annotations

from medisum_utils.runs.paths import resolve, shown_path


def find_base(name_or_path: str, *, endpoint: str | None = None) -> str:
    """The folder of a local base model, else its hub name once its files can be had.

    A name with exactly one slash that is no folder is taken for a hub name, except below
    `models/`. `endpoint` is another hub's address.

    Raises: FileNotFoundError for a missing or incomplete folder or an unknown hub name;
    PermissionError without log-in (401) or licence (403); ConnectionError offline; ValueError for
    what can be no name.
    """
    name_or_path = str(name_or_path)
    folder = resolve(name_or_path)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise FileNotFoundError(
                f"{shown_path(folder)} holds no config.json, so it is no complete base model; "
                "restore it from git or make it with notebook 00_tiny_base"
            )
        return str(folder)
    local = ("/", ".", "~", "models/")
    if name_or_path.startswith(local) or name_or_path.count("/") != 1:
        raise FileNotFoundError(
            f"base model {shown_path(name_or_path)} is missing; the shipped one comes with the "
            "repository (restore it from git) and notebook 00_tiny_base makes it"
        )
    _check_access(name_or_path, endpoint)
    return name_or_path


def _check_access(name: str, endpoint: str | None) -> None:
    from huggingface_hub import hf_hub_download, is_offline_mode
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        hf_hub_download(name, "config.json", endpoint=endpoint)
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


def _status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the hub's client; it wraps some of them."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code
    return error.__cause__ and _status_of(error.__cause__)
