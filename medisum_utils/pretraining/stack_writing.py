"""Notes of all models of a stack at once, greedily and part by part.

`generate_notes` writes with one model, and lets a note leave its batch when it has ended; here
every model keeps its rows. What each writes is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from medisum_utils.modelling.conversation_cache import ConversationCache
from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.row_attention import attention_by_row
from medisum_utils.modelling.stutter import NoStutter
from medisum_utils.notes.parts import NOT_DISCUSSED, Part, join_parts, parts_to_write
from medisum_utils.pretraining.stacked import Stack

CHECK_EVERY = 8  # tokens; a GPU has to be waited for when it is asked which answers have ended


def write_notes(
    stack: Stack,
    renderer: Renderer,
    dialogues: Sequence[str],
    *,
    max_new_tokens: int,
    n_at_once: int,
) -> list[list[WrittenNote]]:
    """A note of each finished model on each dialogue, (models, dialogues), in the order given.

    Each answer has at most `max_new_tokens`. Every model has `n_at_once` rows in a batch.
    """
    order = sorted(range(len(dialogues)), key=lambda at: -len(dialogues[at]))  # like with like
    notes: list[dict[int, WrittenNote]] = [{} for _ in stack.members]
    for start in range(0, len(order), n_at_once):
        batch = order[start : start + n_at_once]
        rows = [dialogues[at] for _ in stack.members for at in batch]  # each model's together
        with attention_by_row(stack.model), torch.inference_mode():
            written = _write_batch(stack, renderer, rows, max_new_tokens)
        for number, own in enumerate(notes):
            own.update(zip(batch, written[number * len(batch) :], strict=False))
    return [[own[at] for at in range(len(dialogues))] for own in notes]


def _write_batch(
    stack: Stack, renderer: Renderer, dialogues: Sequence[str], max_new_tokens: int
) -> list[WrittenNote]:
    """A note for each row; the rows of one model stand together."""
    conversations = ConversationCache(stack.model, len(dialogues), renderer.pad_id)
    parts: list[list[Part]] = [parts_to_write(renderer.parts) for _ in dialogues]
    n_tokens, finished = [0] * len(parts), [True] * len(parts)
    for at in range(len(parts[0])):
        prompts = [renderer.prompt_ids(*row) for row in zip(dialogues, parts, strict=True)]
        for row, ids in enumerate(_answers(conversations, renderer, prompts, max_new_tokens)):
            stops = [place for place, token in enumerate(ids) if token in renderer.stop_ids]
            n_tokens[row] += stops[0] + 1 if stops else len(ids)
            finished[row] &= bool(stops)
            text = renderer.decode_note(ids)
            if not text.strip() and len(parts[row]) > 1:
                text = NOT_DISCUSSED  # the next request stands below it
            parts[row][at] = replace(parts[row][at], answer=text)
    texts = [join_parts([part.answer or "" for part in own if part.in_note]) for own in parts]
    return [WrittenNote(*note) for note in zip(texts, n_tokens, finished, strict=True)]


def _answers(
    conversations: ConversationCache,
    renderer: Renderer,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """The new tokens of each prompt, the likeliest ones; behind a stop token stands padding.

    As in `modelling.candidates`, but all rows stay in the batch until the last one has ended.
    """
    device, no_stutter = conversations.device, NoStutter(0)
    stops = torch.tensor(list(renderer.stop_ids), device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    answers = torch.full((len(prompts), max_new_tokens), renderer.pad_id, device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    scores = conversations.read(prompts)  # (rows, vocabulary)
    seen = conversations.branches(1, max_new_tokens - 1)  # (rows, 1, slots)
    for at in range(max_new_tokens):
        scores = no_stutter(answers[:, :at], scores.float())
        answers[:, at] = scores.argmax(dim=-1).masked_fill(ended, renderer.pad_id)
        ended |= torch.isin(answers[:, at], stops)
        if at + 1 == max_new_tokens or (at % CHECK_EVERY == 0 and bool(ended.all())):
            break
        seen[:, :, conversations.next_slot] = True
        new, positions = answers[:, at : at + 1], (lengths + at)[:, None]
        scores = conversations.step(new, positions, seen)[:, 0]
    return answers.tolist()
