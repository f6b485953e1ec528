"""Pretraining: tasks, blocks, NF4 rounding, gates, resuming; and the shipped weights."""

from __future__ import annotations

import json
import os
import random
import re
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import LlamaForCausalLM

from medisum_utils.modelling.model import load_base
from medisum_utils.pretraining import loop, probes, record
from medisum_utils.pretraining.architecture import build_model, build_optimizers
from medisum_utils.pretraining.documents import FULL, LINE_START_WEIGHT, Documents
from medisum_utils.pretraining.nf4 import quantised_weights, round_nf4, rounded
from medisum_utils.pretraining.prepare import Prepared, load_prepared, write_prepared
from medisum_utils.pretraining.probes import copy_batch
from medisum_utils.pretraining.recipe import (
    KINDS,
    RECIPES,
    TASKS,
    Progress,
    Recipe,
    Stage,
    learning_rate,
    load_recipe,
    probe_due,
)
from medisum_utils.pretraining.tokens import CONTROL_TOKENS, train_tokenizer
from medisum_utils.runs import machine
from medisum_utils.synthesis.encounters import generate

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "models" / "medisum-tiny-base"
TURN = re.compile(r"^(Doctor|Patient|Relative|Guest|Nurse)[^\n:]{0,20}:", re.M)
N_VOCABULARY = 1500
CONTINUES = {"gpu-polish": "gpu"}  # recipe: the one whose model it starts from
HEADER = re.compile(r"^(Subjective|Objective|Assessment|Plan)\b", re.M)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Texts of generated encounters, so that no corpus is needed, and their tokenizer."""
    encounters = list(generate(80, seed=3, split="train"))
    dialogues = [e.dialogue_text for e in encounters[:40]]
    notes = [e.note_text for e in encounters[40:]]
    answers = [" ".join(turn.text for turn in e.turns) for e in encounters[:40]]
    tokenizer = train_tokenizer(dialogues + notes, N_VOCABULARY)
    texts = {"dialogues": dialogues, "notes": notes, "answers": answers}
    return Prepared(texts, tokenizer, {"n_texts": 120})


def documents(prepared: Prepared, kind: str, **changes) -> Documents:
    settings = {"n_rows": 4, "length": 1024, "mixture": {kind: 1.0}, **changes}
    stage = Stage(name="a", n_tokens=1, **settings)
    return Documents(prepared.tokenizer, prepared.texts, stage, seed=5)


# Copy tasks


@pytest.mark.parametrize(("length", "n_symbols"), [(8, 6), (16, 64), (64, 20), (512, 4000)])
def test_the_prefix_determines_a_copy_task(length: int, n_symbols: int) -> None:
    symbols = torch.arange(10, 10 + n_symbols)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        ids, mask = copy_batch(8, length, n_symbols, symbols, generator)
        assert ids.shape == mask.shape
        assert ids.shape[0] == 8
        assert ids.shape[1] <= length
        assert set(ids.unique().tolist()) <= set(symbols.tolist())
        n_prefix = length // 2
        assert not mask[:, :n_prefix].any()
        assert mask.any(dim=1).all()
        for row, wanted in zip(ids.tolist(), mask.tolist(), strict=True):
            pairs = set(zip(row[: n_prefix - 1], row[1:n_prefix], strict=True))
            asked = [i for i, is_asked in enumerate(wanted) if is_asked]
            # In the prefix, every asked token follows the same token as here ...
            assert all((row[i - 1], row[i]) in pairs for i in asked)
            # ... and no other token does, if the prefix has no symbol twice.
            if len(set(row[:n_prefix])) == n_prefix:
                following = dict(pairs)
                assert all(following[row[i - 1]] == row[i] for i in asked)


def test_copy_tasks_depend_on_their_generator_only() -> None:
    symbols = torch.arange(100)
    batches = [
        copy_batch(4, 32, 100, symbols, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(batches[0][0], batches[1][0])
    assert batches[0][0].shape != batches[2][0].shape or not torch.equal(
        batches[0][0], batches[2][0]
    )


# Probes


def test_answers_are_counted_whole_as_by_hand() -> None:
    class Parrot(torch.nn.Module):
        """Predicts given tokens, each at the place before it."""

        def forward(self, input_ids: torch.Tensor):
            following = torch.from_numpy(np.roll(predicted, -1, axis=1))
            return type("Output", (), {"logits": torch.nn.functional.one_hot(following, 4)})

    rng = np.random.default_rng(1)
    for _ in range(30):
        ids = rng.integers(0, 3, (5, 40))
        predicted = np.where(rng.random((5, 40)) < 0.8, ids, 3)
        predicted[:, 0] = ids[:, 0]  # nothing predicts a row's first token
        spans = np.zeros((5, 40), dtype=int)
        number = 0
        for row in range(5):
            at = int(rng.integers(0, 5))
            while at < 40:
                number, n = number + 1, int(rng.integers(1, 6))
                spans[row, at : at + n] = number
                at += n + int(rng.integers(0, 4))
        is_right = [
            (predicted[spans == each] == ids[spans == each]).all() for each in range(1, number + 1)
        ]
        right, asked = probes.answers_right(Parrot(), torch.from_numpy(ids), spans)
        assert (right.sum(), asked.sum()) == (sum(is_right), number)
        assert probes.exact_share(right, asked) == pytest.approx(sum(is_right) / number)
    with pytest.raises(ValueError, match="got none"):
        probes.exact_share(right * 0, asked * 0)


def test_a_model_that_always_says_the_next_token_copies_exactly() -> None:
    class Oracle(torch.nn.Module):
        """Looks up what followed the last token at its first appearance."""

        def forward(self, input_ids: torch.Tensor):
            logits = torch.zeros(*input_ids.shape, 200)
            for row, tokens in enumerate(input_ids.tolist()):
                for place, token in enumerate(tokens):
                    first = tokens.index(token)
                    if first < place:
                        logits[row, place, tokens[first + 1]] = 1.0
            return type("Output", (), {"logits": logits})

    symbols = torch.arange(200)
    right, asked = probes.copy_answers(Oracle(), 32, 200, symbols, seed=1)
    assert (right == asked).all()
    assert asked.min() > 0


# NF4


def test_rounding_is_bitsandbytes_nf4() -> None:
    from bitsandbytes import functional

    for scale in (1.0, 0.02, 7.0):
        weight = torch.randn(96, 64, generator=torch.Generator().manual_seed(2)) * scale
        weight[0] = 0.0
        packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
        assert torch.equal(round_nf4(weight), functional.dequantize_4bit(packed, state))


def test_rounded_weights_are_put_back_even_after_an_error(prepared: Prepared) -> None:
    model = loop.build_model(tiny_recipe())
    weights = quantised_weights(model)
    assert len(weights) == 7  # of one layer; the head stays exact
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exact = before["model.layers.0.self_attn.q_proj.weight"]

    def look_and_fail() -> None:
        with rounded(model):
            assert torch.equal(weights[0], round_nf4(exact))
            assert not torch.equal(weights[0], exact)
            raise KeyError

    with pytest.raises(KeyError):
        look_and_fail()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Documents


def test_a_block_is_made_from_its_number(prepared: Prepared) -> None:
    mixture = dict.fromkeys(KINDS, 1.0)
    first, again = (documents(prepared, "text", mixture=mixture).block(7) for _ in range(2))
    other = documents(prepared, "text", mixture=mixture).block(8)
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.spans, again.spans)
    assert not np.array_equal(first.ids, other.ids)


@pytest.mark.slow
def test_a_block_is_the_same_in_another_process() -> None:
    code = (
        "import hashlib\n"
        "from medisum_utils.modelling.model import load_tokenizer\n"
        "from medisum_utils.pretraining.documents import Documents\n"
        "from medisum_utils.pretraining.recipe import KINDS, Stage\n"
        "texts = [' '.join('abcdefghijklmnopqrstuvwxyz'[i % 26] + 'ord' * (i % 5 + 1) for i in"
        " range(n)) for n in (50, 300)]\n"
        "stage = Stage('a', 1024, 3, 1, mixture=dict.fromkeys(KINDS, 1.0))\n"
        "tokenizer = load_tokenizer('models/medisum-tiny-base')\n"
        "made = Documents(tokenizer, {'answers': texts}, stage, seed=1).block(3)\n"
        "print(hashlib.sha256(made.ids.tobytes() + made.weights.tobytes()).hexdigest())\n"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0].strip()) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_no_document_contains_a_dialogue_with_its_note(prepared: Prepared, kind: str) -> None:
    maker = documents(prepared, kind)
    rng = random.Random(11)
    n_dialogues = n_notes = 0
    for _ in range(60):
        text = "".join(piece for piece, _ in maker.document(rng, kind))
        has_turns, has_note = bool(TURN.search(text)), bool(HEADER.search(text))
        assert not (has_turns and has_note)
        n_dialogues, n_notes = n_dialogues + has_turns, n_notes + has_note
    # The two patterns do find dialogues and notes; otherwise this test could not fail.
    if kind.endswith(TASKS):
        assert (n_dialogues, n_notes) == (60, 0)
    encounter = next(generate(1, seed=11, split="train"))
    assert TURN.search(encounter.dialogue_text)
    assert HEADER.search(encounter.note_text)


def test_running_text_comes_from_a_single_text(prepared: Prepared) -> None:
    maker = documents(prepared, "text")
    rng = random.Random(4)
    for _ in range(30):
        ((text, weight),) = maker.document(rng, "text")
        assert weight == 1.0
        texts = chain(*prepared.texts.values())
        assert sum(text.removesuffix("\n") in each for each in texts) >= 1


@pytest.mark.parametrize(
    "kind", ["register", "cloze", "restore", "blended_visit", "invented_sheet"]
)
def test_spans_are_answers_and_nothing_else(prepared: Prepared, kind: str) -> None:
    block = documents(prepared, kind, length=1536).block(1)
    n_spans = int(block.spans.max())
    assert n_spans > 10
    assert set(block.weights[block.spans > 0].tolist()) <= {FULL, LINE_START_WEIGHT}
    decode = prepared.tokenizer.decode
    for number in range(1, n_spans + 1):
        rows, places = np.nonzero(block.spans == number)
        if not len(rows):
            continue  # cut off at the end of the row
        assert len(set(rows)) == 1
        assert (np.diff(places) == 1).all()
        before = decode(block.ids[rows[0], max(0, places[0] - 30) : places[0]].tolist())
        assert before.endswith(("Answer:", "assistant<|end_header_id|>\n\n"))
        text = decode(block.ids[rows[0], places].tolist())
        if places[-1] < block.ids.shape[1] - 1:
            assert text.endswith(("\n", "<|eot_id|>"))


def test_running_text_asks_nothing(prepared: Prepared) -> None:
    assert not documents(prepared, "text").block(0).spans.any()


def test_padding_has_no_weight(prepared: Prepared) -> None:
    block = documents(prepared, "register").block(2)
    padding = block.ids == prepared.tokenizer.pad_token_id
    assert padding.any()
    assert not block.weights[padding].any()


# The tokenizer


def test_digits_are_single_tokens_and_text_is_restored(prepared: Prepared) -> None:
    tokenizer = prepared.tokenizer
    text = "Take 1250 mg at 08:15,\n  not 3.5 g - naïve ☃ ok"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    vocabulary = [token for token in tokenizer.get_vocab() if token not in CONTROL_TOKENS]
    assert all(len(token) == 1 for token in vocabulary if re.search(r"\d", token))


def test_control_tokens_come_first_in_llama_3_s_names(prepared: Prepared) -> None:
    assert tuple(prepared.tokenizer.convert_ids_to_tokens(range(10))) == CONTROL_TOKENS
    assert len(prepared.tokenizer) == N_VOCABULARY
    for number, token in enumerate(CONTROL_TOKENS):
        assert prepared.tokenizer.encode(token, add_special_tokens=False) == [number]


def test_prepared_files_are_read_back(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="without --prepared makes it"):
        load_prepared(tmp_path)
    write_prepared(tmp_path / "prepared", prepared)
    again = load_prepared(tmp_path / "prepared")
    assert (again.texts, again.corpus) == (prepared.texts, prepared.corpus)
    assert again.tokenizer.get_vocab() == prepared.tokenizer.get_vocab()


# Recipes and their schedule


@pytest.mark.parametrize("name", sorted(yaml.safe_load(RECIPES.read_text())))
def test_every_recipe_can_be_run(name: str) -> None:
    recipe = load_recipe(name)
    head = recipe.hidden_size / recipe.n_heads
    assert head % 2 == 0
    assert recipe.n_heads % recipe.n_kv_heads == 0
    # Requirements of bitsandbytes on a CPU for out_features, and of NF4 for its blocks.
    for n in (recipe.hidden_size, recipe.intermediate_size, recipe.n_kv_heads * int(head)):
        assert n % 32 == 0
    assert (recipe.hidden_size * recipe.n_kv_heads * head) % 64 == 0
    lengths = [stage.length for stage in recipe.stages if stage.copy_share == 1.0]
    assert lengths[:1] == ([] if name in CONTINUES else [16])
    assert lengths == sorted(lengths)
    for stage in recipe.stages:
        assert bool(stage.copy_share) == bool(stage.n_copy_rows), f"{stage.name}: no copy rows left"
        assert stage.n_copy_rows < stage.n_rows or not stage.mixture
        assert stage.n_tokens > 2 * stage.n_probes * stage.n_rows * stage.length
    if name in CONTINUES.values():
        assert recipe.decay_share == 0.0, "the run that goes on from here brings the rate down"
        return
    assert recipe.stages[-1].nf4
    assert recipe.stages[-1].gate == "invented_questions"
    assert recipe.stages[-1].threshold >= 0.8


def test_all_recipes_have_one_curriculum() -> None:
    same = ("name", "length", "n_symbols", "mixture", "p_frame", "gate", "threshold", "nf4")
    gpu, polish, cpu = (load_recipe(name).stages for name in ("gpu", "gpu-polish", "cpu"))
    assert [[getattr(stage, key) for key in same] for stage in (*gpu, *polish)] == [
        [getattr(stage, key) for key in same] for stage in cpu
    ]


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"n_layer": 3}, TypeError, "n_layer"),
        ({"stages": [{"name": "a", "length": 16}]}, TypeError, "n_rows"),
        ({"mixture": {"pairs": 1.0}}, ValueError, "expected kinds of"),
        ({"gate": "register"}, ValueError, "expected a gate of \\['copy'\\], got 'register'"),
        ({"copy_share": 0.5}, ValueError, "a mixture with a copy share below 1"),
        ({"probes": ["pairs"]}, ValueError, "expected kinds of"),
        ({"mixture": {"text": 1.0}}, ValueError, "or none with 1"),
    ],
)
def test_an_invalid_recipe_is_refused(
    tmp_path: Path, change: dict, error: type[Exception], expected: str
) -> None:
    content = asdict(tiny_recipe())
    content["stages"] = [dict(stage) for stage in content["stages"]]
    of_recipe = {"n_layer", "stages"} & set(change)
    (content if of_recipe else content["stages"][0]).update(change)
    path = tmp_path / "recipes.yaml"
    path.write_text(json.dumps({"mine": content}))
    with pytest.raises(error, match=expected):
        load_recipe("mine", path)


def test_an_unknown_recipe_is_answered_with_the_names() -> None:
    with pytest.raises(
        ValueError, match="expected a recipe of \\['cpu', 'gpu', 'gpu-polish'\\], got 'tpu'"
    ):
        load_recipe("tpu")


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = replace(tiny_recipe(), warmup_steps=10, decay_share=0.5)
    total = recipe.n_tokens
    assert learning_rate(recipe, Progress()) == pytest.approx(recipe.learning_rate / 10)
    assert learning_rate(recipe, Progress(step=9)) == recipe.learning_rate
    last = len(recipe.stages) - 1
    before = total - recipe.stages[last].n_tokens
    rates = [
        learning_rate(recipe, Progress(stage=last, step=99, stage_tokens=share * (total - before)))
        for share in (0.5, 0.75, 1.0, 1.1)
    ]
    to_come = [(1 - share) * (total - before) / (0.5 * total) for share in (0.5, 0.75)]
    assert rates[:2] == pytest.approx([recipe.learning_rate * min(1, each) for each in to_come])
    assert rates[2:] == [0.0, 0.0]
    # If a gate ends a stage early, its tokens leave the plan but not the decay.
    assert learning_rate(recipe, Progress(stage=1, step=99)) == recipe.learning_rate


def test_a_run_that_another_continues_keeps_its_rate() -> None:
    recipe = replace(tiny_recipe(), warmup_steps=10, decay_share=0.0)
    last = len(recipe.stages) - 1
    end = Progress(stage=last, step=99, stage_tokens=int(recipe.stages[last].n_tokens))
    assert learning_rate(recipe, end) == recipe.learning_rate
    assert learning_rate(recipe, Progress()) == pytest.approx(recipe.learning_rate / 10)


def test_matrices_of_the_blocks_go_to_muon_and_the_rest_to_adamw() -> None:
    recipe = tiny_recipe()
    model = build_model(recipe)
    muon, adamw = build_optimizers(model, recipe)
    names = {id(weight): name for name, weight in model.named_parameters()}
    inner, outer = (
        {names[id(weight)] for group in optimizer.param_groups for weight in group["params"]}
        for optimizer in (muon, adamw)
    )
    assert inner | outer == set(names.values())
    assert not inner & outer
    assert all("proj" in name for name in inner)
    assert any("embed" in name for name in outer)
    assert {group["lr"] for group in muon.param_groups} == {recipe.learning_rate}
    assert {group["lr"] for group in adamw.param_groups} == {recipe.outer_learning_rate}


def test_probes_come_by_tokens() -> None:
    stage = Stage("a", 16, 10, 16_000, copy_share=1.0, n_probes=4)
    due = [n for n in range(160, 16_001, 160) if probe_due(stage, n, 160)]
    assert due == [4000, 8000, 12_000, 16_000]


# Runs


def tiny_recipe(**changes) -> Recipe:
    """Three stages of a few steps each; the first gate opens at its first probe."""
    mixture = {"register": 0.5, "cloze": 0.3, "text": 0.2}  # short, so quick
    probed = {"n_probes": 2, "probes": ("register",)}
    stages = (
        Stage("copy", 16, 16, 16 * 16 * 12, copy_share=1.0, n_symbols=20, gate="copy", n_probes=4),
        Stage("reading", 256, 6, 1536 * 4, copy_share=0.34, mixture=mixture, **probed),
        Stage("polish", 256, 6, 1536 * 4, copy_share=0.34, mixture=mixture, nf4=True, **probed),
    )
    sizes = {"hidden_size": 64, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2}
    sizes |= {"intermediate_size": 64, "n_vocabulary": N_VOCABULARY, "seed": 5, "warmup_steps": 4}
    sizes |= {"learning_rate": 2e-3, "outer_learning_rate": 1e-3}
    recipe = Recipe(decay_share=0.4, weight_decay=0.1, stages=stages, **sizes)
    return replace(recipe, **changes)


def pretraining(prepared: Prepared, out: Path, recipe: Recipe, **options) -> loop.Pretraining:
    return loop.Pretraining(recipe, prepared, out, name="tiny", compile=False, **options)


def logged(out: Path) -> list[dict]:
    """The log without its times."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in record.read_log(out)]


@pytest.mark.slow
def test_a_killed_run_resumes_as_if_uninterrupted(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoint at step 6, within a stage; killed at step 10, past that stage's end."""
    whole = pretraining(prepared, tmp_path / "whole", tiny_recipe())
    whole.train()
    assert whole.progress.step == 3 + 4 + 4  # the first gate opens at its first probe

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 1e9)
    killed = pretraining(prepared, tmp_path / "parts", tiny_recipe())
    step = killed._step

    def step_until_killed(ids, weights, *, nf4):
        if killed.progress.step == 6:
            killed._checkpoint()
        if killed.progress.step == 10:
            raise KeyboardInterrupt
        return step(ids, weights, nf4=nf4)

    killed._step = step_until_killed
    # The stage's end wrote a checkpoint at step 7; put back the one from within the stage.
    at_six = tmp_path / "six.pt"
    keep = killed._checkpoint

    def checkpoint():
        keep()
        if killed.progress.step == 6:
            at_six.write_bytes((tmp_path / "parts" / "state.pt").read_bytes())

    killed._checkpoint = checkpoint
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    (tmp_path / "parts" / "state.pt").write_bytes(at_six.read_bytes())
    log = tmp_path / "parts" / record.LOG
    assert record.read_log(log)[-1]["step"] > 6
    with log.open("a") as file:
        file.write('{"stage": "torn')

    resumed = pretraining(prepared, tmp_path / "parts", tiny_recipe())
    assert resumed.progress.step == 6
    assert record.read_log(log)[-1]["step"] <= 6
    resumed.train()
    assert logged(log) == logged(tmp_path / "whole" / record.LOG)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.slow
def test_workers_give_the_same_stream(prepared: Prepared, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe(), stages=tiny_recipe().stages[1:2])
    for n_workers in (0, 2):
        out = tmp_path / str(n_workers)
        pretraining(prepared, out, recipe, n_workers=n_workers).train()
    assert logged(tmp_path / "0" / record.LOG) == logged(tmp_path / "2" / record.LOG)


@pytest.mark.slow
def test_a_run_leaves_a_model_and_its_record(prepared: Prepared, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    run = pretraining(prepared, tmp_path, recipe)
    run.train()
    folder = tmp_path / "model"
    model = load_base(str(folder), quantize=False, dtype="bfloat16")
    exact = run.model.state_dict()
    for name, value in model.state_dict().items():
        trained = exact[name]
        is_rounded = trained.ndim == 2 and "proj" in name
        wanted = round_nf4(trained) if is_rounded else trained
        assert torch.equal(value, wanted.to(torch.bfloat16)), name
    run_record = json.loads((folder / record.RECORD).read_text())
    last = record.read_log(folder / record.LOG)[-1]
    assert (run_record["tokens"], run_record["steps"]) == (run.progress.tokens, 11)
    assert run_record["seconds"] == last["seconds"] > 0
    assert run_record["final"]["register_exact"] == last["register_exact"]
    assert run_record["n_parameters"] == sum(p.numel() for p in run.model.parameters())
    assert run_record["machine"].endswith(f"{machine.n_cores()} cores") or torch.cuda.is_available()
    assert run_record["settings"] == json.loads(json.dumps(asdict(recipe)))
    assert run_record["versions"]["torch"] == torch.__version__
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


@pytest.mark.slow
def test_a_run_continues_from_a_finished_model(prepared: Prepared, tmp_path: Path) -> None:
    first = pretraining(prepared, tmp_path / "first", tiny_recipe())
    first.train()
    start = tmp_path / "first" / "model"
    second = pretraining(prepared, tmp_path / "second", tiny_recipe(), start=start)
    stored = dict(LlamaForCausalLM.from_pretrained(start).named_parameters())
    for name, weight in second.model.named_parameters():
        assert torch.equal(weight, stored[name].float()), name
    second.train()
    run_record = [
        json.loads((tmp_path / name / "model" / record.RECORD).read_text())
        for name in ("first", "second")
    ]
    assert run_record[1]["tokens"] == 2 * run_record[0]["tokens"] == second.progress.tokens * 2
    assert run_record[1]["recipe"] == "tiny, tiny"
    assert run_record[1]["runs"][0]["weights_sha256"] == run_record[0]["weights_sha256"]
    log = record.read_log(tmp_path / "second" / "model" / record.LOG)
    assert [line["step"] for line in log] == sorted(line["step"] for line in log)
    assert log[-1]["tokens"] == run_record[1]["tokens"]


def test_a_start_of_another_shape_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    other = replace(tiny_recipe(), intermediate_size=96)
    build_model(other).save_pretrained(tmp_path / "other")
    prepared.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="a model of another shape"):
        pretraining(prepared, tmp_path / "run", tiny_recipe(), start=tmp_path / "other")


def test_a_start_with_another_vocabulary_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    build_model(tiny_recipe()).save_pretrained(tmp_path / "other")
    train_tokenizer(["other words make other pieces"], 400).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another vocabulary"):
        pretraining(prepared, tmp_path / "run", tiny_recipe(), start=tmp_path / "other")


def test_a_gate_that_is_not_reached_stops_the_run_again_and_again(
    prepared: Prepared, tmp_path: Path
) -> None:
    first = replace(tiny_recipe().stages[0], threshold=1.1)
    recipe = replace(tiny_recipe(), stages=(first, *tiny_recipe().stages[1:]))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stage copy: expected copy of at least 1.1 after"):
            pretraining(prepared, tmp_path, recipe).train()
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_not_finite_stops_the_run(prepared: Prepared, tmp_path: Path) -> None:
    run = pretraining(prepared, tmp_path, tiny_recipe())
    with torch.no_grad():
        run.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="stage copy: the loss is nan"):
        run.train()


def test_a_folder_of_another_run_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    pretraining(prepared, tmp_path, tiny_recipe())._checkpoint()
    with pytest.raises(ValueError, match="another recipe"):
        pretraining(prepared, tmp_path, tiny_recipe(seed=6))
    with pytest.raises(ValueError, match="other texts"):
        pretraining(replace(prepared, texts={"answers": ["other"]}), tmp_path, tiny_recipe())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--recipe", "tpu"], "expected a recipe of"),
        (["--recipe", "cpu", "--prepared"], "without --prepared makes it"),
    ],
)
def test_the_command_says_why_nothing_was_trained(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "medisum_utils", "pretrain", *arguments, "--out", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "nothing was trained: " in result.stderr
    assert expected in result.stderr


# The shipped base


def test_the_shipped_weights_are_a_small_llama_3_in_bf16() -> None:
    from safetensors import safe_open

    config = json.loads((BASE / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0
    assert config["rope_parameters"]["rope_theta"] == 500_000
    weights = BASE / "model.safetensors"
    assert weights.stat().st_size <= 40e6
    with safe_open(weights, framework="pt") as file:
        types = {file.get_slice(name).get_dtype() for name in list(file.keys())}
    assert types == {"BF16"}


def test_the_shipped_files_can_be_read_by_everyone() -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in BASE.iterdir()}
    assert all(mode & 0o444 == 0o444 and not mode & 0o111 for mode in modes.values()), modes


def test_the_shipped_record_agrees_with_weights_log_and_recipe() -> None:
    run_record = json.loads((BASE / record.RECORD).read_text())
    last = record.read_log(BASE / record.LOG)[-1]
    assert (run_record["tokens"], run_record["seconds"]) == (last["tokens"], last["seconds"])
    assert run_record["weights_sha256"] == record.sha256_file(BASE / record.WEIGHTS)
    assert run_record["n_parameters"] == record.count_parameters(BASE / record.WEIGHTS)
    recipes = [load_recipe(name) for name in run_record["recipe"].split(", ")]
    assert [run["recipe"] for run in run_record["runs"]] == run_record["recipe"].split(", ")
    assert sum(run["tokens"] for run in run_record["runs"]) == run_record["tokens"]
    stages = [asdict(stage) for recipe in recipes for stage in recipe.stages]
    assert run_record["settings"]["stages"] == json.loads(json.dumps(stages))
    assert [stage["name"] for stage in stages] == list(
        dict.fromkeys(line["stage"] for line in record.read_log(BASE / record.LOG))
    )
    gate, threshold = stages[-1]["gate"], stages[-1]["threshold"]
    assert run_record["final"][f"{gate}_exact"] == last[f"{gate}_exact"] >= threshold >= 0.8


def test_the_shipped_tokenizer_has_control_tokens_and_single_digits() -> None:
    from medisum_utils.modelling.model import load_tokenizer

    tokenizer = load_tokenizer(str(BASE))
    assert tuple(tokenizer.convert_ids_to_tokens(range(10))) == CONTROL_TOKENS
    assert len(tokenizer.encode("4711", add_special_tokens=False)) == 4


@pytest.mark.corpus
@pytest.mark.slow
def test_the_corpora_give_the_texts_of_the_shipped_run(corpora: Path) -> None:
    from medisum_utils.pretraining.prepare import real_texts

    run_record = json.loads((BASE / record.RECORD).read_text())
    _, corpus = real_texts()
    assert corpus == run_record["corpus"]
