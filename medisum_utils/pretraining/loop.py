"""The pretraining loop: a sequence of gated stages that can be resumed.

Run with `python -m medisum_utils pretrain --recipe NAME --out DIR [--prepared]`; the same command
resumes a killed run from its last checkpoint. The training data depend on step numbers only, so a
resumed run reads exactly what an uninterrupted one reads; on a CPU with the same number of threads,
its losses and weights are equal too.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from medisum_utils.pretraining import probes, record
from medisum_utils.pretraining.architecture import build_model, build_optimizers, load_start
from medisum_utils.pretraining.documents import FULL, Block, Documents
from medisum_utils.pretraining.nf4 import rounded
from medisum_utils.pretraining.prepare import Prepared
from medisum_utils.pretraining.recipe import (
    Progress,
    Recipe,
    Stage,
    learning_rate,
    probe_due,
)
from medisum_utils.pretraining.tokens import CONTROL_TOKENS

CHECKPOINT_EVERY_S = 120.0
COMPILE_FROM_TOKENS = 1024  # row length


class Pretraining:
    """One run in one folder: `state.pt` (to resume), the log (one line per probe), `model`.

    `start` is the folder of a finished model to continue from, None for random weights.

    Raises: ValueError for a folder with a run of another recipe or on other texts, or a start with
    another shape or vocabulary.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        out: Path,
        *,
        name: str,
        n_workers: int = 0,
        compile: bool = True,
        start: Path | None = None,
    ) -> None:
        self.recipe, self.prepared, self.out, self.name = recipe, prepared, out, name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.n_workers, self.start, self.progress = n_workers, start, Progress()
        self.losses: list[torch.Tensor] = []  # since the last probe
        self.last_tick = time.monotonic()
        self.model = build_model(recipe) if start is None else load_start(start, recipe, prepared)
        self.model.to(self.device)
        # Compiling once per shape pays off only in the long stages.
        self.compiled_loss = torch.compile(weighted_loss, dynamic=False) if compile else None
        self.optimizers = build_optimizers(self.model, recipe)
        self.probe_blocks: dict[tuple[int, str], Block] = {}
        # A fixed random order, so that the few symbols of the first stages are of all kinds.
        order = torch.randperm(
            recipe.n_vocabulary - len(CONTROL_TOKENS),
            generator=torch.Generator().manual_seed(recipe.seed),
        )
        self.symbols = (order + len(CONTROL_TOKENS)).to(self.device)
        self.texts_sha256 = record.texts_sha256(prepared.texts)
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").exists():
            self._resume()

    def train(self) -> None:
        """Runs the remaining stages, then saves the model in bf16.

        Raises: RuntimeError for a non-finite loss or a gate that was not reached.
        """
        self.last_tick = time.monotonic()
        for stage in self.recipe.stages[self.progress.stage :]:
            if not self._run_stage(stage):
                raise RuntimeError(
                    f"stage {stage.name}: expected {stage.gate} of at least {stage.threshold} "
                    f"after {stage.n_tokens:,.0f} tokens; see {self.out / record.LOG}"
                )
            self.progress.stage += 1
            self.progress.stage_tokens = 0
            self._checkpoint()
        self.save()

    def save(self) -> None:
        """Writes `out`/model: bf16 weights, configuration, tokenizer, log and record of the run."""
        folder = self.out / "model"
        model = LlamaForCausalLM(self.model.config).to(torch.bfloat16)
        with rounded(self.model, enabled=any(stage.nf4 for stage in self.recipe.stages)):
            model.load_state_dict(self.model.state_dict())
        model.save_pretrained(folder)
        self.prepared.tokenizer.save_pretrained(folder)
        shutil.copyfile(self.out / record.LOG, folder / record.LOG)
        run = {
            "recipe": self.name,
            "machine": record.training_machine(),
            "corpus": self.prepared.corpus,
            "n_loader_workers": self.n_workers,
            "compiled": self.compiled_loss is not None,
        }
        record.write_record(folder, self.recipe, run)
        if self.start is not None:
            record.join_records(folder, self.start)
        for path in folder.iterdir():
            path.chmod(0o644)

    def _batches(self, stage: Stage) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        n_copy = stage.n_copy_rows
        blocks = iter(self._loader(stage)) if stage.mixture else None
        generator = torch.Generator(self.device)
        while True:
            generator.manual_seed(self.recipe.seed * 1_000_003 + self.progress.step)
            parts = []
            if n_copy:
                ids, mask = probes.copy_batch(
                    n_copy, stage.length, stage.n_symbols, self.symbols, generator
                )
                pad = (0, stage.length - ids.shape[1])
                ids, mask = (torch.nn.functional.pad(tensor, pad) for tensor in (ids, mask))
                parts.append((ids, mask.float()))
            if blocks:
                block = next(blocks)
                ids = torch.as_tensor(block.ids).to(self.device, non_blocking=True).long()
                weights = torch.as_tensor(block.weights).to(self.device, non_blocking=True)
                parts.append((ids, weights.float() / FULL))
            yield tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def _documents(self, stage: Stage) -> Documents:
        prepared = self.prepared
        return Documents(prepared.tokenizer, prepared.texts, stage, seed=self.recipe.seed)

    def _loader(self, stage: Stage) -> torch.utils.data.DataLoader:
        start = self.progress.block
        return torch.utils.data.DataLoader(
            self._documents(stage),
            batch_size=None,
            sampler=range(start, start + 2**24),
            num_workers=self.n_workers,
            prefetch_factor=4 if self.n_workers else None,
        )

    def _run_stage(self, stage: Stage) -> bool:
        """Trains one stage to its end; True if its gate was reached or it has none."""
        progress = self.progress
        checkpointed = time.monotonic()
        for ids, weights in self._batches(stage):
            self.losses.append(self._step(ids, weights, nf4=stage.nf4))
            progress.add(ids.numel())
            done = progress.stage_tokens >= stage.n_tokens
            if done or probe_due(stage, progress.stage_tokens, ids.numel()):
                passed = self._probe(stage)
                # A pure copy stage ends once it is learned; other stages use all their tokens.
                if done or (passed and stage.copy_share == 1.0):
                    return passed
            if time.monotonic() - checkpointed > CHECKPOINT_EVERY_S:
                self._checkpoint()
                checkpointed = time.monotonic()
        raise AssertionError("batches never end")

    def _tick(self) -> None:
        """Adds the time since the last call to the run's seconds."""
        now = time.monotonic()
        self.progress.seconds, self.last_tick = self.progress.seconds + now - self.last_tick, now

    def _step(self, ids: torch.Tensor, weights: torch.Tensor, *, nf4: bool) -> torch.Tensor:
        share = learning_rate(self.recipe, self.progress) / self.recipe.learning_rate
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = share * group["initial_lr"]
        self.model.zero_grad(set_to_none=True)
        compiled = self.compiled_loss if ids.shape[1] >= COMPILE_FROM_TOKENS else None
        with rounded(self.model, enabled=nf4):
            with self._autocast():
                loss = (compiled or weighted_loss)(self.model, ids, weights)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def _autocast(self) -> torch.autocast | nullcontext:
        capability = torch.backends.cpu.get_cpu_capability()
        if self.device == "cpu" and not capability.startswith("AVX512"):
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def _probe(self, stage: Stage) -> bool:
        """Measures and logs the scores; returns whether the stage's gate is reached."""
        loss = float(torch.stack(self.losses).mean())
        self.losses = []
        if not math.isfinite(loss):
            raise RuntimeError(f"stage {stage.name}: the loss is {loss} at {self.progress}")
        self.model.eval()
        scores = {}
        with self._autocast():
            if stage.copy_share:
                step = self.progress.step
                scores["copy"] = probes.exact_share(
                    *probes.copy_answers(
                        self.model, stage.length, stage.n_symbols, self.symbols, seed=step
                    )
                )
        with rounded(self.model, enabled=stage.nf4), self._autocast():
            for kind in stage.probes:
                block = self._probe_block(stage, kind)
                scores[kind] = probes.exact_share(
                    *probes.block_answers(self.model, block, self.device)
                )
        self.model.train()
        self._tick()
        line = {
            "stage": stage.name,
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": round(self.progress.seconds, 1),
            "learning_rate": learning_rate(self.recipe, self.progress),
            "loss": loss,
            **{f"{name}_exact": score for name, score in scores.items()},
        }
        with (self.out / record.LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        return not stage.gate or scores[stage.gate] >= stage.threshold

    def _probe_block(self, stage: Stage, kind: str) -> Block:
        """The same block each time, so that scores change only with the model."""
        key = (stage.length, kind)
        if key not in self.probe_blocks:
            shape = {"n_rows": max(8, 16_384 // stage.length), "copy_share": 0.0, "gate": ""}
            documents = self._documents(replace(stage, mixture={kind: 1.0}, **shape))
            self.probe_blocks[key] = documents.block(probes.FIRST_PROBE_BLOCK)
        return self.probe_blocks[key]

    def _checkpoint(self) -> None:
        self._tick()
        state = {
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
            "texts_sha256": self.texts_sha256,
            "losses": [float(loss) for loss in self.losses],
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.out / "state.pt.partial"
        torch.save(state, partial)
        os.replace(partial, self.out / "state.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{self.out} holds a run of another recipe; choose another folder")
        if state["texts_sha256"] != self.texts_sha256:
            raise ValueError(f"{self.out} holds a run on other texts; choose another folder")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.losses = list(torch.tensor(state["losses"], device=self.device))
        self.progress = Progress(**state["progress"])
        record.trim_log(self.out / record.LOG, self.progress.step)


def weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted mean negative log-likelihood of the next tokens; `ids`, `weights`: (rows, length).

    Under autocast the residual stream, normally fp32, uses the autocast type: half the memory.
    """
    embedded = model.get_input_embeddings()(ids)
    if torch.is_autocast_enabled(ids.device.type):
        embedded = embedded.to(torch.get_autocast_dtype(ids.device.type))
    logits = model(inputs_embeds=embedded).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
    )
    next_weights = weights[:, 1:].flatten()
    return (nll * next_weights).sum() / next_weights.sum().clamp(min=1.0)
