"""What is read once and shared gives what each part and candidate gives when read alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import small_model
import torch

from medisum_utils.modelling.candidates import write_candidates
from medisum_utils.modelling.consensus import DrawnTokens, most_agreed
from medisum_utils.modelling.conversation_cache import ConversationCache, left_padded, n_common
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import Visit, generate_notes
from medisum_utils.modelling.model import load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.stutter import NoStutter
from medisum_utils.notes.parts import NOT_DISCUSSED, join_parts, parts_to_write

BASE = str(Path(__file__).resolve().parents[2] / "models" / "medisum-tiny-base")
N_NEW = 8
N_TURNS = (6, 1, 4, 2)  # of the dialogues: prompts of different length


@pytest.fixture(scope="module")
def model():
    return load_base(BASE, quantize=False).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(BASE)


@pytest.fixture(scope="module")
def visits() -> list[Visit]:
    encounters = reversed(small_model.encounters(4))
    dialogues = [
        dataclasses.replace(each, turns=each.turns[:n]).dialogue_text
        for each, n in zip(encounters, N_TURNS, strict=True)
    ]
    return [Visit(text, "Plan" if at == 2 else "") for at, text in enumerate(dialogues)]


def alone(model, prompt: list[int], number: int, decoding: Decoding, stops) -> list[int]:
    """One candidate: its prompt read for it alone, then token by token, as transformers does it."""
    draw = DrawnTokens([prompt] * decoding.n_candidates, decoding)
    draw.rows = [number]
    new, ids, cache = [], torch.tensor([prompt]), None
    with torch.inference_mode():
        while len(new) < decoding.max_new_tokens and not set(new) & set(stops):
            output = model(ids, past_key_values=cache, use_cache=True)
            text, cache = torch.tensor([prompt + new]), output.past_key_values
            scores = NoStutter(len(prompt))(text, output.logits[:, -1].float())
            if decoding.n_candidates > 1:
                scores = draw(text, scores)
            new.append(int(scores.argmax()))
            ids = torch.tensor([new[-1:]])
    return new


def note_alone(model, renderer: Renderer, visit: Visit, decoding: Decoding) -> tuple[str, list]:
    """A note, and the lengths of all candidates of all its parts in tokens."""
    parts, lengths = parts_to_write(renderer.parts, visit.section), []
    for at, part in enumerate(parts):
        if part.answer is None:
            one = dataclasses.replace(
                decoding, n_candidates=decoding.n_candidates if part.in_note else 1
            )
            prompt = renderer.prompt_ids(visit.dialogue, parts)
            drawn = [
                alone(model, prompt, number, one, renderer.stop_ids)
                for number in range(one.n_candidates)
            ]
            lengths.append([len(ids) for ids in drawn])
            texts = [renderer.decode_note(ids) for ids in drawn]
            text = texts[most_agreed(texts)]
            text = text if text.strip() or len(parts) == 1 else NOT_DISCUSSED
            parts[at] = dataclasses.replace(part, answer=text)
    return join_parts([part.answer for part in parts if part.in_note]), lengths


@pytest.mark.parametrize("n_candidates", [1, 3])
@pytest.mark.parametrize("scheme", ["whole", "section", "divisions"])
def test_a_note_is_that_of_each_part_and_candidate_read_alone(
    model, tokenizer, visits, scheme, n_candidates
):
    renderer = Renderer(tokenizer, small_model.INSTRUCTION, parts=scheme)
    decoding = Decoding(N_NEW, n_candidates, temperature=1.0)
    expected = [note_alone(model, renderer, visit, decoding) for visit in visits]
    if n_candidates > 1:  # some candidates end before others, or nothing leaves the batch
        assert any(len(set(lengths)) > 1 for _, parts in expected for lengths in parts)
    for batch_size in (1, 2 * n_candidates, 16):
        notes = generate_notes(model, renderer, visits, decoding, batch_size=batch_size)
        assert [note.text for note in notes] == [text for text, _ in expected]


def test_a_dialogue_is_read_once(model, tokenizer, visits):
    """Tokens that go through the model, padding included: (visits, tokens) of each call."""
    renderer = Renderer(tokenizer, small_model.INSTRUCTION, parts="divisions")
    calls, n_new = [], 20
    hook = model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, output: calls.append(tuple(inputs[0].shape))
    )
    plain = [visit.dialogue for visit in visits]
    generate_notes(model, renderer, plain, Decoding(n_new, 3, 1.0), batch_size=12)
    hook.remove()
    prompts = [renderer.prompt_ids(dialogue) for dialogue in plain]
    assert calls[0] == (4, max(map(len, prompts)))
    read = [shape for shape in calls if shape[1] > 3]  # the rest are tokens of the candidates
    assert len(read) == 4  # parts
    n_between = len(renderer.prompt_ids("-", parts_to_write("divisions"))) + n_new
    assert max(n_tokens for _, n_tokens in read[1:]) < n_between < calls[0][1]
    steps = [shape for shape in calls if shape[1] <= 3]
    assert max(steps) == (4, 3)
    assert {rows for rows, _ in steps} > {4}  # visits that have ended leave the batch,
    assert {columns for _, columns in steps} > {3}  # and so do candidates


def test_a_prompt_may_depart_from_what_was_read(model):
    """Rows of different length, holes, and rows that have changed places."""
    generator = torch.Generator().manual_seed(5)
    long = torch.randint(10, 4000, (3, 40), generator=generator).tolist()
    first = [long[0][:25], long[1][:40], long[2][:8]]
    second = [long[0][:10] + long[2][:9], long[1][:40], long[2][:30]]  # departs, same, goes on
    third = [second[0] + [11, 12], second[1] + [13], long[0][:5]]
    with torch.inference_mode():
        cache = ConversationCache(model, 3, pad_id=4)
        for kept, prompts in (([2], first), ([1, 0], second), ([0, 1, 2], third)):
            expected = torch.cat(
                [model(torch.tensor([prompt])).logits[:, -1] for prompt in prompts]
            )
            torch.testing.assert_close(cache.read(prompts), expected, atol=2e-4, rtol=1e-4)
            cache.keep_first(kept)
            assert set(cache.visits[: len(kept)]) == set(kept)
            assert sorted(cache.visits) == [0, 1, 2]
            # A token of each of two candidates of the visits that are left.
            rows = cache.visits[: len(kept)]
            seen = cache.branches(2, 1)[rows]
            seen[:, [0, 1], [cache.next_slot, cache.next_slot + 1]] = True
            lengths = torch.tensor([[len(prompts[visit])] for visit in rows])
            scores = cache.step(torch.tensor([[7, 9]] * len(rows)), lengths.expand(-1, 2), seen)
            for row, visit in enumerate(rows):
                for column, token in enumerate((7, 9)):
                    whole = model(torch.tensor([[*prompts[visit], token]])).logits[0, -1]
                    torch.testing.assert_close(scores[row, column], whole, atol=2e-4, rtol=1e-4)


def test_no_token_is_read_when_all_have_ended(model, tokenizer):
    """With every token a stop token, nothing is read but the prompts."""
    calls = []
    hook = model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, output: calls.append(tuple(inputs[0].shape))
    )
    with torch.inference_mode():
        cache = ConversationCache(model, 2, pad_id=4)
        rows = write_candidates(cache, [[5, 6, 7], [8]], Decoding(9, 2), range(4096))
    hook.remove()
    assert calls == [(2, 3)]
    assert all(ids[1:] == [4] * 8 for candidates in rows for ids in candidates)


def test_padding_stands_on_the_left_and_is_masked():
    ids, mask = left_padded([[5, 6, 7], [8]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [1, 1, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_common_tokens_are_counted_from_the_start():
    assert n_common([1, 2, 3], [1, 2, 4, 3]) == 2
    assert n_common([1, 2], [1, 2, 3]) == n_common([1, 2, 3], [1, 2]) == 2
    assert n_common([], [1]) == n_common([2], [1]) == 0
