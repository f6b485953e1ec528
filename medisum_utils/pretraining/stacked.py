"""Several small models in one, trained and written with at the same time.

A GPU spends most of its time on SmolLM2 waiting for the next operation, since each is small. Here
the models of several trials stand beside each other in every matrix: as many operations as for one
model, each of them larger.

All of them share a base, exact or rounded to NF4, and have either an adapter each or all weights
of their own. In a batch all models have as many rows, and the rows of one model stand together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from medisum_utils.pretraining.nf4 import quantised_weights, round_nf4

SCALE = 2.0  # alpha / r of every adapter, whatever its rank


@dataclass(frozen=True, slots=True)
class Member:
    """One model of a stack: its base rounded or exact, the rank of its adapter, its first weights.

    Rank 0 trains all weights instead of an adapter.
    """

    rounded: bool
    rank: int
    seed: int


class _OfEach(torch.nn.Module):
    """A layer with weights for each of `n` models."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def _apart(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, size) as (models, rows and tokens of each, size)."""
        n_rows, _, size = rows.shape
        if n_rows % self.n:
            raise ValueError(f"expected as many rows for each of {self.n} models, got {n_rows}")
        return rows.reshape(self.n, -1, size)


class StackedLinear(_OfEach):
    """x W' + `SCALE` x A' B' with `weight` W (n, out, in), `down` A (n, r, in), `up` B (n, out, r).

    Without adapters, `down` and `up` are None.
    """

    down: torch.Tensor | None = None
    up: torch.Tensor | None = None

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(len(weight))
        self.weight = weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, in) to (rows, tokens, out)."""
        x = self._apart(rows)
        result = torch.bmm(x, self.weight.transpose(1, 2))
        if self.down is not None:
            thin = torch.bmm(x, self.down.transpose(1, 2))
            result = torch.baddbmm(result, thin, self.up.transpose(1, 2), alpha=SCALE)
        return result.view(*rows.shape[:2], -1)


class StackedNorm(_OfEach):
    """Root mean square normalisation; its `weight` is (size,) for all models or (n, size)."""

    def __init__(self, weight: torch.Tensor, eps: float, n: int) -> None:
        super().__init__(n)
        self.weight, self.eps = weight, eps

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, size) normalised."""
        shape = rows.shape[-1:]
        if self.weight.dim() == 1:
            return functional.rms_norm(rows, shape, self.weight, self.eps)
        x = functional.rms_norm(self._apart(rows), shape, None, self.eps)
        return (x * self.weight[:, None]).view_as(rows)


class StackedEmbedding(_OfEach):
    """The embedding of each model, `weight` (n, vocabulary, size)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(len(weight))
        self.weight = weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(rows, tokens) to (rows, tokens, size)."""
        whose = torch.arange(len(ids), device=ids.device) // (len(ids) // self.n)
        n_pieces = self.weight.shape[1]
        return functional.embedding(ids + n_pieces * whose[:, None], self.weight.flatten(0, 1))


class Stack:
    """The models of `members` on one base, and what is trained of them: `weights` (n, size), fp32.

    All members have an adapter, or all train every weight. Arithmetic is bfloat16 on a GPU.

    Raises: ValueError for other members, or a base whose linear layers have a bias.
    """

    def __init__(self, base: str, members: Sequence[Member], device: str) -> None:
        if not members or len({member.rank == 0 for member in members}) != 1:
            raise ValueError("expected models that all have an adapter, or none of them")
        self.members, self.full = tuple(members), members[0].rank == 0
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
        self.model.requires_grad_(False)
        # A base may ship a repetition penalty or the like, which would be taken over in writing.
        self.model.generation_config = GenerationConfig()
        self._shares_head = False
        self._slots: list[tuple[torch.nn.Module, str, tuple[int, ...]]] = []
        first = self._replace_all() if self.full else self._replace_linear()
        # Not `model.to`, which would round the rotary embedding's frequencies as well.
        for parameter in self.model.parameters():
            parameter.data = parameter.data.to(self.dtype)
        self.weights = torch.stack(first).to(device)  # (n, all slots' sizes)

    def _replace_linear(self) -> list[torch.Tensor]:
        """Puts stacked layers with adapters into the model; returns each adapter's first weights.

        Source: peft 0.21, tuners/lora/layer.py, `reset_lora_parameters`.
        """
        n, rank = len(self.members), max(member.rank for member in self.members)
        for module, weight in self._linear():
            exact, is_rounded = weight.to(self.dtype), [m.rounded for m in self.members]
            close = round_nf4(weight).to(self.dtype) if any(is_rounded) else exact
            stacked = StackedLinear(torch.stack([close if r else exact for r in is_rounded]))
            self.model.set_submodule(module, stacked)
            n_out, n_in = weight.shape
            self._slots += [(stacked, "down", (rank, n_in)), (stacked, "up", (n_out, rank))]
        for name, norm in list(self.model.named_modules()):
            if isinstance(norm, LlamaRMSNorm):
                eps = norm.variance_epsilon
                stacked = StackedNorm(norm.weight.to(self.dtype), eps, n)
                self.model.set_submodule(name, stacked)
        return [torch.cat([part.flatten() for part in self._drawn(m)]) for m in self.members]

    def _drawn(self, member: Member) -> list[torch.Tensor]:
        """An adapter's first weights: A is drawn within its rank; the rest is 0, as is B."""
        drawn = torch.Generator().manual_seed(member.seed)
        parts = []
        for _, name, shape in self._slots:
            part = torch.zeros(shape)
            if name == "down":
                limit = 1 / math.sqrt(shape[1])
                part[: member.rank].uniform_(-limit, limit, generator=drawn)
            parts.append(part)
        return parts

    def _replace_all(self) -> list[torch.Tensor]:
        """Puts stacked layers into the model for all of its weights; returns their first values."""
        model, n, first = self.model, len(self.members), []

        def put(name: str, stacked: torch.nn.Module, weight: torch.Tensor) -> None:
            model.set_submodule(name, stacked)
            self._slots.append((stacked, "weight", tuple(weight.shape)))
            first.append(weight.float().flatten())

        for name, weight in self._linear():
            put(name, StackedLinear(weight[None].expand(n, -1, -1)), weight)
        for name, norm in list(model.named_modules()):
            if isinstance(norm, LlamaRMSNorm):
                eps = norm.variance_epsilon
                put(name, StackedNorm(norm.weight.detach(), eps, n), norm.weight)
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        put("model.embed_tokens", StackedEmbedding(table[None].expand(n, -1, -1)), table)
        stacked_head = StackedLinear(head[None].expand(n, -1, -1))
        self._shares_head = head is table
        if self._shares_head:
            model.set_submodule("lm_head", stacked_head)  # `use` gives it the embedding
        else:
            put("lm_head", stacked_head, head)
        return [torch.cat(first)] * n

    def _linear(self) -> list[tuple[str, torch.Tensor]]:
        """Name and weight of each linear layer except the head."""
        weights = {id(weight) for weight in quantised_weights(self.model)}
        found = []
        for name, module in list(self.model.named_modules()):
            if isinstance(module, torch.nn.Linear) and id(module.weight) in weights:
                if module.bias is not None:
                    raise ValueError(f"expected linear layers without bias, got one in {name}")
                found.append((name, module.weight))
        return found

    def use(self, weights: torch.Tensor) -> None:
        """Lets the layers compute with `weights` (n, size); gradients reach it."""
        for (module, name, _), piece in zip(
            self._slots, self._pieces(weights.to(self.dtype)), strict=True
        ):
            setattr(module, name, piece)
        if self._shares_head:
            self.model.lm_head.weight = self.model.model.embed_tokens.weight

    def _pieces(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """The weights (n, size) by slot, (n, shape) each."""
        shapes = [shape for _, _, shape in self._slots]
        pieces = weights.split([math.prod(shape) for shape in shapes], dim=1)
        return [p.view(len(p), *shape) for p, shape in zip(pieces, shapes, strict=True)]

    def states(self) -> list[list[torch.Tensor]]:
        """What each model learnt, on the CPU in fp32: its weights, without an adapter's padding."""
        pieces = self._pieces(self.weights.detach().cpu())
        return [
            [
                self._without_padding(piece[number], name, member.rank).clone()
                for piece, (_, name, _) in zip(pieces, self._slots, strict=True)
            ]
            for number, member in enumerate(self.members)
        ]

    @staticmethod
    def _without_padding(weight: torch.Tensor, name: str, rank: int) -> torch.Tensor:
        kept = {"down": (slice(rank),), "up": (slice(None), slice(rank))}
        return weight[kept.get(name, ())]

    def start_from(self, number: int, state: Sequence[torch.Tensor]) -> None:
        """Gives model `number` what a model of the same kind had learnt; see `states`."""
        rank = self.members[number].rank
        for piece, (_, name, _), values in zip(
            self._pieces(self.weights), self._slots, state, strict=True
        ):
            self._without_padding(piece[number], name, rank).copy_(values)

    def finish(self) -> None:
        """Merges the adapters into their weights, in fp32, and readies the models for writing."""
        with torch.no_grad():
            if self.full:
                self.use(self.weights)
                # A model has the device of its parameters, and this one has no other.
                table = torch.nn.Parameter(self.model.model.embed_tokens.weight, False)
                self.model.model.embed_tokens.weight = table
            else:
                layers, pieces = self._slots[::2], self._pieces(self.weights)
                for (layer, _, _), down, up in zip(layers, pieces[::2], pieces[1::2], strict=True):
                    layer.weight = (layer.weight + SCALE * torch.bmm(up, down)).to(self.dtype)
                    layer.down = layer.up = None
        self.model.eval()

    def losses(
        self, ids: torch.Tensor, places: torch.Tensor, labels: torch.Tensor, counts: Sequence[int]
    ) -> torch.Tensor:
        """The mean loss of each model over its labels, nats a token, (n,).

        `ids` is (n rows, tokens), the rows of one model together, padded on the right. `places` are
        the positions in its flattened form that predict `labels`, of which each model has `counts`.

        Source: transformers 5.23, models/llama/modeling_llama.py, `LlamaModel.forward`, without its
        look at the positions for packed texts, for which the GPU would have to stop.
        """
        inner = self.model.model
        hidden = inner.embed_tokens(ids)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        turned = inner.rotary_emb(hidden, position_ids=positions)
        for layer in inner.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=turned)
        hidden = inner.norm(hidden)
        predicting = hidden.flatten(0, 1).index_select(0, places)  # (labels, size)
        head = self.model.lm_head.weight
        if head.dim() == 2:
            logits = functional.linear(predicting, head)
        else:
            parts = zip(predicting.split(list(counts)), head, strict=True)
            logits = torch.cat([functional.linear(part, weight) for part, weight in parts])
        of_labels = functional.cross_entropy(logits.float(), labels, reduction="none")
        return torch.stack([part.mean() for part in of_labels.split(list(counts))])
