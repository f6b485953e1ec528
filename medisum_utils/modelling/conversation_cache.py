"""The key-value cache of a batch of conversations: each token of a prompt is read once.

A row holds a visit. The requests and answers of its later parts are appended to what stands there,
and its candidates are branches of the same row: they share the prompt, and a mask hides from each
what the others have written.

A token costs two vectors (key and value) in each layer and key head: 22.5 KiB in bfloat16 for
SmolLM2-135M, twice that in float32. A visit takes its prompt once and then one token for each token
of each candidate: with 1,700 tokens and four candidates of 150, 50 MiB. The requests of a batch are
padded to the same length, so that a row can have holes, which are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(slots=True)
class _Span:
    """What the layers share: where the next token goes, and the slots that attention gets."""

    n_rows: int
    start: int = 0
    n_slots: int = 0


class _Buffer(DynamicLayer):
    """A layer's keys and values, written in place; transformers copies them for each token.

    Source: transformers 5.23, cache_utils.py, `StaticLayer`, which cannot be cropped.
    """

    def __init__(self, span: _Span) -> None:
        super().__init__()
        self.span = span

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The first rows and slots of the buffers, after writing (rows, heads, tokens, size)."""
        self.keys = self._written(self.keys, key_states)
        self.values = self._written(self.values, value_states)
        self.is_initialized = True
        read = slice(len(key_states)), slice(None), slice(self.span.n_slots)
        return self.keys[read], self.values[read]

    def _written(self, buffer: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
        n, n_heads, n_tokens, size = states.shape
        span = self.span
        if buffer is None or buffer.shape[2] < span.n_slots:
            # Zeros, since a masked slot counts 0 times what it holds, which must be a number.
            larger = states.new_zeros(span.n_rows, n_heads, span.n_slots, size)
            if buffer is not None:
                larger[:, :, : span.start] = buffer[:, :, : span.start]
            buffer = larger
        buffer[:n, :, span.start : span.start + n_tokens] = states
        return buffer

    def get_seq_length(self) -> int:
        """The slots before the next token."""
        return self.span.start


class ConversationCache:
    """Conversations that a model has read, one a row, and may be asked to continue.

    `read` reads prompts, as much of them as is new; `step` then reads a token of each candidate in
    work, and the next `read` forgets those. Rows are in the order of `visits`, which `keep_first`
    changes.
    """

    def __init__(self, model: PreTrainedModel, n_visits: int, pad_id: int) -> None:
        self.model, self.device, self.pad_id = model, model.device, pad_id
        self.visits = list(range(n_visits))  # the visit in each row
        self._read: list[list[int]] = [[] for _ in self.visits]  # tokens of each visit
        # Which slots hold these, by visit; the others are padding or no longer part of a prompt.
        self._held = torch.zeros(n_visits, 0, dtype=torch.bool)
        self._span = _Span(n_visits)
        n_layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self._buffers = [_Buffer(self._span) for _ in range(n_layers)]
        self._cache = Cache(layers=self._buffers)

    def read(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """The scores (visits, vocabulary) of what follows each prompt, one per visit.

        Of a prompt, the part that was read before (its longest common prefix) is not read again.
        """
        n_before, n_known = self._held.shape[1], []
        for visit, prompt in enumerate(prompts):
            # The last token is always read: the scores are those behind it.
            n_known.append(n_common(self._read[visit], prompt[:-1]))
            self._held[visit, self._held[visit].nonzero().flatten()[n_known[-1] :]] = False
            self._read[visit] = list(prompt)
        new = [prompt[n:] for prompt, n in zip(prompts, n_known, strict=True)]
        ids, mask = left_padded(new, self.pad_id)  # (visits, new tokens)
        self._held = torch.cat([self._held, mask.bool()], dim=1)
        positions = (torch.tensor(n_known)[:, None] + mask.cumsum(dim=1) - 1).clamp(min=0)
        self._span.start, self._span.n_slots = n_before, self._held.shape[1]
        logits = self._forward(
            ids[self.visits].to(self.device),
            positions[self.visits].to(self.device),
            self._mask(n_before),
            logits_to_keep=1,
        )
        self._span.start = self._held.shape[1]
        return logits[torch.tensor(self.visits).argsort().to(self.device), -1]

    def _mask(self, n_before: int) -> torch.Tensor | None:
        """What each new token may look at, (rows, 1, new tokens, slots): itself, and all before."""
        if not n_before and bool(self._held.all()):
            return None  # plain causal attention, for which there are faster kernels
        held = self._held[self.visits].to(self.device)
        slots = torch.arange(held.shape[1], device=self.device)
        new = slots[n_before:, None]
        # Padding looks at itself: a softmax over nothing would not be a number.
        return ((held[:, None] & (slots <= new)) | (slots == new))[:, None]

    def branches(self, n_each: int, n_new_tokens: int) -> torch.Tensor:
        """Makes room for candidates; what each may look at, (visits, candidates, slots)."""
        room = torch.zeros(len(self.visits), n_each * n_new_tokens, dtype=torch.bool)
        held = torch.cat([self._held, room], dim=1)
        self._span.n_slots = held.shape[1]
        return held[:, None].repeat(1, n_each, 1).to(self.device)

    @property
    def next_slot(self) -> int:
        """Where the first of the tokens goes that `step` reads."""
        return self._span.start

    def step(
        self, tokens: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """The scores (rows, columns, vocabulary) of what follows one token of each candidate.

        `tokens` and `positions` are (rows, columns), `seen` is (rows, columns, slots); the rows are
        the first of `visits`. The tokens go to as many slots from `next_slot` on.
        """
        logits = self._forward(tokens, positions, seen[:, None])
        self._span.start += tokens.shape[1]
        return logits

    def keep_first(self, visits: Sequence[int]) -> None:
        """Moves the rows of these visits to the front, so that a step can do without the others."""
        kept = set(visits)
        late = [row for row in range(len(kept), len(self.visits)) if self.visits[row] in kept]
        early = [row for row in range(len(kept)) if self.visits[row] not in kept]
        for here, there in zip(early, late, strict=True):
            swapped = self.visits[there], self.visits[here]
            self.visits[here], self.visits[there] = swapped
            for buffer in self._buffers:
                for states in (buffer.keys, buffer.values):
                    states[[here, there]] = states[[there, here]]

    def _forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        **others: Any,
    ) -> torch.Tensor:
        return self.model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
            **others,
        ).logits


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (batch, longest prompt) each: padding stands on the left, masked 0."""
    longest = max(map(len, prompts))
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


def n_common(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
