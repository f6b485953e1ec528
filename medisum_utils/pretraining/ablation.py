"""Ablation: trains the default with one setting changed per trial, and compares the scores.

    python -m medisum_utils ablate --base models/medisum-tiny-base --out ablation.json

The adapter is trained on the base's NF4-rounded weights, the same values that 4-bit storage holds
(`pretraining.nf4`), by a simple loop that needs no 4-bit kernels, so that many trials fit into one
GPU session. `python -m medisum_utils.pretraining.ablation` takes the same options and works without
typer.

Trials serve to choose settings, so they must not use test data: each is scored on validation
encounters, with several seeds. The scores are for comparing trials with each other; 04 reports
those of the default run.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from medisum_utils.encounter import Encounter
from medisum_utils.modelling.prompt import RenderedExample, Renderer
from medisum_utils.pretraining.ablation_record import (
    SPLIT,
    add_run,
    group_of,
    has_run,
    write_groups,
)
from medisum_utils.scoring.rouge import ROUGE_NAMES, rouge_scores
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import MEASURES, score_encounters

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

INSTRUCTION = "Summarise the visit as a SOAP note."
# Draws the encounters on which every trial is scored, whatever its own seed. No profile uses this
# seed, so no checkpoint was chosen on these encounters.
VALID_SEED = 2017
SEEDS = (17, 18, 19)
WARM_UP_SHARE = 0.05
ALPHA_PER_RANK = 4  # as in the profile `tiny`
LONGEST_NOTE = 320  # tokens
IGNORED = -100  # the label of a token that is not supervised, as in `training`


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: what it changes in the default, in words, and the resulting settings.

    `full` trains all weights of the exact base instead of an adapter on the rounded base.
    """

    change: str
    n_train: int = 540
    exchanged_share: float = 0.3
    n_epochs: float = 1.0
    batch_size: int = 1
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
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from medisum_utils.runs.machine import device_name

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
    scores = _scores(model, renderer, valid_encounters)
    return {
        "seed": seed,
        "n_steps": len(losses),
        "loss": fmean(losses[-max(1, len(losses) // 10) :]),
        "seconds": round(time.monotonic() - started, 1),
        "machine": device_name(),
        "scores": scores,
    }


def _trainable(model: LlamaForCausalLM, trial: Trial) -> torch.nn.Module:
    """The whole model, or an adapter on its rounded weights."""
    import torch

    if trial.full:
        return model
    from peft import LoraConfig, get_peft_model

    from medisum_utils.pretraining.nf4 import quantised_weights, round_nf4

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
    """AdamW with a short warm-up and linear decay; returns one loss per step."""
    import torch

    n_steps = round(trial.n_epochs * len(examples)) // trial.batch_size
    warm_up = max(1, round(WARM_UP_SHARE * n_steps))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=trial.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, (n_steps - step) / max(1, n_steps - warm_up)),
    )
    device = weights[0].device
    model.train()
    losses = []
    for batch in _batches(examples, trial.batch_size, n_steps, seed):
        ids, labels = _padded(batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(input_ids=ids.to(device), labels=labels.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
    return [float(loss) for loss in losses]


def _batches(
    examples: Sequence[RenderedExample], size: int, n_steps: int, seed: int
) -> Iterator[list[RenderedExample]]:
    """`n_steps` batches in random order; each example is used once before any is repeated."""
    rng = random.Random(seed)
    waiting: list[RenderedExample] = []
    for _ in range(n_steps):
        if len(waiting) < size:
            waiting = rng.sample(list(examples), len(examples))
        yield [waiting.pop() for _ in range(size)]


def _padded(batch: Sequence[RenderedExample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, (batch, longest example), padded on the right."""
    import torch

    longest = max(len(example.input_ids) for example in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), IGNORED)
    for row, example in enumerate(batch):
        example_ids = torch.tensor(example.input_ids)
        ids[row, : len(example_ids)] = example_ids
        start = example.n_prompt_tokens
        labels[row, start : len(example_ids)] = example_ids[start:]
    return ids, labels


def _scores(
    model: LlamaForCausalLM, renderer: Renderer, encounters: Sequence[Encounter]
) -> dict[str, float]:
    from medisum_utils.modelling.generation import generate_notes

    written = generate_notes(
        model,
        renderer,
        [encounter.dialogue_text for encounter in encounters],
        max_new_tokens=LONGEST_NOTE,
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
) -> Path:
    """Runs each trial with each seed and rewrites `path` after each, so that a kill loses one run.

    Runs that are already in the file are not repeated.

    Raises: ValueError for a file with another base or other validation encounters.
    """
    group = group_of(path, base, {"split": SPLIT, "seed": VALID_SEED, "n": n_valid})
    for trial in trials:
        for seed in seeds:
            if has_run(group, asdict(trial), seed):
                continue
            run = run_trial(trial, base, n_valid=n_valid, seed=seed, device=device)
            add_run(group, asdict(trial), run)
            write_groups(path, [group])
            print(
                f"{trial.change}, seed {seed}: {run['n_steps']} steps, {run['seconds']:.0f} s, "
                f"fact F1 {run['scores']['facts_f1']:.3f}",
                flush=True,
            )
    return path


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parses seeds separated by commas, such as "17,18,19".

    Raises: ValueError for any other text or a repeated seed.
    """
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() for number in numbers) or len({*map(int, numbers)}) != len(
        numbers
    ):
        raise ValueError(f"expected different seeds separated by commas, got {text!r}")
    return tuple(map(int, numbers))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line without typer, which a machine with a GPU may lack."""
    from medisum_utils.modelling.model import pick_device

    parser = argparse.ArgumentParser(prog="python -m medisum_utils.pretraining.ablation")
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write or to resume")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="separated by commas")
    parser.add_argument("--n", type=int, default=100, help="validation encounters")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args(arguments)
    try:
        seeds = parse_seeds(options.seeds)
    except ValueError as error:
        parser.error(str(error))
    if options.n < 2:
        parser.error(f"expected at least 2 validation encounters, got {options.n}")
    device = pick_device(options.device)
    write_ablation(options.out, options.base, TRIALS, n_valid=options.n, seeds=seeds, device=device)


if __name__ == "__main__":
    main()
