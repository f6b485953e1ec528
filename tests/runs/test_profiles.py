"""Profiles and settings are checked against the notebooks' own parameters before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from medisum_utils.runs import profiles

NOTEBOOK = """\
# %% [markdown]
# # A notebook

# %% tags=["parameters"]
profile = "tiny"
seed = 17  # any
learning_rate = 2.0e-4
show_text = True
targets = ["q_proj", "v_proj"]
limit: int | None = None
anything = None

# %%
not_a_parameter = 1
"""


@pytest.fixture
def notebook(project: Path) -> Path:
    for name in ("00_tiny_base", "01_data", "02_format", "03_qlora_train"):
        (project / "notebooks" / f"{name}.py").write_text(NOTEBOOK)
    return project / "notebooks" / "profiles" / "mine.yaml"


def test_parameters_are_read_without_running(notebook: Path, project: Path) -> None:
    parameters = profiles.read_parameters("01_data")
    assert list(parameters) == [
        "profile", "seed", "learning_rate", "show_text", "targets", "limit", "anything",
    ]  # fmt: skip
    assert parameters["learning_rate"].default == 2.0e-4
    assert parameters["limit"].types == ("int", "None")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", "one cell tagged `parameters`, found 0"),
        ('# %% tags=["parameters"]\na = 1\n' * 2, "found 2"),
        ('# %% tags=["parameters"]\na = [i for i in range(3)]\n', "a literal for a"),
        ('# %% tags=["parameters"]\nimport os\n', "expected `name = literal`"),
    ],
)
def test_a_parameters_cell_holds_literals(project: Path, cell: str, expected: str) -> None:
    path = project / "notebooks" / "01_data.py"
    path.write_text(f"# %%\n1\n\n{cell}")
    with pytest.raises(ValueError, match=expected):
        profiles.read_parameters("01_data")


def test_a_profile_keeps_its_values(notebook: Path) -> None:
    notebook.write_text("01_data:\n  seed: 3\n  limit: 5\n  targets: [k_proj]\n02_format:\n")
    chosen = profiles.load_profile(notebook, ["03.learning_rate=1.0e-4", "01_data.seed=4"])
    assert chosen == {
        "01_data": {"seed": 4, "limit": 5, "targets": ["k_proj"]},
        "02_format": {},
        "03_qlora_train": {"learning_rate": 1.0e-4},
    }
    assert profiles.all_parameters("01_data", "mine", chosen["01_data"])["profile"] == "mine"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("01_dat: {}\n", "no notebook '01_dat'; there are: 00_tiny_base, 01_data"),
        (
            "01_data: {sede: 3}\n",
            "01_data has no parameter 'sede'; it has: anything, learning_rate",
        ),
        ("01_data: {not_a_parameter: 3}\n", "no parameter 'not_a_parameter'"),
        ("01_data: {profile: other}\n", "set by the runner"),
        ("01_data: {seed: three}\n", "01_data.seed: expected int like 17, got str 'three'"),
        ("01_data: {seed: 3.5}\n", "expected int like 17, got float 3.5"),
        ("01_data: {seed: true}\n", "expected int like 17, got bool"),
        ("01_data: {show_text: 1}\n", "expected bool like True, got int"),
        ("01_data: {targets: q_proj}\n", "expected list like"),
        ("01_data: {limit: many}\n", "expected int or None like None, got str"),
        ("01_data: {learning_rate: 2e-4}\n", "YAML reads 2e-4 as text, write 2.0e-4"),
        ("01_data: {learning_rate: 1.5e3}\n", r"as text, write 1.5e\+3"),
        ("01_data: 3\n", "expected parameters below 01_data, got int"),
        ("- 01_data\n", "expected notebooks' names as keys, got list"),
        ("01_data: {seed: 1}\n01_data: {seed: 2}\n", "stands twice"),
        ("01_data: {seed: [\n", "not valid YAML"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(
    notebook: Path, content: str, expected: str
) -> None:
    notebook.write_text(content)
    with pytest.raises(ValueError, match=expected):
        profiles.load_profile(notebook)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("seed=3", "expected STEP.parameter=value"),
        ("01_data.seed", "expected STEP.parameter=value"),
        ("09.seed=3", "no notebook '09'"),
        ("01_data.sede=3", "no parameter 'sede'"),
        ("01_data.learning_rate=1e-4", "write 1.0e-4"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(
    notebook: Path, setting: str, expected: str
) -> None:
    notebook.write_text("")
    with pytest.raises(ValueError, match=expected):
        profiles.load_profile(notebook, [setting])


def test_a_whole_number_is_a_float_too_and_none_takes_anything(notebook: Path) -> None:
    notebook.write_text("01_data: {learning_rate: 1, anything: [1], limit: null}\n")
    assert profiles.load_profile(notebook)["01_data"]["learning_rate"] == 1


def test_steps_are_selected_in_order(notebook: Path) -> None:
    assert profiles.select_steps() == ["01_data", "02_format", "03_qlora_train"]
    assert profiles.select_steps(first="02") == ["02_format", "03_qlora_train"]
    assert profiles.select_steps(only=["03_qlora_train", "01"]) == ["01_data", "03_qlora_train"]
    assert profiles.select_steps(only=["00_tiny_base"]) == ["00_tiny_base"]
    with pytest.raises(ValueError, match="no notebook '07'"):
        profiles.select_steps(first="07")
    with pytest.raises(ValueError, match="--from or --only"):
        profiles.select_steps(first="02", only=["03"])


def test_a_profile_of_notebooks_outside_the_standard_run_is_a_run_of_those(
    notebook: Path, project: Path
) -> None:
    assert profiles.select_steps(named=["00_tiny_base"]) == ["00_tiny_base"]
    assert profiles.select_steps(named=["00_tiny_base", "01_data"])[0] == "01_data"
    (notebook.parent / "only.yaml").write_text("00_tiny_base: {seed: 3}\n")
    (notebook.parent / "empty.yaml").write_text("")
    assert profiles.steps_of("only") == ["00_tiny_base"]
    for name in ("empty", "elsewhere"):
        assert profiles.steps_of(name) == ["01_data", "02_format", "03_qlora_train"]


def test_a_profile_is_a_name_or_a_file_and_never_the_shipped_base(notebook: Path) -> None:
    notebook.write_text("")
    assert profiles.find_profile("mine") == ("mine", notebook)
    assert profiles.find_profile(str(notebook)) == ("mine", notebook)
    with pytest.raises(FileNotFoundError, match="there are: mine"):
        profiles.find_profile("yours")
    for name in ("../mine", "Mine", "medisum-tiny-base", ""):
        with pytest.raises(ValueError, match="expected lower-case"):
            profiles.find_profile(name)


SHIPPED = sorted((Path(__file__).parents[2] / "notebooks" / "profiles").glob("*.yaml"))


def test_the_promised_profiles_are_there() -> None:
    assert {"tiny", "smoke", "clinic", "llama3-8b", "tiny-base"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_profile_fits_its_notebooks(path: Path) -> None:
    name, found = profiles.find_profile(path.stem)
    chosen = profiles.load_profile(found)
    for step in profiles.select_steps(named=chosen):
        assert profiles.all_parameters(step, name, chosen.get(step, {}))["profile"] == name


def test_llama3_8b_is_clinic_with_another_base() -> None:
    clinic, llama = (
        profiles.load_profile(profiles.find_profile(name)[1]) for name in ("clinic", "llama3-8b")
    )
    assert llama["01_data"] == clinic["01_data"]
    other_base = {"base_model": llama["02_format"]["base_model"]}
    assert llama["02_format"] == {**clinic["02_format"], **other_base}
    decoded = {name: clinic["04_eval"][name] for name in ("n_candidates", "max_new_tokens")}
    assert llama["04_eval"].items() >= decoded.items()


def test_run_all_in_jupyterlab_is_the_default_profile() -> None:
    """The notebooks' own defaults are what the runner would inject for `tiny`."""
    _, path = profiles.find_profile("tiny")
    chosen = profiles.load_profile(path)
    for step in profiles.standard_steps(chosen):
        injected = profiles.all_parameters(step, "tiny", chosen.get(step, {}))
        assert injected == profiles.all_parameters(step, "tiny", {}), step
        assert profiles.read_parameters(step)["profile"].default == "tiny"


def test_what_concerns_a_whole_run_is_said_in_one_notebook() -> None:
    """The base, whether text is shown, and how notes are decoded are parameters of one each."""
    once = {
        "base_model": "02_format",
        "show_text": "01_data",
        "source": "01_data",
        "max_new_tokens": "04_eval",
        "instruction": "02_format",
    }
    parameters = {step: profiles.read_parameters(step) for step in profiles.standard_steps()}
    for name, notebook in once.items():
        assert [step for step in parameters if name in parameters[step]] == [notebook], name


def test_a_profile_that_now_hides_what_01_was_run_to_show_stops(
    notebook: Path, project: Path
) -> None:
    from medisum_utils import runs

    notebook.write_text("01_data: {show_text: false}\n")
    chosen = profiles.load_profile(notebook)
    runs.start("01_data", "mine", {"show_text": True, "seed": 17}).finish()
    with pytest.raises(ValueError, match="01_data ran with show_text=True.*run again from 01_data"):
        profiles.changed_since("mine", chosen, ["02_format"])
    assert profiles.changed_since("mine", chosen, ["01_data", "02_format"]) == []
    runs.start("01_data", "mine", {"show_text": False, "seed": 18}).finish()
    assert profiles.changed_since("mine", chosen, ["02_format"]) == [
        "01_data ran with seed=18, the profile says 17"
    ]
