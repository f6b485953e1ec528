"""Notes written in batches are those written alone, end where they end, and fit."""

from __future__ import annotations

import dataclasses
import json

import pytest
import small_model
import torch
from test_stutter import stutters

from medisum_utils.modelling.generation import generate_notes, left_padded
from medisum_utils.modelling.model import base_digest, load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer

N_NEW = 24


@pytest.fixture(scope="module")
def renderer(base) -> Renderer:
    return Renderer(load_tokenizer(base), small_model.INSTRUCTION)


@pytest.fixture(scope="module")
def model(base):
    return load_base(base, quantize=False)


@pytest.fixture(scope="module")
def dialogues() -> list[str]:
    return [e.dialogue_text for e in small_model.encounters(9)]


def by_hand(model, renderer: Renderer, dialogue: str, n_new: int) -> list[int]:
    """Greedy decoding without cache, batch or padding: the whole text again for each token.

    The best token is taken that does not make the note stutter, by the rule of `test_stutter`.
    """
    ids = renderer.prompt_ids(dialogue)
    new: list[int] = []
    with torch.no_grad():
        while len(new) < n_new and not set(new) & set(renderer.stop_ids):
            scores = model(torch.tensor([ids + new])).logits[0, -1]
            best = scores.argsort(descending=True).tolist()
            new.append(next(t for t in best if not stutters([*new, t])))
    return new


def stop_instead_of(token: int, model, renderer: Renderer):
    """Makes the end of turn likelier than `token`: where that one stood, the note ends."""
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[renderer.control_ids["<|eot_id|>"]] = 1.05 * head[token]
    return model


@pytest.fixture(scope="module")
def expected(model, renderer, dialogues) -> list[list[int]]:
    return [by_hand(model, renderer, dialogue, N_NEW) for dialogue in dialogues]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 9, 64])
def test_a_note_does_not_depend_on_its_batch(model, renderer, dialogues, expected, batch_size):
    lengths = {len(renderer.prompt_ids(d)) for d in dialogues}
    assert len(lengths) > 3  # or nothing is padded
    notes = generate_notes(model, renderer, dialogues, max_new_tokens=N_NEW, batch_size=batch_size)
    assert [note.text for note in notes] == [renderer.decode_note(ids) for ids in expected]
    assert [note.n_tokens for note in notes] == [len(ids) for ids in expected]
    assert [note.finished for note in notes] == [ids[-1] in renderer.stop_ids for ids in expected]


def test_notes_end_at_the_end_of_turn(base, renderer, dialogues, expected):
    places = {t: [ids.index(t) for ids in expected if t in ids] for t in set(sum(expected, []))}
    token = max(places, key=lambda t: (len(set(places[t])), t))
    model = stop_instead_of(token, load_base(base, quantize=False), renderer)
    notes = generate_notes(model, renderer, dialogues, max_new_tokens=N_NEW, batch_size=4)
    assert len({note.n_tokens for note in notes}) > 1  # some end before others of their batch
    assert {note.finished for note in notes} == {True, False}
    for dialogue, note in zip(dialogues, notes, strict=True):
        ids = by_hand(model, renderer, dialogue, N_NEW)
        assert (note.n_tokens, note.finished) == (len(ids), ids[-1] in renderer.stop_ids)
        assert note.text == renderer.decode_note(ids)
        assert "<|" not in note.text


def test_the_models_own_sampling_is_not_heeded(base, renderer, dialogues, expected):
    model = load_base(base, quantize=False)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    notes = generate_notes(model, renderer, dialogues[:2], max_new_tokens=N_NEW)
    assert [note.text for note in notes] == [renderer.decode_note(i) for i in expected[:2]]


def test_every_batch_is_reported(model, renderer, dialogues):
    done: list[int] = []
    generate_notes(model, renderer, dialogues, max_new_tokens=2, batch_size=4, on_batch=done.append)
    assert done == [4, 8, 9]
    assert generate_notes(model, renderer, [], max_new_tokens=2) == []


def test_a_prompt_that_does_not_fit_is_an_error_unless_it_may_be_cut(model, renderer):
    encounter = small_model.encounters(1)[0]
    long = dataclasses.replace(encounter, turns=encounter.turns * 40).dialogue_text
    with pytest.raises(ValueError, match=r"at most 488 tokens beside 24 new ones, got one of"):
        generate_notes(model, renderer, [long], max_new_tokens=N_NEW)
    cut, n_cut = renderer.fit(long, 200)
    assert n_cut > 0
    notes = generate_notes(model, renderer, [long], max_new_tokens=8, max_prompt_tokens=200)
    (whole,) = generate_notes(model, renderer, [cut], max_new_tokens=8)
    assert notes == [dataclasses.replace(whole, n_cut_turns=n_cut)]  # a cut is on record
    assert whole.n_cut_turns == 0
    for wrong in ({"max_new_tokens": 0}, {"max_new_tokens": 1, "batch_size": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            generate_notes(model, renderer, [cut], **wrong)


def test_padding_stands_on_the_left_and_is_masked():
    ids, mask = left_padded([[5, 6, 7], [8]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [1, 1, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_base_that_brings_its_own_decoding_is_not_heeded(tmp_path):
    """What a run decodes with is its own record; a file in the base's folder is no part of it."""
    base = small_model.make_base(tmp_path / "base")
    dialogues = [e.dialogue_text for e in small_model.encounters(3)]

    def notes():
        renderer = Renderer(load_tokenizer(str(base)), small_model.INSTRUCTION)
        model = load_base(str(base)).dequantize()
        return generate_notes(model, renderer, dialogues, max_new_tokens=24)

    plain, digest = notes(), base_digest(str(base))
    penalty = {"repetition_penalty": 1.8, "min_new_tokens": 20, "no_repeat_ngram_size": 2}
    (base / "generation_config.json").write_text(json.dumps(penalty))
    assert notes() == plain
    assert base_digest(str(base)) != digest  # and yet the base is known to have changed
