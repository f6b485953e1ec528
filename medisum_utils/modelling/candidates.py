"""Writes the candidates of one answer for a batch of visits, token by token."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from medisum_utils.modelling.consensus import DrawnTokens
from medisum_utils.modelling.conversation_cache import ConversationCache
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.stutter import NoStutter

# A GPU has to be waited for when it is asked which answers have ended: not after every token.
_CHECK_ON_GPU_EVERY = 8  # tokens


def write_candidates(
    conversations: ConversationCache,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    stop_ids: Sequence[int],
) -> list[list[list[int]]]:
    """The new tokens of each candidate of each prompt, (visits, candidates, `max_new_tokens`).

    Each token is the best one, or with several candidates the drawn one; the model's own sampling
    settings are ignored. Behind a stop token stands padding.
    """
    device, n, n_new = conversations.device, decoding.n_candidates, decoding.max_new_tokens
    stops = torch.tensor(list(stop_ids), device=device)
    check_every = 1 if device.type == "cpu" else _CHECK_ON_GPU_EVERY
    no_stutter = NoStutter(0)  # it gets the answers without their prompts
    drawn = DrawnTokens([p for p in prompts for _ in range(n)], decoding) if n > 1 else None

    # Candidate c of visit v has number v * n + c. Those in work are (rows, columns) of such
    # numbers, with the visits in the order in which their rows stand in the cache.
    rows = [[visit * n + c for c in range(n)] for visit in conversations.visits]
    in_work = torch.tensor(rows, device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device).repeat_interleave(n)
    answers = torch.full((len(lengths), n_new), conversations.pad_id, device=device)
    ended = torch.zeros(len(lengths), dtype=torch.bool, device=device)

    scores = conversations.read(prompts).repeat_interleave(n, dim=0)[in_work.flatten()]
    seen = conversations.branches(n, n_new - 1).flatten(0, 1)  # (candidates, slots)
    for at in range(n_new):
        numbers = in_work.flatten()
        scores = no_stutter(answers[numbers, :at], scores.float())
        if drawn is not None:
            drawn.rows = list(itertools.chain.from_iterable(rows))
            scores = drawn(answers[numbers, :at], scores)
        best = scores.argmax(dim=-1).masked_fill(ended[numbers], conversations.pad_id)
        answers[numbers, at] = best
        ended[numbers] |= torch.isin(best, stops)
        if at + 1 == n_new:
            break
        if (at + 1) % check_every == 0:
            left = _left(conversations, ended.view(-1, n).tolist())
            if not left:
                break
            if (len(left), len(left[0])) != in_work.shape:
                rows, in_work = left, torch.tensor(left, device=device)
        slots = conversations.next_slot + torch.arange(in_work.shape[1], device=device)
        seen[in_work, slots] = True
        new = answers[in_work, at]
        scores = conversations.step(new, lengths[in_work] + at, seen[in_work]).flatten(0, 1)
    return answers.view(-1, n, n_new).tolist()


def _left(conversations: ConversationCache, ended: list[list[bool]]) -> list[list[int]]:
    """The candidates to go on with, (rows, columns); none when all have ended.

    `ended` is (visits, candidates). A visit that has ended leaves the batch. The others keep as
    many columns as one of them needs; the rest of a row are candidates that have ended.
    """
    n = len(ended[0])
    visits = [visit for visit in conversations.visits if not all(ended[visit])]
    conversations.keep_first(visits)
    n_columns = max((ended[visit].count(False) for visit in visits), default=0)
    return [
        [visit * n + c for c in sorted(range(n), key=ended[visit].__getitem__)[:n_columns]]
        for visit in conversations.visits[: len(visits)]
    ]
