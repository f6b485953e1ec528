"""The recipe: model shape and curriculum, as data that is saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

RECIPES = Path(__file__).parent / "recipes.yaml"
TASKS = ("questions", "form", "sheet", "visit")  # about a dialogue; a visit has all the others
SOURCES = ("casebook", "blended", "invented")  # of the names in a dialogue, see `invented`
# The kinds of documents that a mixture may have, see `documents`.
KINDS = (
    *("register", "text", "cloze", "restore"),
    *(f"{source}_{task}" for source in SOURCES for task in TASKS),
)
# What a probe can ask of a model, beside copying.
PROBED = (
    "register",
    "restore",
    *(f"{source}_{task}" for source in SOURCES for task in ("questions", "form", "sheet")),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    `length` and `n_rows` shape a batch (tokens, rows); `copy_share` of the rows are copy tasks
    over `n_symbols` symbols, the rest is the `mixture` of document kinds. A stage ends after
    `n_tokens`, or, if it is all copying, as soon as `gate` (a probe's name) reaches `threshold`;
    a gate that is not reached by then stops the run. `probes` of `PROBED` are asked `n_probes`
    times beside copying. `nf4` trains on rounded weights, see `nf4`; `p_reworded` and `p_frame` are
    those of `Documents`.

    Raises: ValueError for a mixture, a gate or a share that cannot be.
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
        for given, known in ((self.mixture, KINDS), (self.probes, PROBED)):
            unknown = set(given) - set(known)
            if unknown:
                raise ValueError(f"{self.name}: expected kinds of {known}, got {sorted(unknown)}")
        gates = [*self.probes, *(["copy"] if self.n_copy_rows else [])]
        if self.gate and self.gate not in gates:
            raise ValueError(f"{self.name}: expected a gate of {gates}, got {self.gate!r}")
        if not 0 <= self.copy_share <= 1 or bool(self.mixture) == (self.copy_share == 1):
            raise ValueError(
                f"{self.name}: expected a mixture beside a copy share below 1, or none beside 1, "
                f"got {self.copy_share} and {sorted(self.mixture)}"
            )

    @property
    def n_copy_rows(self) -> int:
        """The rows of a batch that are copy tasks."""
        return round(self.copy_share * self.n_rows)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes a base model, but for the texts.

    `learning_rate` is that of the matrices in the blocks, `outer_learning_rate` of the rest; both
    warm up and decay together, see `schedule`.
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
        """Tokens of all stages where no gate ends one sooner."""
        return sum(stage.n_tokens for stage in self.stages)


def load_recipe(name: str, path: Path = RECIPES) -> Recipe:
    """Reads one recipe of recipes.yaml.

    Raises: ValueError that lists the names for an unknown one; TypeError for a field that is
        missing or unknown.
    """
    recipes = yaml.safe_load(path.read_text(encoding="utf-8"))
    if name not in recipes:
        raise ValueError(f"expected a recipe of {sorted(recipes)}, got {name!r}")
    record = dict(recipes[name])
    stages = tuple(Stage(**stage) for stage in record.pop("stages"))
    return Recipe(stages=stages, **record)
