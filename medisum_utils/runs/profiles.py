"""Profiles: one YAML file holds what differs from the defaults of all notebooks' parameters.

Its top-level keys are the notebooks' names, its values those notebooks' parameters. Everything is
checked against the notebooks' own parameters cells before anything runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medisum_utils.runs.hub import MADE_BY_COMMAND
from medisum_utils.runs.notebook_parameters import Parameter, check_value, parameters_in_file
from medisum_utils.runs.paths import processed_dir, project_root, shown_path
from medisum_utils.runs.steps import read_manifest, recorded

OUTSIDE_RUN = ("00_tiny_base",)  # made once; a standard run starts after it
# models/<one of these> is a base, never a run's output.
RESERVED = ("medisum-tiny-base", *(Path(folder).name for folder in MADE_BY_COMMAND))
SET_BY_RUNNER = "profile"
OWN_PROFILE = "profile.yaml"  # in data/processed/<name>: of a user's own file, see `data.own_data`


def notebooks_dir() -> Path:
    """Where the notebooks and, below it, the profiles are."""
    return project_root() / "notebooks"


def notebook_names() -> list[str]:
    """All notebooks in order, `00_tiny_base` among them."""
    return sorted(path.stem for path in notebooks_dir().glob("[0-9][0-9]_*.py"))


def read_notebook(step: str) -> Any:
    """A notebook from its `.py` in the percent format, the form that is edited and reviewed."""
    import jupytext

    return jupytext.read(notebooks_dir() / f"{step}.py")


def read_parameters(step: str) -> dict[str, Parameter]:
    """The parameters of a notebook by name; see `parameters_in_file` for what it raises."""
    return parameters_in_file(notebooks_dir() / f"{step}.py")


def profile_names() -> list[str]:
    """The profiles that the project has."""
    return sorted(path.stem for path in (notebooks_dir() / "profiles").glob("*.yaml"))


def described(name: str) -> str:
    """What a profile is: the first sentence of the comment at the top of its file; else empty."""
    lines = _text_of_profile(name).splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("#").strip() for line in comment)
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", text, maxsplit=1)[0]


def _profile_file(name: str) -> Path:
    return notebooks_dir() / "profiles" / f"{name}.yaml"


def _text_of_profile(name: str) -> str:
    """The YAML of one of the project's profiles; empty for any other."""
    path = _profile_file(name)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses a key written twice, where plain YAML keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def find_profile(name: str) -> tuple[str, Path]:
    """The profile's name and file, from a name or from a path that ends in `.yaml`.

    Raises: ValueError for a name that cannot be one, FileNotFoundError for a missing file.
    """
    is_path = name.endswith((".yaml", ".yml"))
    stem = checked_name(Path(name).stem if is_path else name)
    path = Path(name) if is_path else _profile_file(name)
    if not path.is_file() and (own := processed_dir(stem) / OWN_PROFILE).is_file():
        path = own
    if not path.is_file():
        raise FileNotFoundError(
            f"no profile {shown_path(path)}; there are: {', '.join(profile_names()) or 'none'}"
        )
    return stem, path


def checked_name(name: str) -> str:
    """The name of a profile, which names its folders.

    Raises: ValueError for one that could lead out of the project, or is the shipped base's.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) or name in RESERVED:
        raise ValueError(
            f"profile {name!r}: expected lower-case letters, digits, dots, hyphens and "
            f"underscores, and not {' or '.join(RESERVED)}"
        )
    return name


def load_profile(path: Path, settings: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Each notebook's parameters from a profile, overridden by `STEP.parameter=value` settings.

    Raises: ValueError for a key, parameter or type that the notebooks do not have.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{shown_path(path)}: not valid YAML: {error}") from None
    if not isinstance(content, Mapping | None):
        raise ValueError(
            f"{shown_path(path)}: expected notebooks' names as keys, got {type(content).__name__}"
        )
    chosen = {}
    for notebook, values in (content or {}).items():
        if not isinstance(values, Mapping | None):
            raise ValueError(
                f"{shown_path(path)}: expected parameters below {notebook}, "
                f"got {type(values).__name__}"
            )
        chosen[str(notebook)] = dict(values or {})
    for setting in settings:
        step, parameter, value = _parse_setting(setting)
        chosen.setdefault(step, {})[parameter] = value
    for notebook, values in chosen.items():
        _check_against_notebook(notebook, values)
    return chosen


def _parse_setting(setting: str) -> tuple[str, str, Any]:
    name, equals, text = setting.partition("=")
    step, dot, parameter = name.strip().partition(".")
    if not (equals and dot and parameter):
        raise ValueError(f"--set {setting}: expected STEP.parameter=value")
    return find_step(step), parameter, yaml.safe_load(text)


def _check_against_notebook(notebook: str, values: Mapping[str, Any]) -> None:
    if notebook not in notebook_names():
        raise _no_notebook(notebook)
    parameters = read_parameters(notebook)
    for name, value in values.items():
        if name == SET_BY_RUNNER:
            raise ValueError(f"{notebook}.profile: is the profile's name and set by the runner")
        if name not in parameters:
            raise ValueError(
                f"{notebook} has no parameter {name!r}; it has: {', '.join(sorted(parameters))}"
            )
        check_value(notebook, parameters[name], value)


def find_step(text: str) -> str:
    """The notebook that `text` names, in full or by a beginning such as `03`.

    Raises: ValueError where no notebook or several begin so.
    """
    matches = [name for name in notebook_names() if name == text or name.startswith(f"{text}_")]
    if len(matches) != 1:
        raise _no_notebook(text)
    return matches[0]


def _no_notebook(name: str) -> ValueError:
    there_are = ", ".join(notebook_names()) or "none"
    return ValueError(f"no notebook {name!r}; there are: {there_are}")


def standard_steps(named: Iterable[str] = ()) -> list[str]:
    """The notebooks of a whole run, in order; `named` are those that its profile has keys for.

    A profile that names none but notebooks outside the standard run is a run of just those.
    """
    named = set(named)
    if named and named <= set(OUTSIDE_RUN):
        return sorted(named)
    return [name for name in notebook_names() if name not in OUTSIDE_RUN]


def steps_of(profile: str) -> list[str]:
    """The notebooks of a whole run of a profile that is known by its name."""
    content = yaml.safe_load(_text_of_profile(profile))
    return standard_steps(content if isinstance(content, Mapping) else ())


def select_steps(
    first: str | None = None, only: Iterable[str] = (), named: Iterable[str] = ()
) -> list[str]:
    """The notebooks to run, in order: all of a whole run, those from `first`, or `only` some.

    Raises: ValueError for a name that no notebook has, or where there is nothing to run.
    """
    wanted = {find_step(name) for name in only}
    if wanted and first:
        raise ValueError("expected --from or --only, got both")
    steps = sorted(wanted) or standard_steps(named)
    if first:
        steps = [name for name in steps if name >= find_step(first)]
    if not steps:
        raise ValueError(f"expected notebooks in {shown_path(notebooks_dir())}, found none to run")
    return steps


def all_parameters(notebook: str, profile: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook will run with: its defaults, then the profile's values and its name."""
    parameters = read_parameters(notebook)
    if SET_BY_RUNNER not in parameters:
        raise ValueError(f"{notebook}: expected a parameter `profile` in its parameters cell")
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return {**defaults, **values, SET_BY_RUNNER: profile}


def changed_since(
    profile: str, chosen: Mapping[str, Mapping[str, Any]], steps: Sequence[str]
) -> list[str]:
    """Settings in which steps that will not run again differ from the profile.

    `chosen` are the profile's values, `steps` those that are to run; the clauses are for a reader.

    Raises: ValueError if `show_text` changed, which 01_data decides for all reports.
    """
    clauses = []
    for step, entry in read_manifest(profile)["steps"].items():
        if step >= min(steps) or step not in notebook_names():
            continue
        now = all_parameters(step, profile, chosen.get(step, {}))
        for name, value in entry.get("parameters", {}).items():
            if name in now and recorded(now[name]) != value:
                clauses.append(f"{step} ran with {name}={value!r}, the profile says {now[name]!r}")
                if name == "show_text":
                    raise ValueError(f"{clauses[-1]}; run again from {step}")
    return clauses


def parameters_in(step: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a notebook's parameters have in its namespace (its `globals()`).

    Raises: KeyError for a parameter that is not there.
    """
    return {name: namespace[name] for name in read_parameters(step) if name != SET_BY_RUNNER}
