"""What another doubling would buy: the default training with one thing changed, trial by trial.

    python -m medisum_utils ablate --base models/medisum-tiny-base --out ablation.json

The adapter is trained on the base's NF4-rounded weights, the same values that 4-bit storage holds
(`pretraining.nf4`), by a plain loop that needs no 4-bit kernels: many trials fit into one visit to
a GPU. Its scores are for comparing trials with each other; those of the default run are 04's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medisum_utils.encounter import Encounter
from medisum_utils.metrics import ROUGE_NAMES, interval, rouge_scores
from medisum_utils.prompt import RenderedExample, Renderer
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import score_encounters
from medisum_utils.training import IGNORED

if TYPE_CHECKING:
    import pandas
    import torch
    from transformers import LlamaForCausalLM

ABLATION = "ablation.json"  # beside the base that it was run on
INSTRUCTION = "Summarise the visit as a SOAP note."
SHOWN = {"rouge1": "ROUGE-1", "facts_f1": "fact F1"}
WARM_UP_SHARE = 0.05
ALPHA_PER_RANK = 4  # as in the profile `tiny`
LONGEST_NOTE = 320  # tokens


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: what is changed of the default, in words, and the settings that follow.

    `full` trains every weight of the exact base instead of an adapter on the rounded one.
    """

    change: str
    n_train: int = 720
    exchanged_share: float = 0.3
    n_epochs: float = 1.0
    batch_size: int = 2
    rank: int = 16
    learning_rate: float = 2.0e-3
    full: bool = False


TRIALS = (
    Trial("none: the default"),
    Trial("half the data", n_train=360),
    Trial("twice the data", n_train=1440),
    Trial("twice the steps, by two passes over the data", n_epochs=2.0),
    Trial("twice the rank", rank=32),
    Trial("no exchanged names", exchanged_share=0.0),
    Trial("full fine-tuning", full=True, learning_rate=5.0e-4),
)


def run_trial(trial: Trial, base: str, *, n_test: int, seed: int, device: str) -> dict[str, Any]:
    """Trains and scores one trial on `n_test` encounters of each test split.

    Returns the trial's settings, `n_steps`, `loss` (nats per note token, mean of the last tenth of
    the steps), `seconds`, and `splits`: per split the ROUGEs and two fact scores, each with mean,
    low and high.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    began = time.monotonic()
    torch.manual_seed(seed)
    renderer = Renderer(AutoTokenizer.from_pretrained(base), INSTRUCTION)
    plain = list(generate(trial.n_train, seed=seed, split="train"))
    encounters = with_exchanged_names(plain, trial.exchanged_share, seed=seed)
    train = [renderer.example(encounter) for encounter in encounters]
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
    model = _trainable(model, trial)
    losses = _train(model, train, trial, seed)
    if not trial.full:
        model = model.merge_and_unload()
    splits = {}
    for split in ("test", "test_unseen"):
        encounters = list(generate(n_test, seed=seed, split=split))
        splits[split] = {"n": n_test, **_scores(model, renderer, encounters)}
    return {
        **asdict(trial),
        "n_steps": len(losses),
        "loss": sum(losses[-max(1, len(losses) // 10) :]) / max(1, len(losses) // 10),
        "seconds": round(time.monotonic() - began, 1),
        "splits": splits,
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
    """AdamW with a short warm-up and linear decay, one loss a step."""
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
    """`n_steps` batches in random order; each example once before any comes again."""
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
        own = torch.tensor(example.input_ids)
        ids[row, : len(own)] = own
        start = example.n_prompt_tokens
        labels[row, start : len(own)] = own[start:]
    return ids, labels


def _scores(
    model: LlamaForCausalLM, renderer: Renderer, encounters: Sequence[Encounter]
) -> dict[str, dict[str, float | None]]:
    from medisum_utils.generation import generate_notes

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
        **{name: interval(rouge[name]) for name in ROUGE_NAMES},
        "facts_f1": interval([score.f1 for score in facts]),
        "facts_hallucination": interval([score.hallucination for score in facts]),
    }


def ablation_table(group: Mapping[str, Any]) -> pandas.DataFrame:
    """One row a trial of a group: settings, ROUGE-1 and fact F1 of each split, with intervals."""
    import pandas as pd

    from medisum_utils.evaluation_tables import with_interval

    rows = {}
    for trial in group["trials"]:
        row = {"examples": trial["n_train"], "steps": trial["n_steps"]}
        row["rank"] = "all weights" if trial["full"] else trial["rank"]
        for split, scores in trial["splits"].items():
            for measure, name in SHOWN.items():
                row[f"{name}, {split} (n = {scores['n']})"] = with_interval(scores[measure])
        rows[trial["change"]] = row
    return pd.DataFrame(rows).T.rename_axis("what was changed").fillna("-")


def write_ablation(
    path: Path, base: str, trials: Sequence[Trial], *, n_test: int, seed: int, device: str
) -> Path:
    """Runs the trials one by one and rewrites `path` after each, so that a kill loses only one."""
    from medisum_utils import machine
    from medisum_utils.runs import shown_path, write_json

    done: list[dict[str, Any]] = []
    for trial in trials:
        done.append(run_trial(trial, base, n_test=n_test, seed=seed, device=device))
        f1 = done[-1]["splits"]["test"]["facts_f1"]["mean"]
        print(f"{trial.change}: {done[-1]['n_steps']} steps, fact F1 {f1:.3f}", flush=True)
        group = {"title": shown_path(base), "machine": machine.device_name(), "seed": seed}
        write_json(path, {"groups": [{**group, "trials": done}]})
    return path
