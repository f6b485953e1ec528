"""Where the files of the real corpora come from: pinned commits, checked by SHA-256.

`corpora_sources.csv` names each file with its repository, commit and digest. Files are taken from
the folder that `MEDISUM_CORPORA` names, laid out as OWNER/NAME/PATH, or else downloaded with pooch
into `data/raw`, in the same layout. Either way a file that differs from its digest is refused.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path

import pandas as pd

from medisum_utils.runs import project_root, sha256_file

MIRROR_VARIABLE = "MEDISUM_CORPORA"

# What `sha256` is taken over: the file's bytes, or the XML inside a zip. Of MedQuAD GitHub offers
# no pinned file to download, only an archive made on request, whose compression may vary.
WHOLE_FILE, ZIP_OF_XML = "file", "zip of xml"
_URLS = {
    WHOLE_FILE: "https://raw.githubusercontent.com/{repository}/{commit}/{path}",
    ZIP_OF_XML: "https://github.com/{repository}/archive/{commit}.zip",
}


def corpora_sources() -> pd.DataFrame:
    """Every file used, one row each: corpus, repository, commit, path, digest_of, sha256, url."""
    path = Path(__file__).with_name("corpora_sources.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["url"] = [_URLS[row["digest_of"]].format(**row) for row in table.to_dict("records")]
    return table


def corpora_folder() -> Path | None:
    """The folder that `MEDISUM_CORPORA` names, None where it names none."""
    folder = os.environ.get(MIRROR_VARIABLE)
    return Path(folder).expanduser() if folder else None


def is_at_hand(corpus: str) -> bool:
    """Whether a corpus can be read without a download."""
    return all(_place(row).is_file() for row in _rows(corpus))


def corpus_files(corpus: str, paths: Container[str] | None = None) -> dict[str, Path]:
    """The verified local files of a corpus, by their path inside its repository.

    With `paths` those files alone; the others are neither read nor downloaded.

    Raises: ValueError for a file that differs from its digest; FileNotFoundError for a file missing
    from the mirror; ConnectionError where a download failed.
    """
    wanted = [row for row in _rows(corpus) if paths is None or row["path"] in paths]
    return {row["path"]: _local_file(row) for row in wanted}


def _rows(corpus: str) -> list[dict[str, str]]:
    table = corpora_sources()
    return table[table["corpus"] == corpus].to_dict("records")


def _place(row: dict[str, str]) -> Path:
    folder = corpora_folder() or project_root() / "data" / "raw"
    return folder / row["repository"] / row["path"]


def _local_file(row: dict[str, str]) -> Path:
    path = _place(row)
    if not corpora_folder():
        _download(path, row)
    elif not path.is_file():
        raise FileNotFoundError(
            f"{row['corpus']}: no file {path}. {_how_to_get(row)} The folder comes from "
            f"{MIRROR_VARIABLE}; unset it to download instead."
        )
    digest = sha256_file(path) if row["digest_of"] == WHOLE_FILE else xml_digest(path)
    if digest != row["sha256"]:
        raise ValueError(
            f"{row['corpus']}: expected {path} with SHA-256 {row['sha256']} (of the "
            f"{row['digest_of']}), got {digest}. Delete it and get it again. {_how_to_get(row)}"
        )
    return path


def _download(path: Path, row: dict[str, str]) -> None:
    import pooch
    import requests

    known_hash = f"sha256:{row['sha256']}" if row["digest_of"] == WHOLE_FILE else None
    try:
        pooch.retrieve(row["url"], known_hash, fname=path.name, path=path.parent)
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f"{row['corpus']}: the download failed ({type(error).__name__}). {_how_to_get(row)}"
        ) from error


def _how_to_get(row: dict[str, str]) -> str:
    return (
        f"Get it from {row['url']} (commit {row['commit'][:12]} of {row['repository']}) and put it "
        f"at {row['repository']}/{row['path']} in a folder that {MIRROR_VARIABLE} names."
    )


def xml_digest(path: Path) -> str:
    """The SHA-256 over the XML files of a zip, whatever its compression and its root folder.

    It is that of the text which `sha256sum` prints for them, sorted by name.
    """
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in iter_zip_xml(path)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def iter_zip_xml(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (name below the root folder, bytes) of each XML file of a zip, sorted by name.

    Raises: ValueError for a file that is no zip.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"{path}: expected a zip archive, got another kind of file") from None
    with archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        for name in sorted(names):
            if name.endswith(".xml"):
                yield name, archive.read(names[name])
