"""A stack computes for each of its models what that model computes alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import small_model
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaForCausalLM

from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import generate_notes
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.notes.parts import SECTION, WHOLE as WHOLE_NOTE
from medisum_utils.pretraining.nf4 import quantised_weights, round_nf4
from medisum_utils.pretraining.stack_training import Learner, plan_batches, train_stack
from medisum_utils.pretraining.stack_writing import write_notes
from medisum_utils.pretraining.stacked import SCALE, Member, Stack

ADAPTERS = (Member(True, 4, 1), Member(False, 8, 2), Member(True, 8, 3))
WHOLE = (Member(False, 0, 1), Member(False, 0, 2))
VISITS = small_model.encounters(9)


@pytest.fixture(scope="module", params=[True, False], ids=["tied head", "head of its own"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    return str(small_model.make_base(folder, tie_word_embeddings=request.param))


@pytest.fixture(scope="module")
def renderer(base: str) -> Renderer:
    return Renderer(AutoTokenizer.from_pretrained(base), small_model.INSTRUCTION)


def alone(base: str, member: Member, state: list[torch.Tensor]) -> torch.nn.Module:
    """One model of a stack as `transformers` and `peft` have it."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    values = iter(state)
    with torch.no_grad():
        if member.rank == 0:
            head = model.get_output_embeddings().weight
            norms = [m.weight for n, m in model.named_modules() if "norm" in n.rpartition(".")[2]]
            table = model.get_input_embeddings().weight
            own_head = [] if head is table else [head]
            for weight in [*quantised_weights(model), *norms, table, *own_head]:
                weight.copy_(next(values))
            return model
        if member.rounded:
            for weight in quantised_weights(model):
                weight.copy_(round_nf4(weight))
        lora = LoraConfig(
            r=member.rank,
            lora_alpha=round(SCALE * member.rank),
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, lora)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(next(values))
    return model


def drawn_states(stack: Stack) -> list[list[torch.Tensor]]:
    torch.manual_seed(7)
    return [[part + 0.1 * torch.randn_like(part) for part in state] for state in stack.states()]


@pytest.mark.parametrize("members", [ADAPTERS, WHOLE], ids=["adapters", "all weights"])
def test_losses_and_gradients_are_those_of_each_model_alone(
    base: str, renderer: Renderer, members: tuple[Member, ...]
) -> None:
    stack = Stack(base, members, "cpu")
    states = drawn_states(stack)
    for number, state in enumerate(states):
        stack.start_from(number, state)
    assert all(
        torch.equal(a, b)
        for own, given in zip(stack.states(), states, strict=True)
        for a, b in zip(own, given, strict=True)
    )
    examples = [renderer.example(visit) for visit in VISITS[: len(members)]]
    width = max(len(e.input_ids) for e in examples)
    ids = torch.tensor([[*e.input_ids, *[0] * (width - len(e.input_ids))] for e in examples])
    wanted = [
        (row * width + at - 1, e.input_ids[at])
        for row, e in enumerate(examples)
        for at, supervised in enumerate(e.completion_mask)
        if supervised
    ]
    places, labels = (torch.tensor(column) for column in zip(*wanted, strict=True))
    stack.model.train()
    weights = stack.weights.requires_grad_()
    stack.use(weights)
    losses = stack.losses(ids, places, labels, [e.n_completion_tokens for e in examples])
    losses.sum().backward()
    slots = stack._pieces(weights.grad)
    for number, (member, state, example) in enumerate(zip(members, states, examples, strict=True)):
        model = alone(base, member, state)
        loss = model(
            input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])
        ).loss
        loss.backward()
        torch.testing.assert_close(losses[number], loss)
        expected = {tuple(p.shape): p.grad for p in model.parameters() if p.grad is not None}
        assert expected
        norm = math.sqrt(
            sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
        )
        own = math.sqrt(sum(float(piece[number].square().sum()) for piece in slots))
        assert own == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("parts", [WHOLE_NOTE, SECTION])
def test_notes_are_those_that_each_model_writes_alone(base: str, parts: str) -> None:
    finished: set[bool] = set()
    for members in (ADAPTERS, WHOLE):
        compare_notes(base, members, parts, finished)
    assert finished == {True, False}


def compare_notes(base: str, members: tuple[Member, ...], parts: str, finished: set[bool]) -> None:
    renderer = Renderer(AutoTokenizer.from_pretrained(base), small_model.INSTRUCTION, parts=parts)
    visits = [replace(v, note=(v.note[at % 4],)) for at, v in enumerate(VISITS)]
    examples = [renderer.example(visit) for visit in visits]
    stack = Stack(base, members, "cpu")
    learners = [Learner(examples, 1e-2 / m.seed, m.seed) for m in members]
    losses = train_stack(stack, learners, n_passes=12, batch_tokens=200)
    assert all(last < first for first, last in zip(losses[0], losses[-1], strict=True))
    states, decoding = stack.states(), Decoding(8)
    stack.finish()
    dialogues = [visit.dialogue_text for visit in visits]
    how = {"max_new_tokens": decoding.max_new_tokens, "n_at_once": 4}
    notes = write_notes(stack, renderer, dialogues, **how)
    assert len({tuple(note.text for note in own) for own in notes}) > 1
    finished.update(note.finished for own in notes for note in own)
    for member, state, own in zip(members, states, notes, strict=True):
        model = alone(base, member, state)
        if member.rank:
            model = model.merge_and_unload()
        of_one = generate_notes(model, renderer, dialogues, decoding)
        assert own == [replace(note, section="") for note in of_one]


def test_a_model_learns_in_a_stack_what_it_learns_alone(base: str, renderer: Renderer) -> None:
    examples = [renderer.example(visit) for visit in VISITS]
    learners = [Learner(examples, rate, 1) for rate in (1e-2, 2e-3, 1e-2)]
    how = {"n_passes": 2, "batch_tokens": 400}
    stack, single = Stack(base, ADAPTERS, "cpu"), Stack(base, ADAPTERS[:1], "cpu")
    losses, of_one = train_stack(stack, learners, **how), train_stack(single, learners[:1], **how)
    torch.testing.assert_close([step[:1] for step in losses], of_one, rtol=1e-4, atol=1e-5)
    for together, own in zip(stack.states()[0], single.states()[0], strict=True):
        torch.testing.assert_close(together, own, rtol=1e-3, atol=1e-4)
    # The padding of the smaller rank was never used.
    down = stack._pieces(stack.weights)[0][0]
    assert down.shape[0] == 8
    assert down[:4].all()
    assert not down[4:].any()


def test_rates_are_those_of_the_models(base: str, renderer: Renderer) -> None:
    examples = [renderer.example(visit) for visit in VISITS]
    stack = Stack(base, [Member(True, 4, 1), Member(True, 4, 1)], "cpu")
    before = stack.weights.clone()
    train_stack(
        stack, [Learner(examples, 1e-3, 1), Learner(examples, 0.0, 1)], n_passes=1, batch_tokens=400
    )
    assert not torch.equal(stack.weights[0], before[0])
    assert torch.equal(stack.weights[1], before[1])


def test_each_example_is_learnt_once_in_each_pass(renderer: Renderer) -> None:
    examples = [renderer.example(visit) for visit in small_model.encounters(20)]
    halves = examples[:10], examples[10:]
    learners = [Learner(half, 1e-3, seed) for half, seed in zip(halves, (1, 2), strict=True)]
    steps = list(plan_batches(learners, 2, 500))
    assert len(steps) % 2 == 0
    for one_pass in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        for number, half in enumerate(halves):
            seen = [example.id for batches in one_pass for example in batches[number]]
            assert sorted(seen) == sorted(example.id for example in half)
    for batches in steps:
        assert len({len(own) for own in batches}) == 1
        widest = max(len(example.input_ids) for own in batches for example in own)
        assert len(batches[0]) == 1 or len(batches[0]) * widest <= 500
    first, second = steps[: len(steps) // 2], steps[len(steps) // 2 :]
    assert [[e.id for e in b[0]] for b in first] != [[e.id for e in b[0]] for b in second]


def test_what_does_not_fit_together_is_refused(base: str, renderer: Renderer) -> None:
    with pytest.raises(ValueError, match="all have an adapter, or none"):
        Stack(base, [ADAPTERS[0], WHOLE[0]], "cpu")
    examples = [renderer.example(visit) for visit in VISITS]
    uneven = [Learner(examples, 1e-3, 1), Learner(examples[1:], 1e-3, 2)]
    with pytest.raises(ValueError, match=r"equally many examples.*\[8, 9\]"):
        list(plan_batches(uneven, 1, 400))
    stack = Stack(base, ADAPTERS[:2], "cpu")
    stack.finish()
    with pytest.raises(ValueError, match="each of 2 models, got 3"):
        stack.model(input_ids=torch.ones(3, 4, dtype=torch.long))
    stack = Stack(base, ADAPTERS[:1], "cpu")
    with pytest.raises(FloatingPointError, match="finite"):
        train_stack(stack, [Learner(examples, math.inf, 1)], n_passes=2, batch_tokens=400)
