"""The pretraining loop: stage after stage, gated, resumable.

Run with `python -m medisum_utils pretrain --recipe NAME --texts FILE --out DIR`; a run that was
killed goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from medisum_utils.pretraining import probes
from medisum_utils.pretraining.copying import copy_batch
from medisum_utils.pretraining.documents import FULL, Block, Documents
from medisum_utils.pretraining.nf4 import rounded
from medisum_utils.pretraining.recipe import Recipe, Stage
from medisum_utils.pretraining.tokens import CONTROL_TOKENS

PROBE_EVERY_S = 20.0
CHECKPOINT_EVERY_S = 120.0
COMPILE_FROM_TOKENS = 1024  # row length


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    """A random Llama of the recipe's shape: grouped-query attention, rope theta 500,000."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.n_vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_kv_heads,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=CONTROL_TOKENS.index("<|begin_of_text|>"),
        eos_token_id=CONTROL_TOKENS.index("<|end_of_text|>"),
        pad_token_id=CONTROL_TOKENS.index("<|finetune_right_pad_id|>"),
    )
    return LlamaForCausalLM(config)


@dataclass(slots=True)
class Progress:
    """Where a run stands; saved with each checkpoint."""

    stage: int = 0
    block: int = 0
    step: int = 0
    tokens: int = 0
    stage_tokens: int = 0
    seconds: float = 0.0


class Pretraining:
    """One run in one folder: `state.pt` (to resume), `log.jsonl` (one line a probe)."""

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerFast,
        texts: list[str],
        out: Path,
        *,
        n_workers: int = 0,
        compile: bool = True,
    ) -> None:
        self.recipe, self.tokenizer, self.texts, self.out = recipe, tokenizer, texts, out
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.n_workers, self.progress = n_workers, Progress()
        self.model = build_model(recipe).to(self.device)
        # One compilation per shape pays only for the long stages.
        self.compiled = torch.compile(self.model, dynamic=False) if compile else self.model
        self.optimizer = self._optimizer()
        self.probe_blocks: dict[tuple[int, str], Block] = {}
        # In a fixed random order, so that the few symbols of the first stages are of all kinds.
        order = torch.randperm(
            recipe.n_vocabulary - len(CONTROL_TOKENS),
            generator=torch.Generator().manual_seed(recipe.seed),
        )
        self.symbols = (order + len(CONTROL_TOKENS)).to(self.device)
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").exists():
            self._resume()

    def _optimizer(self) -> torch.optim.AdamW:
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=self.recipe.learning_rate, betas=(0.9, 0.95), fused=True
        )

    def learning_rate(self) -> float:
        """Warm-up by steps, then constant; linear decay over the planned tokens still to come."""
        recipe, progress = self.recipe, self.progress
        warm = min(1.0, (progress.step + 1) / recipe.warmup_steps)
        to_come = sum(s.n_tokens for s in recipe.stages[progress.stage :]) - progress.stage_tokens
        decay = min(1.0, max(0.0, to_come) / (recipe.decay_share * recipe.n_tokens))
        return recipe.learning_rate * warm * decay

    def train(self) -> None:
        """Runs every stage that is left, then saves the model in bf16.

        Raises: RuntimeError for a non-finite loss or a gate that was not reached.
        """
        while self.progress.stage < len(self.recipe.stages):
            stage = self.recipe.stages[self.progress.stage]
            passed = self._run_stage(stage)
            self.progress.stage += 1
            self.progress.stage_tokens = 0
            self._checkpoint()
            self._require(stage, passed)
        self.save()

    def save(self) -> None:
        """Writes weights in bf16 safetensors, configuration and tokenizer to `out`/model."""
        model = LlamaForCausalLM(self.model.config).to(torch.bfloat16)
        with rounded(self.model, enabled=any(stage.nf4 for stage in self.recipe.stages)):
            model.load_state_dict(self.model.state_dict())
        model.save_pretrained(self.out / "model")
        self.tokenizer.save_pretrained(self.out / "model")

    def _batches(self, stage: Stage):
        n_copy = round(stage.copy_share * stage.n_rows)
        documents = self._documents(stage, stage.n_rows - n_copy)
        blocks = iter(self._loader(documents)) if documents else None
        generator = torch.Generator(self.device)
        while True:
            generator.manual_seed(self.recipe.seed * 1_000_003 + self.progress.step)
            parts = []
            if n_copy:
                ids, mask = copy_batch(
                    n_copy, stage.length, stage.n_symbols, self.symbols, generator
                )
                pad = (0, stage.length - ids.shape[1])
                ids, mask = (torch.nn.functional.pad(x, pad) for x in (ids, mask))
                parts.append((ids, mask.float()))
            if blocks:
                block = next(blocks)
                ids = torch.as_tensor(block.ids).to(self.device, non_blocking=True).long()
                weights = torch.as_tensor(block.weights).to(self.device, non_blocking=True)
                parts.append((ids, weights.float() / FULL))
            yield tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _documents(self, stage: Stage, n_rows: int, mixture: dict | None = None):
        mixture = mixture or stage.mixture
        if not mixture or not n_rows:
            return None
        return Documents(
            self.tokenizer,
            self.texts,
            n_rows=n_rows,
            length=stage.length,
            mixture=mixture,
            seed=self.recipe.seed,
        )

    def _loader(self, documents: Documents):
        start = self.progress.block
        return torch.utils.data.DataLoader(
            documents,
            batch_size=None,
            sampler=range(start, start + 2**24),
            num_workers=self.n_workers,
            prefetch_factor=4 if self.n_workers else None,
        )

    def _run_stage(self, stage: Stage) -> bool:
        progress = self.progress
        since_probe = since_checkpoint = time.monotonic()
        losses: list[torch.Tensor] = []
        for ids, weights in self._batches(stage):
            losses.append(self._step(ids, weights, nf4=stage.nf4))
            n = ids.numel()
            progress.step, progress.block = progress.step + 1, progress.block + 1
            progress.tokens, progress.stage_tokens = progress.tokens + n, progress.stage_tokens + n
            done = progress.stage_tokens >= stage.n_tokens
            now = time.monotonic()
            if done or now - since_probe > min(PROBE_EVERY_S, 4 + progress.stage_tokens / 5e6):
                progress.seconds += now - since_probe
                since_probe = now
                passed = self._probe(stage, losses)
                losses = []
                # A pure copy stage is over once it is learnt; the others read all their tokens.
                if done or (passed and stage.copy_share == 1.0):
                    return passed
            if now - since_checkpoint > CHECKPOINT_EVERY_S:
                since_checkpoint = now
                self._checkpoint()

    def _require(self, stage: Stage, passed: bool) -> None:
        if stage.gate and not passed:
            raise RuntimeError(
                f"stage {stage.name}: expected {stage.gate} of at least {stage.threshold} after "
                f"{stage.n_tokens:,.0f} tokens; see {self.out / 'log.jsonl'}"
            )

    def _step(self, ids: torch.Tensor, weights: torch.Tensor, *, nf4: bool) -> torch.Tensor:
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with rounded(self.model, enabled=nf4):
            loss = self._loss(ids, weights)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def _loss(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood of the next tokens, each by its weight."""
        with self._autocast():
            run = self.compiled if ids.shape[1] >= COMPILE_FROM_TOKENS else self.model
            logits = run(input_ids=ids).logits
        nll = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
        )
        wanted = weights[:, 1:].flatten()
        return (nll * wanted).sum() / wanted.sum().clamp(min=1.0)

    def _autocast(self):
        if self.device == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith(
            "AVX512"
        ):
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def _probe(self, stage: Stage, losses: list[torch.Tensor]) -> bool:
        """Measures, logs, and says whether the stage's gate is reached."""
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise RuntimeError(f"stage {stage.name}: the loss is {loss} at {self.progress}")
        scores = {"copy": self._copy_score(stage)}
        self.model.eval()
        with rounded(self.model, enabled=stage.nf4), self._autocast():
            for kind in ("register", "invented", "reading"):
                if kind in stage.mixture:
                    probe = self._probe_block(stage, kind)
                    scores[kind] = probes.document_exact(self.model, probe, self.device)
        self.model.train()
        record = {
            "stage": stage.name,
            "step": self.progress.step,
            "tokens": self.progress.tokens,
            "seconds": round(self.progress.seconds, 1),
            "learning_rate": self.learning_rate(),
            "loss": loss,
            **{f"{name}_exact": score for name, score in scores.items() if score is not None},
        }
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)
        return not stage.gate or (scores[stage.gate] or 0.0) >= stage.threshold

    def _probe_block(self, stage: Stage, kind: str) -> Block:
        """The same block each time, for a curve that moves only with the model."""
        key = (stage.length, kind)
        if key not in self.probe_blocks:
            n_rows = max(8, 16_384 // stage.length)
            documents = self._documents(stage, n_rows, {kind: 1.0})
            self.probe_blocks[key] = documents.block(probes.FIRST_PROBE_BLOCK)
        return self.probe_blocks[key]

    def _copy_score(self, stage: Stage) -> float | None:
        if not stage.copy_share:
            return None
        with self._autocast():
            return probes.copy_exact(
                self.model, stage.length, stage.n_symbols, self.symbols, seed=self.progress.step
            )

    def _checkpoint(self) -> None:
        state = {
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.out / "state.pt.partial"
        torch.save(state, partial)
        os.replace(partial, self.out / "state.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{self.out} holds a run of another recipe; choose another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])


def machine() -> str:
    """The device that trains, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
