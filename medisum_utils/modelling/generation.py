"""Writes notes in batches, part by part; each note has its length and whether it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from medisum_utils.modelling.consensus import DrawnTokens, most_agreed
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.row_attention import rows_on_cpu
from medisum_utils.notes.parts import NOT_DISCUSSED, Part, join_parts, parts_to_write

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel

SHORTEST, LONGEST = 3, 64  # tokens of a stretch that may not follow itself, see `NoStutter`


@dataclass(frozen=True, slots=True)
class Visit:
    """A dialogue to write a note on; `section` names the note's one section where that is given."""

    dialogue: str
    section: str = ""


@dataclass(frozen=True, slots=True)
class WrittenNote:
    """One note; `n_tokens` counts its stop tokens, `finished` says that every part had one.

    `n_cut_turns` turns of its dialogue were left out to make the prompt fit. `section` is the name
    that the model gave the section before it wrote it, "" where it was given or not asked for.
    """

    text: str
    n_tokens: int
    finished: bool
    n_cut_turns: int = 0
    section: str = ""


@dataclass(slots=True)
class _Draft:
    """A note on its way: its parts, of which those before `at` are written."""

    dialogue: str
    parts: list[Part]
    n_cut_turns: int
    n_tokens: int = 0
    finished: bool = True
    prompt: list[int] = field(default_factory=list)

    def answer(self, at: int, note: WrittenNote) -> None:
        """Takes a written part; the next request stands below it, so that it cannot be empty."""
        text = note.text if note.text.strip() or len(self.parts) == 1 else NOT_DISCUSSED
        self.parts[at] = replace(self.parts[at], answer=text)
        self.n_tokens += note.n_tokens
        self.finished &= note.finished

    def note(self, named: str) -> WrittenNote:
        """The finished note; `named` is the section's name where it was given."""
        text = join_parts([part.answer or "" for part in self.parts if part.in_note])
        section = next((p.answer or "" for p in self.parts if not p.in_note and not named), "")
        return WrittenNote(text, self.n_tokens, self.finished, self.n_cut_turns, section)


def generate_notes(
    model: PreTrainedModel,
    renderer: Renderer,
    visits: Sequence[str | Visit],
    decoding: Decoding,
    *,
    batch_size: int = 16,
    max_prompt_tokens: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[WrittenNote]:
    """One note per visit (or dialogue), in the order given, decoded with a key-value cache.

    A note is written in the parts that the renderer asks for, each answer below those before it.
    Visits of similar length share a batch of `batch_size` rows, padded on the left; with several
    candidates a visit has as many rows. `max_prompt_tokens` cuts longer dialogues in their middle;
    without it they raise. In float32 a note does not depend on its batch; in bfloat16 rounding may
    decide a near tie. `on_batch` gets the number of notes done so far. The model is left in `eval`
    mode.

    Raises: ValueError for a prompt that leaves fewer than `reserved_tokens` positions, or for a
    batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"expected batch_size of 1 or more, got {batch_size}")
    asked = [visit if isinstance(visit, Visit) else Visit(visit) for visit in visits]
    drafts = []
    for visit in asked:
        text, n_cut = visit.dialogue, 0
        if max_prompt_tokens is not None:
            text, n_cut = renderer.fit(text, max_prompt_tokens)
        parts = parts_to_write(renderer.parts, visit.section)
        drafts.append(_Draft(text, parts, n_cut, prompt=renderer.prompt_ids(text, parts)))
    reserved = reserved_tokens(renderer, decoding)
    room = model.config.max_position_embeddings - reserved
    longest = max((len(draft.prompt) for draft in drafts), default=0)
    if longest > room:
        raise ValueError(
            f"expected prompts of at most {room} tokens beside {reserved} new ones, got one "
            f"of {longest}; set max_prompt_tokens to cut it, or max_new_tokens lower"
        )
    # The longest first: what needs most memory fails early.
    order = sorted(range(len(drafts)), key=lambda i: -len(drafts[i].prompt))
    n_at_once, n_done = max(1, batch_size // decoding.n_candidates), 0
    model.eval()
    with rows_on_cpu(model):
        for start in range(0, len(order), n_at_once):
            batch = [drafts[i] for i in order[start : start + n_at_once]]
            for at in range(max(len(draft.parts) for draft in batch)):
                _write_part(model, renderer, batch, at, decoding)
            n_done += len(batch)
            if on_batch is not None:
                on_batch(n_done)
    return [draft.note(visit.section) for draft, visit in zip(drafts, asked, strict=True)]


def reserved_tokens(renderer: Renderer, decoding: Decoding) -> int:
    """The positions that the answers and the requests between them may take, in tokens."""
    parts = parts_to_write(renderer.parts)
    said = [replace(part, answer="-") for part in parts[:-1]]
    n_between = len(renderer.prompt_ids("-", [*said, parts[-1]])) - len(renderer.prompt_ids("-"))
    return n_between + len(parts) * decoding.max_new_tokens


def _write_part(
    model: PreTrainedModel, renderer: Renderer, batch: Sequence[_Draft], at: int, decoding: Decoding
) -> None:
    """Writes part number `at` of every draft that asks for one more."""
    drafts = [d for d in batch if at < len(d.parts) and d.parts[at].answer is None]
    if not drafts:
        return
    if not drafts[0].parts[at].in_note:
        decoding = replace(decoding, n_candidates=1)  # a name, which needs no consensus
    n = decoding.n_candidates
    prompts = [renderer.prompt_ids(draft.dialogue, draft.parts) for draft in drafts]
    rows = _write(model, renderer, [prompt for prompt in prompts for _ in range(n)], decoding)
    for number, draft in enumerate(drafts):
        written = [_note(renderer, ids) for ids in rows[number * n : (number + 1) * n]]
        draft.answer(at, written[most_agreed([note.text for note in written])])


def _write(
    model: PreTrainedModel, renderer: Renderer, prompts: Sequence[list[int]], decoding: Decoding
) -> list[list[int]]:
    """The new tokens of each prompt, padded to the same length."""
    import torch

    input_ids, attention_mask = left_padded(prompts, renderer.pad_id)  # (batch, prompt tokens)
    n_prompt = input_ids.shape[1]
    processors = [NoStutter(n_prompt)]
    if decoding.n_candidates > 1:
        processors.append(DrawnTokens(prompts, decoding))
    with torch.inference_mode():
        output = model.generate(
            input_ids=input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            generation_config=_greedy(renderer, decoding.max_new_tokens, model.device.type),
            logits_processor=processors,
        )
    return output[:, n_prompt:].tolist()  # (batch, new tokens)


def _greedy(renderer: Renderer, max_new_tokens: int, device: str) -> GenerationConfig:
    """Takes the best token until the end of turn; the model's own sampling settings are ignored.

    Where candidates are drawn, `DrawnTokens` makes the drawn token the best one. On a CPU the cache
    is static, at its full length from the start. That saves a tenth (16 notes at a time) to a fifth
    (32) of the time, since the other one is copied whole for each new token.
    """
    from transformers import GenerationConfig

    static_cache = {"cache_implementation": "static", "disable_compile": True}
    return GenerationConfig(
        **(static_cache if device == "cpu" else {}),
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=list(renderer.stop_ids),
        pad_token_id=renderer.pad_id,
    )


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (batch, longest prompt) each: padding stands on the left, masked 0."""
    import torch

    longest = max(map(len, prompts))
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


def _note(renderer: Renderer, new_ids: Sequence[int]) -> WrittenNote:
    """The answer in a row of new tokens, up to its stop token; what follows is padding."""
    stop = next((i for i, token in enumerate(new_ids) if token in renderer.stop_ids), None)
    n_tokens = len(new_ids) if stop is None else stop + 1
    return WrittenNote(renderer.decode_note(new_ids), n_tokens, stop is not None)


class NoStutter:
    """A logits processor that forbids the token which would write a stretch twice in a row.

    A small model can repeat its last tokens until it reaches the limit, and no note needs that:
    none of the 540 training notes of profile `tiny` repeats a stretch of `SHORTEST` or more tokens
    in a row, and 8 of the 1,181 of MTS-Dialog do (shorter ones are common, such as digits). The
    usual remedy, `no_repeat_ngram_size` of `transformers`, also forbids what stands in the prompt,
    and a note is made of words of the dialogue; here the first `n_prompt` tokens are ignored.
    """

    def __init__(self, n_prompt: int) -> None:
        self.n_prompt = n_prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) with -inf at the tokens that would complete a repetition.

        `input_ids` is (rows, prompt and note tokens).
        """
        note = input_ids[:, self.n_prompt :]
        n = note.shape[1]
        scores = scores.clone()
        for length in range(SHORTEST, min(LONGEST, (n + 1) // 2) + 1):
            # The last `length - 1` tokens repeat the stretch before: one more completes it.
            last, previous = note[:, n - length + 1 :], note[:, n - 2 * length + 1 : n - length]
            # Without `nonzero`, for which a GPU would have to wait at each length of each token.
            stuck = (last == previous).all(dim=1, keepdim=True)  # (rows, 1)
            next_one = note[:, n - length].unsqueeze(1)
            barred = scores.gather(1, next_one).masked_fill(stuck, -float("inf"))
            scores.scatter_(1, next_one, barred)
        return scores
