"""Where the files of the real corpora come from: pinned commits, checked by SHA-256.

`corpora_sources.csv` names each file with its repository, commit and digest. Files are taken from
the folder that `MEDISUM_CORPORA` names, laid out as OWNER/NAME/PATH, or else downloaded with pooch
into `data/raw`, in the same layout. Either way a file that differs from its digest is refused.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.runs import project_root, sha256_file

if TYPE_CHECKING:
    import pandas

MIRROR_VARIABLE = "MEDISUM_CORPORA"
SOURCES_FILE = Path(__file__).with_name("corpora_sources.csv")

# What `sha256` is taken over: the file's bytes, or the XML inside a zip. Of MedQuAD GitHub offers
# no pinned file to download, only an archive made on request, whose compression may vary.
WHOLE_FILE, ZIP_OF_XML = "file", "zip of xml"
_URLS = {
    WHOLE_FILE: "https://raw.githubusercontent.com/{repository}/{commit}/{path}",
    ZIP_OF_XML: "https://github.com/{repository}/archive/{commit}.zip",
}


def corpora_sources() -> pandas.DataFrame:
    """Every file used, one row each: corpus, repository, commit, path, digest_of, sha256, url."""
    import pandas

    table = pandas.read_csv(SOURCES_FILE, dtype=str, keep_default_na=False)
    records = table.to_dict("records")
    table["url"] = [_URLS[row["digest_of"]].format(**row) for row in records]
    return table


def corpus_files(corpus: str, sources: pandas.DataFrame | None = None) -> dict[str, Path]:
    """The verified local files of a corpus, by their path inside its repository.

    `sources` is a table as `corpora_sources` returns it, by default that one.

    Raises: ValueError for an unknown corpus or a file that differs from its digest;
    FileNotFoundError for a file missing from the mirror; ConnectionError where a download failed.
    """
    table = corpora_sources() if sources is None else sources
    rows = table[table["corpus"] == corpus].to_dict("records")
    if not rows:
        known = ", ".join(sorted(table["corpus"].unique()))
        raise ValueError(f"expected one of the corpora {known}, got {corpus!r}")
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        return {row["path"]: _from_mirror(Path(mirror).expanduser(), row) for row in rows}
    return {row["path"]: _downloaded(project_root() / "data" / "raw", row) for row in rows}


def xml_digest(path: str | os.PathLike) -> str:
    """The SHA-256 over the XML files of a zip, whatever its compression and its root folder.

    It is that of the text which `sha256sum` prints for them, sorted by name.

    Raises: ValueError for a file that is no zip.
    """
    lines = []
    for name, content in iter_zip_xml(path):
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def iter_zip_xml(path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    """Yields (name below the root folder, bytes) of each XML file of a zip, sorted by name.

    Raises: ValueError for a file that is no zip.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"{path}: expected a zip archive, got another kind of file") from None
    with archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")]
        for name in sorted(names, key=_below_root):
            yield _below_root(name), archive.read(name)


def _below_root(name: str) -> str:
    return name.partition("/")[2]


def _from_mirror(mirror: Path, row: dict[str, str]) -> Path:
    path = mirror / row["repository"] / row["path"]
    if not path.is_file():
        raise FileNotFoundError(
            f"{row['corpus']}: no file {path}. {_how_to_get(row)} The folder comes from "
            f"{MIRROR_VARIABLE}; unset it to download instead."
        )
    _verify(path, row)
    return path


def _downloaded(folder: Path, row: dict[str, str]) -> Path:
    import pooch
    import requests

    place = folder / row["repository"] / row["path"]
    whole_file = row["digest_of"] == WHOLE_FILE
    try:
        pooch.retrieve(
            url=row["url"],
            known_hash=f"sha256:{row['sha256']}" if whole_file else None,
            fname=place.name,
            path=place.parent,
        )
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f"{row['corpus']}: the download failed ({type(error).__name__}). {_how_to_get(row)}"
        ) from error
    if not whole_file:
        _verify(place, row)
    return place


def _verify(path: Path, row: dict[str, str]) -> None:
    digest = sha256_file(path) if row["digest_of"] == WHOLE_FILE else xml_digest(path)
    if digest != row["sha256"]:
        raise ValueError(
            f"{row['corpus']}: expected {path} with SHA-256 {row['sha256']} (of the "
            f"{row['digest_of']}), got {digest}. Delete it and get it again. {_how_to_get(row)}"
        )


def _how_to_get(row: dict[str, str]) -> str:
    return (
        f"Get it from {row['url']} (commit {row['commit'][:12]} of {row['repository']}) and put it "
        f"at {row['repository']}/{row['path']} in a folder that {MIRROR_VARIABLE} names."
    )
