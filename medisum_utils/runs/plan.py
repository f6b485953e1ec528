"""What is to run: the steps of a profile with their parameters, checked before work starts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medisum_utils.runs import machine, profiles
from medisum_utils.runs.hub import find_base
from medisum_utils.runs.paths import project_root

FORMAT = "02_format"  # the notebook whose parameters name the base model


@dataclass(frozen=True)
class Run:
    """What is about to run: a profile's name, its steps in order, and their parameters.

    `named`, `only` and `settings` are how it was asked for, to say how to go on with it; `notes`
    are sentences for whoever started it.
    """

    profile: str
    steps: tuple[str, ...]
    values: dict[str, dict[str, Any]]
    named: str
    only: bool = False
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def command(self, steps: Sequence[str], *, resume: bool = False) -> str:
        """The shell command for some of its last steps, the first of them resumed where asked."""
        words = ["python", "-m", "medisum_utils", "run", "--profile", self.named]
        if self.only:
            words += [word for step in steps for word in ("--only", step)]
        else:
            words += ["--from", steps[0]]
        settings = [each for each in self.settings if _step_of(each) in steps]
        if resume:
            settings.append(f"{steps[0]}.resume=true")  # the last of two settings counts
        return shlex.join([*words, *(word for each in settings for word in ("--set", each))])


def prepare_run(
    name: str,
    *,
    first: str | None = None,
    only: Iterable[str] = (),
    settings: Iterable[str] = (),
    bring_base: Callable[[str], None] = lambda base: None,
) -> Run:
    """Checks everything that can be checked before work starts.

    `first` starts at a notebook, `only` runs some, `settings` are `STEP.parameter=value`.
    `bring_base` gets the base model that the run will need, to make it if it is missing.

    Raises: ValueError or FileNotFoundError for a profile, parameter or type that the notebooks do
        not have, or a setting of a notebook that is not to run; see `check_needs` for a machine
        that is too small or a base model that is missing.
    """
    profile, path = profiles.find_profile(name)
    only, settings = tuple(only), tuple(settings)
    chosen = profiles.load_profile(path, settings)
    steps = tuple(profiles.select_steps(first, only, named=chosen))
    for setting in settings:
        if (step := _step_of(setting)) not in steps:
            raise ValueError(
                f"--set {setting}: expected a step that is to run ({', '.join(steps)}), "
                f"got {step}, where it would have no effect"
            )
    if FORMAT in profiles.notebook_names() and max(steps) >= FORMAT:  # later ones use its base
        asked = profiles.all_parameters(FORMAT, profile, chosen.get(FORMAT, {}))
        if base_model := asked.get("base_model"):
            bring_base(base_model)
    for step in steps:
        check_needs(profiles.all_parameters(step, profile, chosen.get(step, {})))
    values = {step: {profiles.SET_BY_RUNNER: profile, **chosen.get(step, {})} for step in steps}
    notes = tuple(profiles.changed_since(profile, chosen, steps))
    return Run(profile, steps, values, name, bool(only), settings, notes)


def _step_of(setting: str) -> str:
    """The notebook that a `STEP.parameter=value` is for."""
    return profiles.find_step(setting.partition(".")[0].strip())


def check_needs(parameters: Mapping[str, Any]) -> None:
    """Checks what a notebook's parameters say that it needs, so that no work is begun in vain.

    `needs_disk_gib`, `needs_memory_gib` and `needs_gpu_gib` are amounts (0: nothing), `device` may
    be "cuda", and `base_model` a folder or a hub name that must be there to be had.

    Raises: OSError for the disk, MemoryError for the memory, RuntimeError for the GPU; what
        `find_base` raises for the base model.
    """
    needs_gpu_gib = parameters.get("needs_gpu_gib", 0.0)
    if needs_disk_gib := parameters.get("needs_disk_gib"):
        machine.check_free_disk(project_root(), needs_disk_gib)
    if needs_memory_gib := parameters.get("needs_memory_gib"):
        machine.check_memory(needs_memory_gib)
    if needs_gpu_gib or parameters.get("device") == "cuda":
        machine.check_gpu(needs_gpu_gib)
    if base_model := parameters.get("base_model"):
        find_base(base_model)
