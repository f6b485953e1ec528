"""The recipe: model shape and curriculum, saved with the weights; and a run's place in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

RECIPES = Path(__file__).parent / "recipes.yaml"
TASKS = ("questions", "sheet", "visit")  # about a dialogue; a visit combines several
SOURCES = ("casebook", "blended", "invented")  # of the names in a dialogue, see `invented`
# The kinds of documents, see `documents`; a mixture and a probe may use any of them.
KINDS = (
    *("register", "text", "cloze", "restore"),
    *(f"{source}_{task}" for source in SOURCES for task in TASKS),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    `length` and `n_rows` are the shape of a batch (tokens, rows). `copy_share` of the rows are copy
    tasks over `n_symbols` symbols, the rest is the `mixture` of document kinds. A stage ends after
    `n_tokens`, or, if it is all copying, once `gate` (a probe's name) reaches `threshold`; a gate
    that is not reached by then stops the run. `probes` (kinds of documents) run `n_probes` times,
    in addition to copying. `nf4` trains on rounded weights, see `nf4`; `p_reworded` is the
    probability that a dialogue is reworded, `p_frame` that of `Rewording`.

    Raises: ValueError for an invalid mixture, gate or share.
    """

    name: str
    length: int
    n_rows: int
    n_tokens: float
    copy_share: float = 0.0
    n_symbols: int = 4096
    mixture: dict[str, float] = field(default_factory=dict)
    gate: str = ""
    threshold: float = 0.0
    nf4: bool = False
    p_reworded: float = 0.0
    p_frame: float = 0.0
    n_probes: int = 16
    probes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "probes", tuple(self.probes))
        unknown = {*self.mixture, *self.probes} - set(KINDS)
        if unknown:
            raise ValueError(f"{self.name}: expected kinds of {KINDS}, got {sorted(unknown)}")
        gates = [*self.probes, *(["copy"] if self.n_copy_rows else [])]
        if self.gate and self.gate not in gates:
            raise ValueError(f"{self.name}: expected a gate of {gates}, got {self.gate!r}")
        if not 0 <= self.copy_share <= 1 or bool(self.mixture) == (self.copy_share == 1):
            raise ValueError(
                f"{self.name}: expected a mixture with a copy share below 1, or none with 1, "
                f"got {self.copy_share} and {sorted(self.mixture)}"
            )

    @property
    def n_copy_rows(self) -> int:
        """The rows of a batch that are copy tasks."""
        return round(self.copy_share * self.n_rows)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All settings of a base model, except the texts.

    `learning_rate` is for the matrices of the blocks, `outer_learning_rate` for the rest; both warm
    up and decay together, see `learning_rate`.
    """

    seed: int
    n_vocabulary: int
    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    intermediate_size: int
    learning_rate: float
    outer_learning_rate: float
    warmup_steps: int
    decay_share: float
    weight_decay: float
    stages: tuple[Stage, ...]

    @property
    def n_tokens(self) -> float:
        """Tokens of all stages if no gate ends one early."""
        return sum(stage.n_tokens for stage in self.stages)


def load_recipe(name: str, path: Path = RECIPES) -> Recipe:
    """Reads one recipe from recipes.yaml.

    Raises: ValueError for an unknown name, listing the names; TypeError for a missing or unknown
    field.
    """
    recipes = yaml.safe_load(path.read_text(encoding="utf-8"))
    if name not in recipes:
        raise ValueError(f"expected a recipe of {sorted(recipes)}, got {name!r}")
    record = recipes[name]
    return Recipe(**record | {"stages": tuple(Stage(**stage) for stage in record["stages"])})


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
