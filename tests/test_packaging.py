"""What is declared agrees: pyproject, environment, constraints, imports and notebook pairs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


def requirements(*groups: str) -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for group in groups:
        texts += PROJECT["optional-dependencies"][group]
    return [Requirement(text) for text in texts]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin), f"not a plain pin: {pin}"
    return {canonicalize_name(pin.split("==")[0]): pin.split("==")[1] for pin in pins}


@pytest.mark.parametrize("requirement", requirements("dev"), ids=lambda each: each.name)
def test_every_dependency_is_pinned_to_a_version_that_it_allows(requirement: Requirement) -> None:
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert pinned in requirement.specifier


def test_what_dependencies_need_is_pinned_too() -> None:
    pins, seen = constraints(), set()
    waiting = [canonicalize_name(each.name) for each in requirements("dev")]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    platform_builds = re.compile(r"^(nvidia|triton|cuda)|^(pip|setuptools)$")
    assert sorted(name for name in seen - set(pins) if not platform_builds.match(name)) == []


def test_constraints_hold_on_every_platform_and_index() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for banned in ("+cpu", "nvidia", "triton", "--hash", "index-url", "://", "file:", "@"):
        assert banned not in text


def test_the_conda_environment_installs_what_pyproject_asks_for() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [each for each in environment["dependencies"] if isinstance(each, str)]
    (pip,) = (each["pip"] for each in environment["dependencies"] if isinstance(each, dict))
    assert f"python{PROJECT['requires-python']}" in conda
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]
    assert "dev" in PROJECT["optional-dependencies"]
    assert not {each.split(">")[0] for each in conda} & {each.name for each in requirements("dev")}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"medisum_utils"}


@pytest.mark.parametrize(
    ("folder", "groups"), [("medisum_utils", ()), ("notebooks", ()), ("tests", ("dev",))]
)
def test_every_imported_package_is_declared(folder: str, groups: tuple[str, ...]) -> None:
    declared = {canonicalize_name(each.name) for each in requirements(*groups)}
    distributions = metadata.packages_distributions()
    local = {path.stem for path in (ROOT / folder).rglob("*.py")}
    undeclared = {
        name
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path) - local
        if not declared & {canonicalize_name(each) for each in distributions.get(name, ())}
    }
    assert undeclared == set()


def test_every_data_file_of_the_package_is_packed() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    suffixes = {pattern.removeprefix("*") for pattern in packed["package-data"]["*"]}
    found = {
        path.suffix
        for path in (ROOT / "medisum_utils").rglob("*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "cache" not in str(path)
    }
    assert found <= suffixes


def code_and_prose(notebook: nbformat.NotebookNode) -> list[tuple]:
    return [
        (cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ())))
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_pair_agree_and_hold_no_outputs(path: Path) -> None:
    pair = path.with_suffix(".ipynb")
    assert pair.exists(), "run `make notebooks`"
    source, written = jupytext.read(path), nbformat.read(pair, as_version=4)
    assert code_and_prose(source) == code_and_prose(written), "run `make notebooks`"
    assert source.metadata["kernelspec"]["name"] == "python3"
    for cell in written.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_five_notebooks_are_there() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert {"01_data", "02_format", "03_qlora_train", "04_eval", "05_serve"} <= names
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == names


def test_make_help_names_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.M).group(1).split()
    result = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for target in set(targets) - {"help"}:
        assert f"make {target}" in result.stdout


def test_pre_commit_uses_this_machine_s_tools_alone() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {each["repo"] for each in config["repos"]} == {"local"}
    assert {hook["language"] for each in config["repos"] for hook in each["hooks"]} == {"system"}


TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "--", "*.py", "*.toml", "*.yaml", "*.yml",
     "*.md", "*.txt", "*.csv", "Makefile", "*.html", "*.json"],
    cwd=ROOT, capture_output=True, text=True,
)  # fmt: skip


@pytest.mark.skipif(TRACKED.returncode != 0, reason="needs the project's git history")
def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    # Put together here, so that this file does not hold what it looks for.
    folders = [f"/{name}/" for name in ("work", "root", "opt", "tmp")]
    pattern = re.compile(r"(?<![\w.:/<}-])(" + "|".join(folders) + ")|" + r"\.\./sha" + "red")
    for name in TRACKED.stdout.splitlines():
        path = ROOT / name
        if path.is_file():
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{name}: {found.group()}"
