"""`serve` silences the libraries' known noise as the notebooks do, and nothing else."""

from __future__ import annotations

import logging

import pytest

from medisum_utils.clutter import LOGGED


def test_serve_silences_known_noise_by_its_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from medisum_utils.serving.cli import serve_command

    for name in LOGGED:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    started = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **_: started.append(app))
    serve_command("never-trained", None, "127.0.0.1", 0, 8, 32)
    assert len(started) == 1
    for name, words in LOGGED.items():
        assert not is_let_through(name, f"{words}: of this machine")
        assert is_let_through(name, "autograd kernel was not registered")


def is_let_through(logger_name: str, message: str) -> bool:
    logger = logging.getLogger(logger_name)
    record = logger.makeRecord(logger_name, logging.WARNING, "x.py", 1, message, (), None)
    return bool(logger.filter(record))
