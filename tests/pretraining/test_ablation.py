"""Each trial changes what its name says and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import small_model
import torch
from typer.testing import CliRunner

from medisum_utils.__main__ import app
from medisum_utils.modelling import training
from medisum_utils.modelling.model import load_tokenizer
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.pretraining import ablation
from medisum_utils.pretraining.ablation import (
    TRIALS,
    Trial,
    _train,
    _trainable,
    write_ablation,
)
from medisum_utils.pretraining.ablation_record import (
    ABLATION,
    ablation_table,
    described,
    read_ablation,
    write_groups,
)
from medisum_utils.runs import profiles
from medisum_utils.scoring.rouge import ROUGE_NAMES
from medisum_utils.synthesis.encounters import generate
from medisum_utils.synthesis.fact_scores import MEASURES

ROOT = Path(__file__).resolve().parents[2]
SCORES = [*ROUGE_NAMES, *(f"facts_{name}" for name in MEASURES)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(small_model.make_base(tmp_path_factory.mktemp("base")))


def examples(base: str, n: int) -> list:
    renderer = Renderer(load_tokenizer(base), ablation.INSTRUCTION)
    return [renderer.example(e) for e in generate(n, seed=2, split="train")]


def test_every_trial_changes_the_default_in_its_own_way() -> None:
    default = asdict(TRIALS[0])
    assert default == asdict(Trial(TRIALS[0].change))
    changes = [
        {key: value for key, value in asdict(trial).items() if value != default[key]}
        for trial in TRIALS
    ]
    assert changes[0] == {}
    settings = [json.dumps({k: v for k, v in c.items() if k != "change"}) for c in changes]
    assert len(set(settings)) == len(TRIALS)
    assert all(len(c) <= 3 for c in changes)  # the words, the setting, its learning rate


def test_the_default_is_that_of_the_profile_tiny() -> None:
    content = profiles.load_profile(profiles.find_profile("tiny")[1])
    data, training = content["01_data"], content["03_qlora_train"]
    default = TRIALS[0]
    assert (default.n_train, default.exchanged_share) == (data["n_train"], data["exchanged_share"])
    assert default.batch_size == training["batch_size"]
    assert default.learning_rate == training["learning_rate"]
    assert default.rank * ablation.ALPHA_PER_RANK == training["lora_alpha"]
    assert default.n_epochs == training.get("n_epochs", 1.0)


class Learner(torch.nn.Module):
    """Keeps the ids and labels of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor):
        self.seen.append((input_ids[0], labels[0]))
        return type("Output", (), {"loss": self.weight.sum()})


def test_each_note_is_learnt_once_before_any_is_repeated(base: str) -> None:
    assert torch.nn.CrossEntropyLoss().ignore_index == training.IGNORED
    drawn = examples(base, 6)
    learner = Learner()
    losses = _train(learner, drawn, Trial("", n_epochs=2), 1)
    ids = [tuple(step_ids.tolist()) for step_ids, _ in learner.seen]
    assert len(losses) == len(ids) == 12
    assert Counter(ids[:6]) == Counter(ids[6:]) == Counter(e.input_ids for e in drawn)
    assert ids[:6] != ids[6:]
    n_supervised = {example.input_ids: example.n_completion_tokens for example in drawn}
    for step_ids, labels in learner.seen:
        supervised = labels != training.IGNORED
        assert int(supervised.sum()) == n_supervised[tuple(step_ids.tolist())]
        assert torch.equal(labels[supervised], step_ids[supervised])
        assert not supervised[: int((~supervised).sum())].any()


def test_an_adapter_leaves_the_base_unchanged_and_full_training_does_not(base: str) -> None:
    from transformers import LlamaForCausalLM

    def trained(full: bool) -> set[str]:
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = _trainable(model, Trial("", full=full, rank=4))
        return {name for name, weight in model.named_parameters() if weight.requires_grad}

    assert all("lora_" in name for name in trained(False))
    assert not any("lora_" in name for name in trained(True))
    assert any("embed_tokens" in name for name in trained(True))


@pytest.mark.slow
def test_trials_are_scored_with_every_seed_and_written_one_by_one(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "LONGEST_NOTE", 24)
    small = {"n_train": 6, "rank": 4}
    trials = [Trial("none", **small), Trial("two passes", **small, n_epochs=2)]
    with_settings = {"n_valid": 2, "seeds": (3, 4), "device": "cpu"}
    path, again = tmp_path / "a.json", tmp_path / "b.json"
    write_ablation(path, base, trials, **with_settings)
    (group,) = read_ablation(path)
    assert group["validation"] == {"split": "valid", "seed": ablation.VALID_SEED, "n": 2}
    assert [[run["seed"] for run in trial["runs"]] for trial in group["trials"]] == [[3, 4]] * 2
    assert [trial["runs"][0]["n_steps"] for trial in group["trials"]] == [6, 12]
    assert list(ablation_table(group)["steps"]) == [6, 12]
    assert set(group["trials"][0]["runs"][0]["scores"]) == set(SCORES)
    write_ablation(again, base, trials[:1], **with_settings)
    first, same = (read_ablation(p)[0]["trials"][0]["runs"] for p in (path, again))
    assert [run["loss"] for run in first] == [run["loss"] for run in same]
    assert first[0]["loss"] != first[1]["loss"]  # other encounters, other weights


def fake_run(trial: Trial, base: str, *, n_valid: int, seed: int, device: str) -> dict:
    """A run in the file's format without training; its scores depend on the seed."""
    scores = dict.fromkeys(SCORES, seed / 100)
    return {
        "seed": seed,
        "n_steps": trial.n_train,
        "loss": 0.1,
        "seconds": 1.0,
        "machine": device,
        "scores": scores,
    }


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A list of the runs that were made, without training."""
    runs = []

    def run(trial: Trial, base: str, **options) -> dict:
        runs.append((trial.change, options["seed"]))
        return fake_run(trial, base, **options)

    monkeypatch.setattr(ablation, "run_trial", run)
    return runs


def test_killed_trials_resume(base: str, tmp_path: Path, counted: list) -> None:
    path, options = tmp_path / "a.json", {"n_valid": 5, "device": "cpu"}
    write_ablation(path, base, TRIALS[:1], seeds=(17, 18), **options)
    write_ablation(path, base, TRIALS[:2], seeds=(17, 18, 19), **options)
    names = [trial.change for trial in TRIALS[:2]]
    assert counted == [(names[0], 17), (names[0], 18), (names[0], 19)] + [
        (names[1], seed) for seed in (17, 18, 19)
    ]
    (group,) = read_ablation(path)
    assert [len(trial["runs"]) for trial in group["trials"]] == [3, 3]


def test_trials_of_another_base_or_other_encounters_are_not_added_to(
    base: str, tmp_path: Path, counted: list
) -> None:
    path = tmp_path / "a.json"
    write_ablation(path, base, TRIALS[:1], seeds=(17,), n_valid=5, device="cpu")
    with pytest.raises(ValueError, match="'n': 6.*'n': 5"):
        write_ablation(path, base, TRIALS[:1], seeds=(18,), n_valid=6, device="cpu")
    content = json.loads(path.read_text())
    content["groups"][0]["base_sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="base_sha256"):
        write_ablation(path, base, TRIALS[:1], seeds=(18,), n_valid=5, device="cpu")
    assert len(counted) == 1


@pytest.mark.parametrize("seed", [17, 18])
def test_every_trial_is_scored_on_the_same_validation_encounters(
    base: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, scored = [], []

    def recorded(n: int, *, seed: int, split: str):
        drawn.append((n, seed, split))
        return generate(n, seed=seed, split=split)

    def scores(model, renderer, encounters) -> dict:
        scored.extend(encounter.id for encounter in encounters)
        return {}

    monkeypatch.setattr(ablation, "generate", recorded)
    monkeypatch.setattr(ablation, "_scores", scores)
    monkeypatch.setattr(ablation, "_train", lambda *_: [0.5])
    trial = Trial("", n_train=4, rank=4, full=True)
    ablation.run_trial(trial, base, n_valid=3, seed=seed, device="cpu")
    assert drawn == [(4, seed, "train"), (3, ablation.VALID_SEED, "valid")]
    assert scored == [f"valid-{ablation.VALID_SEED}-{number:06d}" for number in range(3)]


def test_the_validation_encounters_are_those_of_no_profile() -> None:
    names = [path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")]
    contents = [profiles.load_profile(profiles.find_profile(name)[1]) for name in names]
    seeds = {steps.get("01_data", {}).get("seed", 17) for steps in contents}
    assert ablation.VALID_SEED not in seeds | {17, 18, 19}


# --- the file ------------------------------------------------------------------------------------


EARLIER = Trial("none: the default", n_train=720)


def group_with(scores: list[float]) -> dict:
    runs = [fake_run(EARLIER, "", n_valid=2, seed=17 + i, device="cpu") for i in range(len(scores))]
    for run, score in zip(runs, scores, strict=True):
        run["scores"]["facts_f1"] = score
    validation = {"split": "valid", "seed": ablation.VALID_SEED, "n": 2}
    trials = [{**asdict(EARLIER), "runs": runs}]
    return {"title": "b", "base_sha256": "0" * 64, "validation": validation, "trials": trials}


def test_the_table_shows_mean_and_spread_of_the_seeds() -> None:
    table = ablation_table(group_with([0.9, 0.8, 0.95]))
    assert list(table.index) == [EARLIER.change]
    row = table.iloc[0]
    assert row["fact F1"] == "0.883<br><small>0.800 to 0.950</small>"
    assert (row["examples"], row["examples a step"], row["steps"]) == (720, 1, 720)
    assert (row["rank"], row["seeds"]) == (16, 3)
    assert ablation_table(group_with([0.9])).iloc[0]["fact F1"] == "0.900"


def test_a_group_describes_its_scores() -> None:
    description = described(group_with([0.9, 0.8]))
    assert "Validation: 2 encounters of `valid`" in description
    assert f"seed {ablation.VALID_SEED}" in description
    assert "not 04's" in description
    assert "seeds 17, 18," in description


def test_written_groups_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_groups(path, [group_with([0.9]), group_with([0.8])])
    assert read_ablation(path) == [group_with([0.9]), group_with([0.8])]


OLD_FORM = {"groups": [{"title": "b", "trials": [{"splits": {"test": {}, "test_unseen": {}}}]}]}


def test_trials_scored_on_tests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ablation.json"
    path.write_text(json.dumps(OLD_FORM))
    with pytest.raises(ValueError, match=r"expected trials in form 2.*got form 1.*ablate"):
        read_ablation(path)
    group = group_with([0.9])
    group["validation"]["split"] = "test"
    write_groups(path, [group])
    with pytest.raises(ValueError, match=r"scores on valid, got \['test'\]"):
        read_ablation(path)


@pytest.mark.parametrize("text", ["", "[", "[]", "3"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ablation.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ablation\.json: expected"):
        read_ablation(path)


def test_the_shipped_trials_have_the_form_that_00_shows() -> None:
    path = ROOT / "models" / "medisum-tiny-base" / ABLATION
    for group in read_ablation(path):
        described(group)
        ablation_table(group)


# --- the command ---------------------------------------------------------------------------------


def test_seeds_are_numbers_separated_by_commas() -> None:
    assert ablation.parse_seeds("17, 18,19") == (17, 18, 19)
    for wrong in ("", "17,", "17;18", "seventeen", "17,17", "-1"):
        with pytest.raises(ValueError, match="seeds separated by commas"):
            ablation.parse_seeds(wrong)


def test_the_command_runs_every_trial(base: str, tmp_path: Path, counted: list) -> None:
    options = ["--base", base, "--seeds", "3,4", "--n", "2", "--device", "cpu", "--out"]
    result = CliRunner().invoke(app, ["ablate", *options, str(tmp_path / "b.json")])
    assert result.exit_code == 0, result.output
    assert counted == [(trial.change, seed) for trial in TRIALS for seed in (3, 4)]
    wrong = CliRunner().invoke(app, ["ablate", "--base", base, "--out", "c.json", "--seeds", "x"])
    assert wrong.exit_code == 2
    wrong = CliRunner().invoke(app, ["ablate", "--base", base, "--out", "c.json", "--n", "1"])
    assert wrong.exit_code == 2


HIDE = """
import sys
from pathlib import Path

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

HIDDEN = set(sys.argv.pop(1).split(","))
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from medisum_utils.pretraining import ablation
ablation.TRIALS = (ablation.Trial("none", n_train=4, rank=4),)
ablation.LONGEST_NOTE = 8
options = {"n_valid": 2, "seeds": (3,), "device": "cpu"}
ablation.write_ablation(Path(sys.argv[2]), sys.argv[1], ablation.TRIALS, **options)
assert not HIDDEN & set(sys.modules)
"""


@pytest.mark.slow
def test_trials_need_neither_the_trainer_nor_4_bit_kernels(base: str, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    hidden = "trl,bitsandbytes,datasets,fastapi,pandas,jupytext,nbclient,matplotlib"
    command = [sys.executable, "-c", HIDE, hidden, base, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(read_ablation(out)[0]["trials"]) == 1
