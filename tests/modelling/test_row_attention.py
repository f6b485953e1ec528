"""Prompts read row by row give the attention that the mask of the whole batch gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import small_model
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from medisum_utils.modelling import row_attention
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import generate_notes
from medisum_utils.modelling.model import load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer

MODULE = SimpleNamespace(num_key_value_groups=2, is_causal=True, training=False)
N = 9  # prompt tokens
PADDING = (0, 3, 8)


def states(n_queries: int, n_keys: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    heads = {"query": (4, n_queries), "key": (2, n_keys), "value": (2, n_keys)}
    return {
        name: torch.randn(len(PADDING), *shape, 8, generator=generator)
        for name, shape in heads.items()
    }


def test_no_row_is_read_otherwise_than_under_its_mask():
    causal = torch.ones(N, N, dtype=torch.bool).tril()
    rows = [causal & (torch.arange(N) >= first) for first in PADDING]
    batch = {**states(N, N), "attention_mask": torch.stack(rows)[:, None]}
    ours, _ = row_attention.row_attention(MODULE, **batch, scaling=0.3)
    theirs, _ = sdpa_attention_forward(MODULE, **batch, scaling=0.3)
    for row, first in enumerate(PADDING):
        torch.testing.assert_close(ours[row, first:], theirs[row, first:])
        assert not ours[row, :first].any()


@pytest.mark.parametrize("n_queries", [1, 5])
def test_queries_that_go_on_look_at_what_their_mask_allows(n_queries):
    """Any mask: candidates do not see each other, and rows have holes."""
    allowed = torch.rand(len(PADDING), 1, n_queries, 14, generator=torch.Generator().manual_seed(4))
    batch = {**states(n_queries, 14), "attention_mask": allowed > 0.5}
    ours, _ = row_attention.row_attention(MODULE, **batch, scaling=0.3)
    theirs, _ = sdpa_attention_forward(MODULE, **batch, scaling=0.3)
    torch.testing.assert_close(ours, theirs)


def test_generating_uses_it_and_leaves_the_model_as_it_was(base, monkeypatch):
    model = load_base(base, quantize=False)
    renderer = Renderer(load_tokenizer(base), small_model.INSTRUCTION)
    dialogues = [e.dialogue_text for e in small_model.encounters(3)]
    expected = _without_cache(model, renderer, dialogues)
    calls = []

    def counted(module, query, *others, **named):
        calls.append(query.shape[2])
        return original(module, query, *others, **named)

    original = row_attention.row_attention
    monkeypatch.setattr(row_attention, "row_attention", counted)
    notes = generate_notes(model, renderer, dialogues, Decoding(1), batch_size=3)
    assert max(calls) > 1  # the prompts went through it
    assert [note.text for note in notes] == expected
    assert model.config._attn_implementation == "sdpa"

    monkeypatch.setattr(row_attention, "row_attention", None)  # breaks in the middle
    with pytest.raises(TypeError):
        generate_notes(model, renderer, dialogues, Decoding(1))
    assert model.config._attn_implementation == "sdpa"


def _without_cache(model, renderer: Renderer, dialogues: list[str]) -> list[str]:
    """The first token of each note, from the model's own attention to its prompt alone."""
    with torch.no_grad():
        prompts = [torch.tensor([renderer.prompt_ids(text)]) for text in dialogues]
        best = [int(model(prompt).logits[0, -1].argmax()) for prompt in prompts]
    return [renderer.decode_note([token]) for token in best]
