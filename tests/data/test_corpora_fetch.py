"""Corpus files come from a mirror or a download, and are held against their digests."""

import hashlib
import http.server
import threading
import zipfile
from functools import partial
from pathlib import Path

import pandas
import pytest

from medisum_utils.data import corpora_fetch
from medisum_utils.data.corpora_fetch import corpora_sources, corpus_files, is_at_hand, xml_digest

CONTENT = b"made up\n"


@pytest.fixture
def read(monkeypatch):
    """Reads the corpus that a table of sources names."""

    def read_from(table: pandas.DataFrame) -> dict[str, Path]:
        monkeypatch.setattr(corpora_fetch, "corpora_sources", lambda: table)
        return corpus_files("c")

    return read_from


def source_row(path: str, sha256: str, url: str, digest_of: str = "file") -> pandas.DataFrame:
    row = {"corpus": "c", "repository": "owner/name", "commit": "0" * 40, "path": path}
    return pandas.DataFrame([row | {"digest_of": digest_of, "sha256": sha256, "url": url}])


@pytest.fixture
def table() -> pandas.DataFrame:
    return source_row("a/b.csv", hashlib.sha256(CONTENT).hexdigest(), "http://127.0.0.1:9/b.csv")


def test_a_mirror_is_read_in_upstream_layout(read, table, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDISUM_CORPORA", str(tmp_path))
    place = tmp_path / "owner" / "name" / "a" / "b.csv"
    with pytest.raises(FileNotFoundError) as caught:
        read(table)
    assert not is_at_hand("c")
    for needed in ("http://127.0.0.1:9/b.csv", "owner/name/a/b.csv", "MEDISUM_CORPORA"):
        assert needed in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert is_at_hand("c")
    assert read(table) == {"a/b.csv": place}
    place.write_bytes(CONTENT + b"x")
    with pytest.raises(ValueError, match="with SHA-256"):
        read(table)
    assert place.read_bytes() == CONTENT + b"x"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a real HTTP server over `tmp_path`/served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.delenv("MEDISUM_CORPORA", raising=False)
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(server, read, table, tmp_path):
    folder, address = server
    table["url"] = f"{address}/b.csv"
    with pytest.raises(ConnectionError, match="MEDISUM_CORPORA names"):
        read(table)
    (folder / "b.csv").write_bytes(b"something else")
    with pytest.raises(ValueError, match="hash"):
        read(table)
    (folder / "b.csv").write_bytes(CONTENT)
    files = read(table)
    assert files == {"a/b.csv": tmp_path / "data" / "raw" / "owner" / "name" / "a" / "b.csv"}
    (folder / "b.csv").unlink()
    assert read(table)["a/b.csv"].read_bytes() == CONTENT


def write_zip(path: Path, members: dict[str, str], compression: int) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_known_by_its_xml_not_by_its_compression(server, read):
    folder, address = server
    members = {"r/b.xml": "<b/>", "r/a.xml": "<a/>", "r/readme.txt": "hello"}
    packed = write_zip(folder / "c.zip", members, zipfile.ZIP_DEFLATED)
    other = {"s/a.xml": "<a/>", "s/b.xml": "<b/>"}
    stored = write_zip(folder / "d.zip", other, zipfile.ZIP_STORED)
    changed = write_zip(folder / "e.zip", other | {"s/b.xml": "<c/>"}, zipfile.ZIP_STORED)
    assert xml_digest(packed) == xml_digest(stored) != xml_digest(changed)
    digest = xml_digest(stored)
    assert read(source_row("c.zip", digest, f"{address}/c.zip", "zip of xml"))
    with pytest.raises(ValueError, match="of the zip of xml"):
        read(source_row("e.zip", digest, f"{address}/e.zip", "zip of xml"))
    (folder / "f.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="expected a zip archive"):
        read(source_row("f.zip", digest, f"{address}/f.zip", "zip of xml"))


def test_every_source_is_pinned():
    table = corpora_sources()
    assert table["commit"].str.fullmatch(r"[0-9a-f]{40}").all()
    assert table["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()
    assert not table.duplicated(["repository", "path"]).any()
    assert dict(table.groupby("corpus").size()) == {
        "aci-bench": 5,
        "aci-bench-released": 11,
        "medquad": 1,
        "mts-dialog": 4,
        "mts-dialog-translated": 1,
        "primock57": 3 * 57,
    }
    for row in table.to_dict("records"):
        assert row["commit"] in row["url"]


def test_a_corpus_is_at_hand_only_with_all_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDISUM_CORPORA", str(tmp_path))
    rows = corpora_sources().query("corpus == 'mts-dialog'")
    for repository, path in rows[["repository", "path"]].itertuples(index=False):
        assert not is_at_hand("mts-dialog")
        place = tmp_path / repository / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    assert is_at_hand("mts-dialog")
