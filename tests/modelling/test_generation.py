"""Notes written in batches are those written alone, end where they end, and fit."""

from __future__ import annotations

import dataclasses
import json

import pytest
import small_model
import torch
from test_stutter import stutters

from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import (
    Visit,
    generate_notes,
    reserved_tokens,
)
from medisum_utils.modelling.model import base_digest, load_base, load_tokenizer
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.notes.parts import NOT_DISCUSSED, join_parts, parts_to_write

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
    return greedy(model, renderer, renderer.prompt_ids(dialogue), n_new)


def greedy(model, renderer: Renderer, ids: list[int], n_new: int) -> list[int]:
    """The tokens that follow `ids`, one by one, without cache, batch or padding."""
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
    notes = generate_notes(model, renderer, dialogues, Decoding(N_NEW), batch_size=batch_size)
    assert [note.text for note in notes] == [renderer.decode_note(ids) for ids in expected]
    assert [note.n_tokens for note in notes] == [len(ids) for ids in expected]
    assert [note.finished for note in notes] == [ids[-1] in renderer.stop_ids for ids in expected]


def test_notes_end_at_the_end_of_turn(base, renderer, dialogues, expected):
    places = {t: [ids.index(t) for ids in expected if t in ids] for t in set(sum(expected, []))}
    token = max(places, key=lambda t: (len(set(places[t])), t))
    model = stop_instead_of(token, load_base(base, quantize=False), renderer)
    notes = generate_notes(model, renderer, dialogues, Decoding(N_NEW), batch_size=4)
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
    notes = generate_notes(model, renderer, dialogues[:2], Decoding(N_NEW))
    assert [note.text for note in notes] == [renderer.decode_note(i) for i in expected[:2]]


def test_every_batch_is_reported(model, renderer, dialogues):
    done: list[int] = []
    generate_notes(model, renderer, dialogues, Decoding(2), batch_size=4, on_batch=done.append)
    assert done == [4, 8, 9]
    assert generate_notes(model, renderer, [], Decoding(2)) == []


def test_a_prompt_that_does_not_fit_is_an_error_unless_it_may_be_cut(model, renderer):
    encounter = small_model.encounters(1)[0]
    long = dataclasses.replace(encounter, turns=encounter.turns * 40).dialogue_text
    with pytest.raises(ValueError, match=r"at most 488 tokens beside 24 new ones, got one of"):
        generate_notes(model, renderer, [long], Decoding(N_NEW))
    cut, n_cut = renderer.fit(long, 200)
    assert n_cut > 0
    notes = generate_notes(model, renderer, [long], Decoding(8), max_prompt_tokens=200)
    (whole,) = generate_notes(model, renderer, [cut], Decoding(8))
    assert notes == [dataclasses.replace(whole, n_cut_turns=n_cut)]  # a cut is on record
    assert whole.n_cut_turns == 0
    with pytest.raises(ValueError, match="batch_size of 1 or more"):
        generate_notes(model, renderer, [cut], Decoding(8), batch_size=0)


def answers_by_hand(model, renderer: Renderer, visit: Visit) -> list[str]:
    """The answers to the parts of a note, each from the whole conversation before it."""
    parts = parts_to_write(renderer.parts, visit.section)
    for number, part in enumerate(parts):
        if part.answer is None:
            asked = [message.text for message in renderer.messages(visit.dialogue, parts)]
            assert asked[1].startswith(visit.dialogue)
            assert len(asked) == 2 * number + 2
            ids = renderer.conversation(renderer.messages(visit.dialogue, parts))[0]
            new = greedy(model, renderer, ids, N_NEW)
            text = renderer.decode_note(new)
            text = text if text.strip() else NOT_DISCUSSED
            parts[number] = dataclasses.replace(part, answer=text)
    return [part.answer for part in parts]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_note_in_parts_is_written_answer_below_answer(base, dialogues, batch_size):
    model = load_base(base, quantize=False)
    for scheme, sections in (("section", ("", "Allergies")), ("divisions", ("", "Plan"))):
        renderer = Renderer(load_tokenizer(base), small_model.INSTRUCTION, parts=scheme)
        visits = [Visit(dialogues[n], sections[n % 2]) for n in range(3)]
        visits = [Visit(visit.dialogue[:300], visit.section) for visit in visits]
        notes = generate_notes(model, renderer, visits, Decoding(N_NEW), batch_size=batch_size)
        for visit, note in zip(visits, notes, strict=True):
            answers = answers_by_hand(model, renderer, visit)
            named = len(answers) == 2
            assert note.text == join_parts(answers[1:] if named else answers)
            assert note.section == (answers[0] if named and not visit.section else "")


def test_a_note_in_parts_must_fit_with_all_its_parts(base, model):
    renderer = Renderer(load_tokenizer(base), small_model.INSTRUCTION, parts="divisions")
    reserved = reserved_tokens(renderer, Decoding(N_NEW))
    assert reserved > 4 * N_NEW  # the requests between the answers take room as well
    dialogue = small_model.encounters(1)[0].dialogue_text * 40
    with pytest.raises(ValueError, match=f"at most {512 - reserved} tokens beside {reserved} new"):
        generate_notes(model, renderer, [dialogue], Decoding(N_NEW))
    whole = Renderer(load_tokenizer(base), small_model.INSTRUCTION)
    assert reserved_tokens(whole, Decoding(N_NEW)) == N_NEW


def test_candidates_are_the_same_in_every_batch_and_the_consensus_is_taken(
    base, renderer, dialogues
):
    model = load_base(base, quantize=False)
    drawn = Decoding(N_NEW, n_candidates=3, temperature=1.0, min_p=0.0)
    alone = [generate_notes(model, renderer, [text], drawn)[0] for text in dialogues[:3]]
    together = generate_notes(model, renderer, dialogues[:3], drawn, batch_size=9)
    assert together == alone
    greedy_notes = generate_notes(model, renderer, dialogues[:3], Decoding(N_NEW))
    assert [note.text for note in together] != [note.text for note in greedy_notes]
    # A temperature near 0 draws the best token three times: the consensus is the greedy note.
    cold = generate_notes(model, renderer, dialogues[:3], Decoding(N_NEW, 3, 1e-5, 0.0))
    assert cold == greedy_notes


def test_a_prompt_that_a_sliding_window_would_not_see_whole_is_an_error(base, renderer, dialogues):
    model = load_base(base, quantize=False)
    longest = max(len(renderer.prompt_ids(dialogue)) for dialogue in dialogues)
    model.config.sliding_window = longest + N_NEW
    assert len(generate_notes(model, renderer, dialogues[:2], Decoding(N_NEW))) == 2
    model.config.sliding_window -= 1
    with pytest.raises(ValueError, match=f"sliding window of {longest + N_NEW - 1} tokens, got"):
        generate_notes(model, renderer, dialogues, Decoding(N_NEW))


def test_a_base_that_brings_its_own_decoding_is_not_heeded(tmp_path):
    """What a run decodes with is its own record; a file in the base's folder is no part of it."""
    base = small_model.make_base(tmp_path / "base")
    dialogues = [e.dialogue_text for e in small_model.encounters(3)]

    def notes():
        renderer = Renderer(load_tokenizer(str(base)), small_model.INSTRUCTION)
        model = load_base(str(base)).dequantize()
        return generate_notes(model, renderer, dialogues, Decoding(24))

    plain, digest = notes(), base_digest(str(base))
    penalty = {"repetition_penalty": 1.8, "min_new_tokens": 20, "no_repeat_ngram_size": 2}
    (base / "generation_config.json").write_text(json.dumps(penalty))
    assert notes() == plain
    assert base_digest(str(base)) != digest  # and yet the base is known to have changed
