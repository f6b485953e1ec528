"""The training schedule: how many steps, when to validate, how long the learning rate rises."""

from __future__ import annotations

from dataclasses import dataclass

WARMUP_SHARE = 0.05  # of the steps
N_LOGGED = 50  # entries in the log of a run, about


@dataclass(frozen=True, slots=True)
class Schedule:
    """The optimiser's steps; the last one is validated."""

    n_steps: int
    validate_every: int
    n_warmup: int
    log_every: int


def plan_schedule(
    n_batches: int, *, n_epochs: float, n_accumulation: int, n_validations: int
) -> Schedule:
    """Divides `n_epochs` passes over the batches into `n_validations` stretches of equal length.

    A step takes `n_accumulation` batches, the last one of a pass what is left. Every stretch has at
    least one step, and the number of steps is rounded to fit.

    Raises: ValueError for a count below 1 or no pass at all.
    """
    counts = {
        "n_batches": n_batches,
        "n_accumulation": n_accumulation,
        "n_validations": n_validations,
    }
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"expected {name} of at least 1, got {count}")
    if not n_epochs > 0:
        raise ValueError(f"expected n_epochs above 0, got {n_epochs}")
    steps_per_pass = -(-n_batches // n_accumulation)
    validate_every = max(1, round(n_epochs * steps_per_pass / n_validations))
    n_steps = validate_every * n_validations
    return Schedule(
        n_steps=n_steps,
        validate_every=validate_every,
        n_warmup=max(1, round(WARMUP_SHARE * n_steps)),
        log_every=max(1, n_steps // N_LOGGED),
    )
