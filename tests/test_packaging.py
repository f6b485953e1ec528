"""What is declared agrees: pyproject, environment, constraints, imports and notebook pairs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import medisum_utils

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


PACKAGE = ROOT / "medisum_utils"
EXTRAS = PROJECT["optional-dependencies"]

# What each room needs beyond the base dependencies, which are those of `score`.
ROOM_EXTRAS: dict[str, tuple[str, ...]] = {
    "__main__": (),
    "clutter": ("model",),
    "data": ("notebooks", "train"),
    "encounter": (),
    "evaluation": ("notebooks", "train"),
    "facts": (),
    "figures": ("notebooks",),
    "modelling": ("notebooks", "train"),
    "notes": (),
    "pretraining": ("train",),
    "runs": ("notebooks", "model"),
    "scoring": (),
    "serving": ("serve",),
    "synthesis": (),
}


def requirements(*extras: str) -> list[Requirement]:
    """The base dependencies and those of the extras, with the extras that these name in turn."""
    collected = [Requirement(text) for text in PROJECT["dependencies"]]
    waiting = list(extras)
    while waiting:
        for requirement in map(Requirement, EXTRAS[waiting.pop()]):
            if requirement.name == PROJECT["name"]:
                waiting += sorted(requirement.extras)
            else:
                collected.append(requirement)
    return collected


def installed_with(*extras: str) -> set[str]:
    """The distributions that an installation with these extras has, dependencies of each included.

    Their own extras are left out, as none is asked for.
    """
    waiting = [canonicalize_name(each.name) for each in requirements(*extras)]
    installed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in installed:
            continue
        installed.add(name)
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return installed


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
    platform_builds = re.compile(r"^(nvidia|triton|cuda)|^(pip|setuptools)$")
    unpinned = installed_with("dev") - set(constraints())
    assert sorted(name for name in unpinned if not platform_builds.match(name)) == []


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


def undeclared(paths: Iterable[Path], extras: Sequence[str]) -> set[str]:
    """The modules that files import although no requirement of these extras installs them."""
    declared = {canonicalize_name(each.name) for each in requirements(*extras)}
    distributions = metadata.packages_distributions()
    return {
        name
        for path in paths
        for name in imported(path)
        if not declared & {canonicalize_name(each) for each in distributions.get(name, ())}
    }


@pytest.mark.parametrize("room", sorted(ROOM_EXTRAS))
def test_a_room_imports_what_its_extras_install(room: str) -> None:
    paths = [*PACKAGE.glob(f"{room}/**/*.py"), *PACKAGE.glob(f"{room}.py")]
    assert paths, f"expected medisum_utils/{room}, found none"
    assert undeclared(paths, ROOM_EXTRAS[room]) == set()


def test_every_room_says_which_extras_it_needs() -> None:
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set(ROOM_EXTRAS)


@pytest.mark.parametrize(("folder", "extras"), [("notebooks", ("all",)), ("tests", ("dev",))])
def test_every_imported_package_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    paths = list((ROOT / folder).rglob("*.py"))
    local = {path.stem for path in paths}
    assert undeclared(paths, extras) - local == set()


def test_every_declared_package_is_imported() -> None:
    commands = {"jupyterlab", "pre-commit", "pytest-xdist", "ruff"}
    needed_by_libraries = {
        "accelerate",  # transformers' trainer
        "httpx",  # starlette's test client
        "ipykernel",  # papermill
        "tiktoken",  # llama-models
    }
    paths = [
        path
        for folder in ("medisum_utils", "notebooks", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    names = {name for path in paths for name in imported(path)}
    distributions = metadata.packages_distributions()
    used = {canonicalize_name(each) for name in names for each in distributions.get(name, ())}
    declared = {canonicalize_name(each.name) for each in requirements("dev")}
    assert declared - used - commands - needed_by_libraries == set()


def test_all_is_what_a_run_needs_and_dev_adds_the_tests() -> None:
    every = {each.name for extra in ("train", "serve", "notebooks") for each in requirements(extra)}
    assert {each.name for each in requirements("all")} == every
    assert every < {each.name for each in requirements("dev")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"--editable (\S+)", makefile) == ["'.[all]'", "'.[dev]'"]


def test_scoring_and_serving_install_no_jupyter() -> None:
    assert not installed_with() & {"torch", "transformers", "jupyterlab", "fastapi", "matplotlib"}
    assert not installed_with("serve") & {"jupyterlab", "papermill", "trl", "datasets"}
    assert "torch" in installed_with("serve")


# Run by a fresh interpreter, which then finds no module of a distribution outside the list given.
WITHOUT_THE_REST = """
import sys
from importlib import metadata
installed = set(sys.argv.pop(1).split(","))
def canonical(name):
    return name.lower().replace("_", "-").replace(".", "-")
absent = {
    module for module, names in metadata.packages_distributions().items()
    if not installed & {canonical(name) for name in names}
} - {"medisum_utils"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in absent:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run_with(extras: Sequence[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code as in an installation with these extras alone."""
    command = [sys.executable, "-c", WITHOUT_THE_REST + code]
    return subprocess.run(
        [*command, ",".join(sorted(installed_with(*extras))), *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


COMMAND = "from medisum_utils.__main__ import app\napp(prog_name='medisum_utils')"


@pytest.mark.parametrize("protocol", ["aci-bench", "mts", "soap"])
def test_the_base_installation_scores(tmp_path: Path, protocol: str) -> None:
    for name, plan in (("references", "Rest."), ("predictions", "Rest, ice.")):
        note = f"SUBJECTIVE\nKnee pain. Takes ibuprofen 400 mg.\nPLAN\n{plan}"
        (tmp_path / f"{name}.csv").write_text(f'id,note\n1,"{note}"\n2,"{note}"\n')
    talk = "Doctor: Good morning.\nPatient: My knee hurts, I take ibuprofen 400 mg."
    (tmp_path / "dialogues.csv").write_text(f'id,dialogue\n1,"{talk}"\n2,"{talk}"\n')
    arguments = [f"--{name}={tmp_path / name}.csv" for name in
                 ("references", "predictions", "dialogues")]  # fmt: skip
    result = run_with(
        (), COMMAND, "score", *arguments, f"--protocol={protocol}", "--column=note",
        f"--json={tmp_path / 'scores.json'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "full note" in result.stdout
    assert (tmp_path / "scores.json").exists()


def test_every_command_of_the_base_installation_shows_its_help() -> None:
    for command in ("run", "base", "score", "serve", "notebooks", "index"):
        result = run_with((), COMMAND, command, "--help")
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_server_starts_without_jupyter() -> None:
    code = (
        "import uvicorn, medisum_utils.serving.background\n"
        "from medisum_utils.clutter import silence_clutter\n"
        "from medisum_utils.serving.writer import load_writer\n"
        "silence_clutter()\n"
        "from medisum_utils.modelling import generation, model, training\n"
        "try:\n    load_writer('no-such-profile')\n"
        "except FileNotFoundError as error:\n    print('no model:', error)\n"
    )
    result = run_with(("serve",), code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("no model:")


def test_an_absent_package_is_absent() -> None:
    """The guard of the three tests above."""
    result = run_with((), "import torch")
    assert result.returncode == 1
    assert "No module named 'torch'" in result.stderr


# --- licence, citation, changes ------------------------------------------------------------------


def test_the_licence_is_in_the_tree() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    (file,) = PROJECT["license-files"]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)  # what the format requires
    assert citation["title"] == "MediSum"
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["version"] == medisum_utils.__version__


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] in ("Unreleased", medisum_utils.__version__)
    assert medisum_utils.__version__ in headings


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
