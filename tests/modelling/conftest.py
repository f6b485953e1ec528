"""The base that the tests of this room share; who changes it takes a copy."""

from __future__ import annotations

import pytest
import small_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_model.make_base(tmp_path_factory.mktemp("base")))
