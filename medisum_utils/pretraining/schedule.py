"""The progress of a run, and its learning rate and probe times, which depend on it alone."""

from __future__ import annotations

from dataclasses import dataclass

from medisum_utils.pretraining.recipe import Recipe, Stage


@dataclass(slots=True)
class Progress:
    """The progress of a run; saved with each checkpoint. `block` is the next block of documents."""

    stage: int = 0
    block: int = 0
    step: int = 0
    tokens: int = 0
    stage_tokens: int = 0
    seconds: float = 0.0

    def add(self, n_tokens: int) -> None:
        """Counts a step of `n_tokens` and its block."""
        self.step, self.block = self.step + 1, self.block + 1
        self.tokens, self.stage_tokens = self.tokens + n_tokens, self.stage_tokens + n_tokens


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Warm-up by steps, then constant, then linear decay over the remaining planned tokens.

    With a `decay_share` of 0 it stays constant, for a run that another run continues.
    """
    warm = min(1.0, (progress.step + 1) / recipe.warmup_steps)
    if not recipe.decay_share:
        return recipe.learning_rate * warm
    to_come = sum(s.n_tokens for s in recipe.stages[progress.stage :]) - progress.stage_tokens
    decay = min(1.0, max(0.0, to_come) / (recipe.decay_share * recipe.n_tokens))
    return recipe.learning_rate * warm * decay


def probe_due(stage: Stage, stage_tokens: int, n_tokens: int) -> bool:
    """Whether the step of `n_tokens` that led to `stage_tokens` passed a probe time.

    Probes are timed by tokens, never by the clock: a probe may end a stage, and a run must not
    depend on the speed of its machine.
    """
    every = stage.n_tokens / stage.n_probes
    return stage_tokens // every > (stage_tokens - n_tokens) // every
