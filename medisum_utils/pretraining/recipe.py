"""The recipe: model shape and curriculum, as data that is saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

RECIPES = Path(__file__).parent / "recipes.yaml"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    `length` and `n_rows` shape a batch (tokens, rows); `copy_share` of the rows are copy tasks
    over `n_symbols` symbols, the rest is the `mixture` of document kinds. A stage ends after
    `n_tokens`, or sooner once `gate` (a probe's name) reaches `threshold`; a gate that is not
    reached by then stops the run. `nf4` trains on rounded weights, see `nf4`.
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes a base model, but for the texts."""

    seed: int
    n_vocabulary: int
    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    intermediate_size: int
    learning_rate: float
    warmup_steps: int
    decay_share: float
    weight_decay: float
    stages: tuple[Stage, ...]

    @property
    def n_tokens(self) -> float:
        """Tokens of all stages where no gate ends one sooner."""
        return sum(stage.n_tokens for stage in self.stages)


def load_recipe(name: str) -> Recipe:
    """Reads one recipe of recipes.yaml.

    Raises: KeyError that lists the names for an unknown one; TypeError for a wrong field.
    """
    recipes = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))
    if name not in recipes:
        raise KeyError(f"expected a recipe of {sorted(recipes)}, got {name!r}")
    record = recipes[name]
    stages = tuple(Stage(**stage) for stage in record.pop("stages"))
    return Recipe(stages=stages, **record)
