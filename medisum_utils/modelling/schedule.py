"""The training schedule: how many steps, when to validate, how long the learning rate rises."""

from __future__ import annotations

from dataclasses import dataclass

WARMUP_SHARE = 0.05  # of the steps
N_LOGGED = 50  # entries in the log of a run, about


@dataclass(frozen=True, slots=True)
class Schedule:
    """The optimiser's steps, of `examples_per_step` examples each; the last one is validated."""

    n_steps: int
    validate_every: int
    n_warmup: int
    log_every: int
    examples_per_step: int


def plan_schedule(
    n_examples: int, *, n_epochs: float, examples_per_step: int, n_validations: int
) -> Schedule:
    """Divides `n_epochs` passes over the examples into `n_validations` stretches of equal length.

    Every stretch has at least one step, and the number of steps is rounded to fit.

    Raises: ValueError for a count below 1 or no pass at all.
    """
    counts = {
        "n_examples": n_examples,
        "examples_per_step": examples_per_step,
        "n_validations": n_validations,
    }
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"expected {name} of at least 1, got {count}")
    if not n_epochs > 0:
        raise ValueError(f"expected n_epochs above 0, got {n_epochs}")
    validate_every = max(1, round(n_epochs * n_examples / examples_per_step / n_validations))
    n_steps = validate_every * n_validations
    return Schedule(
        n_steps=n_steps,
        validate_every=validate_every,
        n_warmup=max(1, round(WARMUP_SHARE * n_steps)),
        log_every=max(1, n_steps // N_LOGGED),
        examples_per_step=examples_per_step,
    )
