"""Writes notes in batches, part by part; each note has its length and whether it ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from medisum_utils.modelling.consensus import most_agreed
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.row_attention import attention_by_row
from medisum_utils.notes.parts import NOT_DISCUSSED, Part, join_parts, parts_to_write

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from medisum_utils.modelling.conversation_cache import ConversationCache


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
    Visits of similar length that ask for the same parts share a batch. `batch_size` counts
    candidates, at most so many at a time, but at least one visit; `conversation_cache` says what
    one costs in memory. `max_prompt_tokens` cuts longer dialogues in their middle; without it they
    raise. In float32 a note does not depend on its batch; in bfloat16 rounding may decide a near
    tie. `on_batch` gets the number of notes done so far. The model is left in `eval` mode.

    Raises: ValueError for a prompt that leaves fewer than `reserved_tokens` positions, for one that
    a layer with a sliding window would not see whole, or for a batch size below 1.
    """
    import torch

    from medisum_utils.modelling.conversation_cache import ConversationCache

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
    _check_room(model, drafts, reserved_tokens(renderer, decoding))
    n_at_once, n_done = max(1, batch_size // decoding.n_candidates), 0
    model.eval()
    with attention_by_row(model), torch.inference_mode():
        for batch in _batches(drafts, n_at_once):
            conversations = ConversationCache(model, len(batch), renderer.pad_id)
            while _unwritten(batch[0].parts):
                _write_part(conversations, renderer, batch, decoding)
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


def _check_room(model: PreTrainedModel, drafts: Sequence[_Draft], reserved: int) -> None:
    longest = max((len(draft.prompt) for draft in drafts), default=0)
    room = model.config.max_position_embeddings - reserved
    if longest > room:
        raise ValueError(
            f"expected prompts of at most {room} tokens beside {reserved} new ones, got one "
            f"of {longest}; set max_prompt_tokens to cut it, or max_new_tokens lower"
        )
    window = getattr(model.config, "sliding_window", None)
    if window is not None and longest + reserved > window:
        raise ValueError(
            f"expected prompts and notes within the model's sliding window of {window} tokens, got "
            f"a prompt of {longest} and {reserved} new ones; set max_prompt_tokens to cut it"
        )


def _batches(drafts: Sequence[_Draft], n_at_once: int) -> Iterator[list[_Draft]]:
    """Drafts that ask for the same parts, those of similar length together."""
    # The longest first: what needs most memory fails early.
    ordered = sorted(drafts, key=lambda draft: (_unwritten(draft.parts), -len(draft.prompt)))
    for _, group in itertools.groupby(ordered, key=lambda draft: _unwritten(draft.parts)):
        alike = list(group)
        for start in range(0, len(alike), n_at_once):
            yield alike[start : start + n_at_once]


def _write_part(
    conversations: ConversationCache,
    renderer: Renderer,
    batch: Sequence[_Draft],
    decoding: Decoding,
) -> None:
    """Writes the next part of every draft, which is the same in all of them."""
    from medisum_utils.modelling.candidates import write_candidates

    at = _unwritten(batch[0].parts)[0]
    if not batch[0].parts[at].in_note:
        decoding = replace(decoding, n_candidates=1)  # a name, which needs no consensus
    prompts = [renderer.prompt_ids(draft.dialogue, draft.parts) for draft in batch]
    candidates = write_candidates(conversations, prompts, decoding, renderer.stop_ids)
    for draft, drawn in zip(batch, candidates, strict=True):
        written = [_note(renderer, ids) for ids in drawn]
        draft.answer(at, written[most_agreed([note.text for note in written])])


def _unwritten(parts: Sequence[Part]) -> list[int]:
    """The places of the parts to write."""
    return [at for at, part in enumerate(parts) if part.answer is None]


def _note(renderer: Renderer, new_ids: Sequence[int]) -> WrittenNote:
    """The answer in a row of new tokens, up to its stop token; what follows is padding."""
    stop = next((i for i, token in enumerate(new_ids) if token in renderer.stop_ids), None)
    n_tokens = len(new_ids) if stop is None else stop + 1
    return WrittenNote(renderer.decode_note(new_ids), n_tokens, stop is not None)
