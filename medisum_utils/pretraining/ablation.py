"""Ablation: trains the default with one setting changed per trial, and compares the scores.

    python -m medisum_utils ablate --base models/medisum-tiny-base --out ablation.json

The adapter is trained on the base's NF4-rounded weights, the same values that 4-bit storage holds
(`pretraining.nf4`), by a simple loop that needs no 4-bit kernels, so that many trials fit into one
GPU session.

Trials serve to choose settings, so they must not use test data: each is scored on validation
encounters, with several seeds. The scores are for comparing trials with each other; 04 reports
those of the default run.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaForCausalLM

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.generation import generate_notes
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.pretraining.ablation_record import SPLIT, group_of, write_groups
from medisum_utils.pretraining.nf4 import quantised_weights, round_nf4
from medisum_utils.runs.machine import device_name
from medisum_utils.scoring.rouge import ROUGE_NAMES, rouge_scores
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import MEASURES, score_encounters

INSTRUCTION = "Summarise the visit as a SOAP note."
# Draws the encounters on which every trial is scored, whatever its own seed. No profile uses this
# seed, so no checkpoint was chosen on these encounters.
VALID_SEED = 2017
WARM_UP_SHARE = 0.05
ALPHA_PER_RANK = 4  # as in the profile `tiny`
LONGEST_NOTE = 320  # tokens


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: what it changes in the default, in words, and the resulting settings.

    `full` trains all weights of the exact base instead of an adapter on the rounded base.
    """

    change: str
    n_train: int = 540
    exchanged_share: float = 0.3
    n_epochs: float = 1.0
    batch_size: int = field(default=1, init=False)  # recorded: trials of earlier versions had 2
    rank: int = 16
    learning_rate: float = 2.0e-3
    full: bool = False


TRIALS = (
    Trial("none: the default"),
    Trial("half the data", n_train=270),
    Trial("a ninth less data", n_train=480),
    Trial("a ninth more data", n_train=600),
    Trial("twice the data", n_train=1080),
    Trial("twice the steps, by two passes over the data", n_epochs=2.0),
    Trial("twice the rank", rank=32),
    Trial("no exchanged names", exchanged_share=0.0),
    Trial("full fine-tuning", full=True, learning_rate=5.0e-4),
)


def run_trial(trial: Trial, base: str, *, n_valid: int, seed: int, device: str) -> dict[str, Any]:
    """Trains one trial and scores it on `n_valid` validation encounters.

    `seed` draws the training encounters, the adapter's initial weights and the order of examples;
    the scored encounters always come from `VALID_SEED`. Returns `seed`, `n_steps`,
    `loss` (nats per note token, mean of the last tenth of the steps), `seconds`, `machine`, and
    `scores`: means in 0 to 1.
    """
    started = time.monotonic()
    torch.manual_seed(seed)
    renderer = Renderer(AutoTokenizer.from_pretrained(base), INSTRUCTION)
    unchanged = list(generate(trial.n_train, seed=seed, split="train"))
    encounters = with_exchanged_names(unchanged, trial.exchanged_share, seed=seed)
    train = [renderer.example(encounter) for encounter in encounters]
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
    model = _trainable(model, trial)
    losses = _train(model, train, trial, seed)
    if not trial.full:
        model = model.merge_and_unload()
    valid_encounters = list(generate(n_valid, seed=VALID_SEED, split=SPLIT))
    return {
        "seed": seed,
        "n_steps": len(losses),
        "loss": fmean(losses[-max(1, len(losses) // 10) :]),
        "machine": device_name(),
        "scores": _scores(model, renderer, valid_encounters),
        "seconds": round(time.monotonic() - started, 1),
    }


def _trainable(model: LlamaForCausalLM, trial: Trial) -> torch.nn.Module:
    """The whole model, or an adapter on its rounded weights."""
    if trial.full:
        return model
    with torch.no_grad():
        for weight in quantised_weights(model):
            weight.copy_(round_nf4(weight))
    lora = LoraConfig(
        r=trial.rank,
        lora_alpha=ALPHA_PER_RANK * trial.rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _train(
    model: torch.nn.Module, examples: Sequence[RenderedExample], trial: Trial, seed: int
) -> list[float]:
    """AdamW, one example a step, with a short warm-up and linear decay; returns the losses."""
    rng = random.Random(seed)
    n_steps = round(trial.n_epochs * len(examples))
    order: list[RenderedExample] = []  # each example is used once before any is repeated
    while len(order) < n_steps:
        order += reversed(rng.sample(list(examples), len(examples)))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=trial.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: rate_factor(at, n_steps))
    device = weights[0].device
    model.train()
    losses = []
    for example in order[:n_steps]:
        ids = torch.tensor([example.input_ids], device=device)
        labels = torch.tensor([example.labels], device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
    return [float(loss) for loss in losses]


def rate_factor(step: int, n_steps: int) -> float:
    """The share of the learning rate at a step, counted from 0: a short rise, then linear decay."""
    warm_up = max(1, round(WARM_UP_SHARE * n_steps))
    return min((step + 1) / warm_up, (n_steps - step) / max(1, n_steps - warm_up))


def _scores(
    model: LlamaForCausalLM, renderer: Renderer, encounters: Sequence[Encounter]
) -> dict[str, float]:
    written = generate_notes(
        model,
        renderer,
        [encounter.dialogue_text for encounter in encounters],
        Decoding(LONGEST_NOTE),
        max_prompt_tokens=model.config.max_position_embeddings - LONGEST_NOTE,
        batch_size=100,
    )
    notes = [note.text for note in written]
    rouge = rouge_scores([encounter.note_text for encounter in encounters], notes)
    facts = score_encounters(encounters, notes)
    return {
        **{name: fmean(rouge[name]) for name in ROUGE_NAMES},
        **{f"facts_{name}": fmean(getattr(score, name) for score in facts) for name in MEASURES},
    }


def write_ablation(
    path: Path,
    base: str,
    trials: Sequence[Trial],
    *,
    n_valid: int,
    seeds: Sequence[int],
    device: str,
) -> None:
    """Runs each trial with each seed and rewrites `path` after each, so that a kill loses one run.

    Runs that are already in the file are not repeated.

    Raises: ValueError for a file with another base or other validation encounters.
    """
    group = group_of(path, base, {"split": SPLIT, "seed": VALID_SEED, "n": n_valid})
    recorded = {trial["change"]: trial for trial in group["trials"]}
    for trial in trials:
        entry = recorded.get(trial.change)
        if entry is None or any(entry[key] != value for key, value in asdict(trial).items()):
            entry = {**asdict(trial), "runs": []}
        for seed in seeds:
            if seed in [run["seed"] for run in entry["runs"]]:
                continue
            run = run_trial(trial, base, n_valid=n_valid, seed=seed, device=device)
            if not entry["runs"]:
                group["trials"].append(entry)
            entry["runs"].append(run)
            write_groups(path, [group])
            print(
                f"{trial.change}, seed {seed}: {run['n_steps']} steps, {run['seconds']:.0f} s, "
                f"fact F1 {run['scores']['facts_f1']:.3f}",
                flush=True,
            )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parses seeds separated by commas, such as "17,18,19".

    Raises: ValueError for any other text or a repeated seed.
    """
    numbers = [number.strip() for number in text.split(",")]
    seeds = tuple(int(number) for number in numbers if number.isdecimal())
    if len(set(seeds)) != len(numbers):
        raise ValueError(f"expected different seeds separated by commas, got {text!r}")
    return seeds
