"""Runs the trials on a real corpus, several at a time on one GPU, and records their scores.

    python -m medisum_utils ablate --corpus mts-dialog --base models/smollm2-135m --out FILE

Models that learn from equally many examples train as one `Stack`, and models that write notes in
the same parts write them as one; that is several times faster than one after the other. The recipe
is that of the profiles `mts` and `aci`, with these differences: on a GPU all arithmetic but the
optimiser's is bfloat16, the models of a stack take their batches in the same order of lengths, and
notes are written greedily.

What was learnt is kept in a folder for work, so that a kill loses the stack that was running.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import reserved_tokens
from medisum_utils.notes.scored_texts import scored_notes, scored_references
from medisum_utils.pretraining.ablation_record import SPLIT, group_of, is_default, write_groups
from medisum_utils.pretraining.corpus_trials import (
    EXACT,
    CorpusTrial,
    read_corpus,
    renderer_of,
    training_examples,
)
from medisum_utils.pretraining.stack_training import Learner, train_stack
from medisum_utils.pretraining.stack_writing import write_notes
from medisum_utils.pretraining.stacked import Member, Stack
from medisum_utils.runs.machine import device_name, versions
from medisum_utils.scoring.rouge import ROUGE_NAMES, rouge_scores

MOST_TRAINED = {False: 12, True: 6}  # models in a stack: with an adapter each, with all weights
MOST_WRITING = {False: 21, True: 6}
WRITTEN_TOKENS = 1_500_000  # in the caches of the rows that write at once; SmolLM2: 23 KB a token
# cuDNN's attention, torch's first choice on an H100, plans anew for each new length of a batch.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
DECIMALS = 4  # of the recorded scores of each note


class Run(NamedTuple):
    """One trial with one seed."""

    trial: CorpusTrial
    seed: int

    @property
    def full(self) -> bool:
        """Whether all weights are trained."""
        return self.trial.rank == 0

    @property
    def start(self) -> Run | None:
        """The run from whose weights this one starts, None for the base's own."""
        beginning = self.trial.beginning
        return beginning and Run(beginning, self.seed)


class Workplace(NamedTuple):
    """Where runs happen: the base's folder and digest, the device, the folder for work."""

    base: str
    base_sha256: str
    device: str
    folder: Path

    def kept(self, run: Run) -> Path:
        """The file of what a run has learnt."""
        beginning = run.trial.beginning
        decides = {
            "trial": run.trial.settings,
            "beginning": beginning and beginning.settings,
            "base_sha256": self.base_sha256,
        }
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:16]}-{run.seed}.pt"

    def stack(self, runs: Sequence[Run]) -> Stack:
        """The models of some runs, with their first weights."""
        members = [Member(r.trial.base != EXACT, r.trial.rank, r.seed) for r in runs]
        return Stack(self.base, members, self.device)


def write_corpus_ablation(
    path: Path,
    base: str,
    trials: Sequence[CorpusTrial],
    *,
    seeds: Sequence[int],
    device: str,
    folder: Path,
) -> None:
    """Runs the trials, all on one corpus, with each seed and adds them to `path` as they end.

    Runs that are already in the file are not repeated; what a run has learnt stays in `folder`.

    Raises: ValueError for trials on several corpora, or a file with another base or corpus.
    """
    corpora = sorted({trial.corpus for trial in trials})
    if len(corpora) != 1:
        raise ValueError(f"expected trials on one corpus, got {corpora}")
    validation = {"split": SPLIT, "corpus": corpora[0], "n": len(read_corpus(corpora[0])[1])}
    group = group_of(path, base, validation)
    place = Workplace(base, group["base_sha256"], device, folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_entry(group, trial) for trial in trials]
    missing = [
        Run(trial, seed)
        for trial, entry in zip(trials, entries, strict=True)
        for seed in seeds
        if seed not in [run["seed"] for run in entry["runs"]]
    ]
    with sdpa_kernel(ATTENTION):
        for runs in _groups(missing, lambda run: (run.trial.parts, run.full)):
            train_missing(runs, place)
            for some in _portions(runs, MOST_WRITING):
                results = _as_one(scored, some, place)
                for run, result in zip(some, results, strict=True):
                    entry = entries[trials.index(run.trial)]
                    if not entry["runs"]:
                        group["trials"].append(entry)
                    entry["runs"].append(result)
                group["trials"].sort(key=lambda entry: not is_default(entry))
                write_groups(path, [group])


def _entry(group: dict[str, Any], trial: CorpusTrial) -> dict[str, Any]:
    """The trial's entry in a group, a new one where there is none with the same settings."""
    settings = {"change": trial.change, **trial.settings}
    for entry in group["trials"]:
        if all(entry.get(name) == value for name, value in settings.items()):
            return entry
    return {**settings, "runs": []}


def train_missing(runs: Iterable[Run], place: Workplace) -> None:
    """Trains those of the runs of which nothing is kept yet, and first those that they start from.

    Stacks are made of runs whose batches have the same shapes.
    """
    missing = [run for run in runs if not place.kept(run).exists()]
    starts = {place.kept(run.start): run.start for run in missing if run.start is not None}
    if starts:
        train_missing(starts.values(), place)

    def shapes(run: Run) -> Hashable:
        t = run.trial
        data = (t.corpus, t.parts, t.share, t.auxiliary)
        return (*data, t.n_passes, t.batch_tokens, run.full)

    for alike in _groups(missing, shapes):
        for some in _portions(alike, MOST_TRAINED):
            _as_one(_train, some, place)


def _as_one(
    do: Callable[[Sequence[Run], Workplace], list[Any]], runs: Sequence[Run], place: Workplace
) -> list[Any]:
    """What `do` gives for the runs as one stack, or as two halves where the GPU is too small."""
    try:
        return do(runs, place)
    except torch.OutOfMemoryError:
        if len(runs) == 1:
            raise
    # Outside of the handler, which would hold on to the tensors of the failed attempt.
    torch.cuda.empty_cache()
    _tell("do not fit into the memory at once, so in two halves", runs)
    half = len(runs) // 2
    return [*_as_one(do, runs[:half], place), *_as_one(do, runs[half:], place)]


def _train(runs: Sequence[Run], place: Workplace) -> list[None]:
    """Trains runs as one stack and keeps what they learnt."""
    started, trial = time.monotonic(), runs[0].trial
    learners = [
        Learner(training_examples(t, place.base, seed), t.learning_rate, seed) for t, seed in runs
    ]
    stack = place.stack(runs)
    for number, run in enumerate(runs):
        if run.start is not None:
            stack.start_from(number, _learnt(place.kept(run.start))["weights"])
    losses = train_stack(stack, learners, n_passes=trial.n_passes, batch_tokens=trial.batch_tokens)
    n_steps = len(losses)
    seconds = time.monotonic() - started
    for number, (run, weights) in enumerate(zip(runs, stack.states(), strict=True)):
        last = [step[number] for step in losses[-max(1, n_steps // 10) :]]
        figures = {
            "n_examples": len(learners[number].examples),
            "n_steps": n_steps,
            "loss": fmean(last),
            "seconds_training": round(seconds / len(runs), 1),  # its share of the stack's
        }
        part = place.kept(run).with_suffix(".part")
        torch.save({"weights": weights, "figures": figures}, part)
        part.replace(place.kept(run))
    _tell(f"trained in {seconds:.0f} s, {n_steps} steps", runs)
    return [None] * len(runs)


def scored(runs: Sequence[Run], place: Workplace) -> list[dict[str, Any]]:
    """Lets trained runs write the validation notes as one stack; returns the record of each.

    It has the run's seed, its figures of training, machine and versions, `n_unfinished` notes, and
    ROUGE without stemming, in 0 to 1: the means, and the scores of each note.
    """
    started, trial = time.monotonic(), runs[0].trial
    kept = [_learnt(place.kept(run)) for run in runs]
    stack = place.stack(runs)
    for number, learnt in enumerate(kept):
        stack.start_from(number, learnt["weights"])
    stack.finish()
    valid = read_corpus(trial.corpus)[1]
    renderer, decoding = renderer_of(place.base, trial.parts), Decoding(trial.longest_answer)
    reserved = reserved_tokens(renderer, decoding)
    room = stack.model.config.max_position_embeddings - reserved
    longest = max(len(renderer.prompt_ids(encounter.dialogue_text)) for encounter in valid)
    n_batches = math.ceil(len(valid) * len(runs) * (longest + reserved) / WRITTEN_TOKENS)
    written = write_notes(
        stack,
        renderer,
        [renderer.fit(encounter.dialogue_text, room)[0] for encounter in valid],
        max_new_tokens=decoding.max_new_tokens,
        n_at_once=math.ceil(len(valid) / n_batches),
    )
    seconds = time.monotonic() - started
    _tell(f"wrote notes in {seconds:.0f} s", runs)
    references, results = scored_references(valid), []
    for run, learnt, own in zip(runs, kept, written, strict=True):
        rouge = rouge_scores(references, scored_notes(valid, [note.text for note in own]))
        results.append(
            {
                "seed": run.seed,
                **learnt["figures"],
                "seconds_writing": round(seconds / len(runs), 1),
                "machine": device_name(),
                "versions": versions(),
                "n_unfinished": sum(not note.finished for note in own),
                "scores": {name: fmean(rouge[name]) for name in ROUGE_NAMES},
                "per_note": {
                    name: [round(score, DECIMALS) for score in rouge[name]] for name in ROUGE_NAMES
                },
            }
        )
    return results


def _learnt(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def _groups(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """The runs by key, in the order of first appearance."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _portions(runs: Sequence[Run], most: dict[bool, int]) -> list[Sequence[Run]]:
    """The runs, all with adapters or all without, in few portions of about the same size."""
    if not runs:
        return []
    n_portions = math.ceil(len(runs) / most[runs[0].full])
    size = math.ceil(len(runs) / n_portions)
    return [runs[at : at + size] for at in range(0, len(runs), size)]


def _tell(what: str, runs: Sequence[Run]) -> None:
    names = dict.fromkeys(run.trial.change or f"start on {run.trial.corpus}" for run in runs)
    print(f"{len(runs)} runs {what}: {'; '.join(names)}", flush=True)
