"""Notes of all models of a stack at once, greedily and part by part.

`generate_notes` writes with one model, and lets a note leave its batch when it has ended; here
every model keeps its rows. What each writes is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import GenerationConfig

from medisum_utils.modelling import generation
from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.notes.parts import NOT_DISCUSSED, Part, join_parts, parts_to_write
from medisum_utils.pretraining.stacked import Stack


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
        written = _write_batch(stack, renderer, rows, max_new_tokens)
        for number, own in enumerate(notes):
            own.update(zip(batch, written[number * len(batch) :], strict=False))
    return [[own[at] for at in range(len(dialogues))] for own in notes]


def _write_batch(
    stack: Stack, renderer: Renderer, dialogues: Sequence[str], max_new_tokens: int
) -> list[WrittenNote]:
    """A note for each row; the rows of one model stand together."""
    parts: list[list[Part]] = [parts_to_write(renderer.parts) for _ in dialogues]
    n_tokens, finished = [0] * len(parts), [True] * len(parts)
    for at in range(len(parts[0])):
        prompts = [renderer.prompt_ids(*row) for row in zip(dialogues, parts, strict=True)]
        for row, ids in enumerate(_answers(stack, renderer, prompts, max_new_tokens)):
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
    stack: Stack, renderer: Renderer, prompts: Sequence[list[int]], max_new_tokens: int
) -> list[list[int]]:
    """The new tokens of each prompt, padded to the same length."""
    longest, pad_id = max(map(len, prompts)), renderer.pad_id
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in prompts])
    device = stack.weights.device
    with torch.inference_mode():
        output = stack.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=1,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(renderer.stop_ids),
                pad_token_id=pad_id,
            ),
            logits_processor=[generation.NoStutter(longest)],
        )
    return output[:, longest:].tolist()  # (rows, new tokens)
