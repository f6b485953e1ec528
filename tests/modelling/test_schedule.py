"""The schedule: equal stretches, at least one step each, and counts that make no schedule."""

from __future__ import annotations

import math

import pytest

from medisum_utils.modelling.schedule import plan_schedule


def test_the_default_profile_takes_one_step_an_example() -> None:
    schedule = plan_schedule(540, n_epochs=1.0, n_accumulation=1, n_validations=2)
    assert (schedule.n_steps, schedule.validate_every) == (540, 270)
    assert (schedule.n_warmup, schedule.log_every) == (27, 10)


@pytest.mark.parametrize(
    ("n_batches", "n_epochs", "n_accumulation", "n_validations"),
    [(1201, 3.0, 16, 5), (12, 0.2, 2, 1), (3, 1.0, 8, 4), (7, 2.5, 3, 2)],
)
def test_every_stretch_is_equally_long_and_ends_in_a_validation(
    n_batches: int, n_epochs: float, n_accumulation: int, n_validations: int
) -> None:
    schedule = plan_schedule(
        n_batches,
        n_epochs=n_epochs,
        n_accumulation=n_accumulation,
        n_validations=n_validations,
    )
    assert schedule.n_steps == schedule.validate_every * n_validations
    asked = n_epochs * math.ceil(n_batches / n_accumulation)
    assert schedule.n_steps == n_validations or abs(schedule.n_steps - asked) <= n_validations / 2
    assert min(schedule.validate_every, schedule.n_warmup, schedule.log_every) >= 1
    assert schedule.n_warmup <= schedule.n_steps


@pytest.mark.parametrize("name", ["n_accumulation", "n_validations", "n_epochs"])
def test_a_count_of_nothing_is_refused(name: str) -> None:
    counts = {"n_epochs": 1.0, "n_accumulation": 1, "n_validations": 1, name: 0}
    with pytest.raises(ValueError, match=f"expected {name} .*, got 0"):
        plan_schedule(8, **counts)
    with pytest.raises(ValueError, match="expected n_batches of at least 1, got 0"):
        plan_schedule(0, n_epochs=1.0, n_accumulation=1, n_validations=1)
