"""The recipe: model shape and curriculum, saved with the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

RECIPES = Path(__file__).parent / "recipes.yaml"
TASKS = ("questions", "form", "sheet", "visit")  # about a dialogue; a visit combines the others
SOURCES = ("casebook", "blended", "invented")  # of the names in a dialogue, see `invented`
# The kinds of documents that a mixture may contain, see `documents`.
KINDS = (
    *("register", "text", "cloze", "restore"),
    *(f"{source}_{task}" for source in SOURCES for task in TASKS),
)
# The kinds of documents that a probe may use, besides copying.
PROBED = (
    "register",
    "restore",
    *(f"{source}_{task}" for source in SOURCES for task in ("questions", "form", "sheet")),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    `length` and `n_rows` are the shape of a batch (tokens, rows). `copy_share` of the rows are copy
    tasks over `n_symbols` symbols, the rest is the `mixture` of document kinds. A stage ends after
    `n_tokens`, or, if it is all copying, once `gate` (a probe's name) reaches `threshold`; a gate
    that is not reached by then stops the run. `probes` (from `PROBED`) run `n_probes` times, in
    addition to copying. `nf4` trains on rounded weights, see `nf4`; `p_reworded` and `p_frame` are
    those of `Documents`.

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
        for kinds, allowed in ((self.mixture, KINDS), (self.probes, PROBED)):
            unknown = set(kinds) - set(allowed)
            if unknown:
                raise ValueError(f"{self.name}: expected kinds of {allowed}, got {sorted(unknown)}")
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
    up and decay together, see `schedule`.
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
    record = dict(recipes[name])
    stages = tuple(Stage(**stage) for stage in record.pop("stages"))
    return Recipe(stages=stages, **record)
