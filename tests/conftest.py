"""What all tests share: the hub offline, few threads, seeds, corpora, a project apart."""

from __future__ import annotations

import os

# Before any library reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: a second thread only waits
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["MPLBACKEND"] = "agg"

import random
import signal
import sys
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parent.parent

# A job in the background ignores SIGINT, and so would the runs that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    numpy.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """A local mirror of the corpora; without one, the test is skipped, in CI it fails."""
    folder = os.environ.get("MEDISUM_CORPORA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = (
        f"MEDISUM_CORPORA names {folder}, which is no folder"
        if folder
        else "needs the corpora: set MEDISUM_CORPORA to a local mirror"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's own root."""
    return ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project in its own folder, in place of the repository."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    monkeypatch.setenv("MEDISUM_HOME", str(tmp_path))
    return tmp_path
