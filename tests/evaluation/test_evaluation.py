"""What 04 stands on: baselines, kept notes, fact counts, scores, and the form of metrics.json."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil

import jsonschema
import numpy as np
import pytest
import small_model
from rouge_score.rouge_scorer import RougeScorer

from medisum_utils import evaluation
from medisum_utils.encounter import Encounter, Fact, NoteSection, Turn
from medisum_utils.evaluation import fact_counts, note_views, page, systems, tables
from medisum_utils.modelling.decoding import Decoding
from medisum_utils.modelling.generation import WrittenNote, generate_notes
from medisum_utils.modelling.model import merge
from medisum_utils.synthesis.encounters import generate, generate_tests
from medisum_utils.synthesis.fact_scores import score_encounters

SCHEMA = json.loads(evaluation.SCHEMA_FILE.read_text(encoding="utf-8"))
SHA = "0" * 64
N = 12


@pytest.fixture(scope="module")
def visits() -> list[Encounter]:
    return list(generate_tests(N, seed=5, split="test"))


@pytest.fixture(scope="module")
def train() -> list[Encounter]:
    return list(generate(40, seed=5, split="train"))


def one_section(n: int = 6) -> list[Encounter]:
    """Visits as MTS-Dialog has them: one section each under a corpus header."""
    headers = [("ROS", "subjective"), ("EXAM", "objective"), ("PLAN", "plan")]
    return [
        Encounter(
            id=f"short-{i}",
            source="made-up",
            split="test",
            turns=(
                Turn("doctor", "Any fever, and do you take anything?"),
                Turn("patient", f"No fever. I take aspirin {i + 1} mg for gout."),
            ),
            note=(NoteSection(*headers[i % 3], f"Denies fever.\nTakes aspirin {i + 1} mg."),),
        )
        for i in range(n)
    ]


def all_systems(encounters: list[Encounter], train: list[Encounter]) -> dict[str, list[str]]:
    notes = {"copy": systems.copied(encounters)}
    notes["nearest"] = systems.nearest_notes(train, encounters)[0]
    notes["base"] = [encounter.turns[0].text for encounter in encounters[:-2]]
    return notes | {"finetuned": [encounter.note_text for encounter in encounters]}


def metrics_of(splits: dict[str, evaluation.SplitScores]) -> dict:
    return {
        "profile": "made-up",
        "model": "models/base",
        "adapter": "models/made-up",
        "adapter_sha256": SHA,
        "data_sha256": SHA,
        "seed": 17,
        "splits": {
            name: evaluation.split_metrics(part, evaluation.same_encounters(part), SHA, 17)
            for name, part in splits.items()
        },
    }


# --- baselines -----------------------------------------------------------------------------------


def test_the_nearest_note_is_that_of_the_same_dialogue(train):
    asked = [dataclasses.replace(train[i], id="asked") for i in (7, 0, 31)]
    notes, cosine = systems.nearest_notes(train, asked)
    assert notes == [train[i].note_text for i in (7, 0, 31)]
    assert cosine == pytest.approx([1.0, 1.0, 1.0])


# --- models and kept notes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small base and an adapter on it whose B matrices are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    from medisum_utils.modelling.model import load_base, load_tokenizer
    from medisum_utils.modelling.prompt import Renderer

    base = str(small_model.make_base(tmp_path_factory.mktemp("base")))
    folder = tmp_path_factory.mktemp("adapter")
    model = get_peft_model(
        load_base(base), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    Renderer(load_tokenizer(base), small_model.INSTRUCTION).save(folder)
    return base, folder


def write(trained, visits, folder, *, max_new_tokens=8, n_base=1):
    """The notes of both models on one split, by system."""
    base, adapter = trained
    decoding = Decoding(max_new_tokens)
    splits = {"test": visits}
    return systems.write_all(
        base, adapter, splits, folder, decoding=decoding, batch_size=2, n_base=n_base
    )["test"]


def test_base_and_finetuned_write_and_differ_and_are_taken_again(trained, tmp_path):
    visits = small_model.encounters(4, split="test")
    first = write(trained, visits, tmp_path, n_base=3)
    assert [len(first[name].notes) for name in systems.MODEL_SYSTEMS] == [3, 4]
    assert first["base"].texts != first["finetuned"].texts[:3]
    assert not first["base"].reused
    again = write(trained, visits, tmp_path, n_base=3)
    assert again == {name: dataclasses.replace(first[name], reused=True) for name in first}


@pytest.mark.parametrize("change", ["tokens", "dialogue", "adapter", "file"])
def test_notes_are_not_taken_again_after_a_change(trained, tmp_path, change):
    base, folder = trained
    own = shutil.copytree(folder, tmp_path / "adapter")
    visits = small_model.encounters(2, split="test")
    write((base, own), visits, tmp_path)
    max_new_tokens, path = 8, tmp_path / "test_finetuned.jsonl"
    if change == "tokens":
        max_new_tokens = 9
    elif change == "dialogue":
        visits[0] = dataclasses.replace(visits[0], turns=visits[1].turns)
    elif change == "adapter":
        config = json.loads((own / "adapter_config.json").read_text())
        (own / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 2}))
    else:
        path.write_text(path.read_text() + "\n")
    again = write((base, own), visits, tmp_path, max_new_tokens=max_new_tokens)
    assert not again["finetuned"].reused


def test_writing_tells_the_runner_how_many_notes_there_are(trained, tmp_path, monkeypatch):
    standings = []
    monkeypatch.setattr(
        systems.live,
        "tell",
        lambda unit, *, n_done, n_total: standings.append((unit, n_done, n_total)),
    )
    write(trained, small_model.encounters(3, split="test"), tmp_path, max_new_tokens=2)
    assert standings[0] == ("note", 0, 1)  # the base's
    assert standings[-1] == ("note", 3, 3)


def test_a_system_decodes_as_it_was_told(trained, tmp_path):
    from medisum_utils.modelling.model import load_tokenizer
    from medisum_utils.modelling.prompt import Renderer

    base, folder = trained
    visits = small_model.encounters(3, split="test")
    short = write(trained, visits, tmp_path, max_new_tokens=5)["finetuned"]
    by_hand = generate_notes(
        merge(base, folder),
        Renderer.load(folder, load_tokenizer(base)),
        systems.copied(visits),
        Decoding(5),
    )
    assert short.notes == tuple(by_hand)
    assert write(trained, visits, tmp_path)["finetuned"].texts != short.texts


@pytest.mark.parametrize("lost", ["adapter_model.safetensors", "adapter_config.json", "base"])
def test_kept_notes_do_not_outlive_adapter_or_base(trained, tmp_path, lost):
    base = shutil.copytree(trained[0], tmp_path / "base")
    folder = shutil.copytree(trained[1], tmp_path / "adapter")
    visits = small_model.encounters(2, split="test")
    write((str(base), folder), visits, tmp_path / "kept")
    if lost == "base":
        shutil.rmtree(base)
    else:
        (folder / lost).unlink()
    with pytest.raises(FileNotFoundError):
        write((str(base), folder), visits, tmp_path / "kept")


def test_kept_notes_survive_odd_characters(tmp_path):
    notes = (WrittenNote("one\u2028two\n\x85three", 3, True), WrittenNote("", 1, False))
    key, path = {"a": 1}, tmp_path / "test_base.jsonl"
    systems.keep_written(path, key, ["x", "y"], systems.WrittenNotes(notes, 1.5))
    kept = systems.read_written(path, key, ["x", "y"])
    assert kept == systems.WrittenNotes(notes, 1.5, reused=True)
    assert (kept.n_tokens, kept.n_unfinished) == (4, 1)
    assert systems.read_written(path, {"a": 2}, ["x", "y"]) is None
    assert systems.read_written(path, key, ["y", "x"]) is None


# --- facts ---------------------------------------------------------------------------------------


def test_every_kind_of_the_generator_has_a_group():
    visits = [*generate(150, seed=2, split="train")]
    visits += generate_tests(150, seed=2, split="test_unseen")
    facts = [fact for visit in visits for fact in visit.facts]
    groups = {fact_counts.kind_group(fact) for fact in facts}
    assert groups == set(fact_counts.KIND_GROUPS) - {"outside the grammar"}
    kinds = [kind for group in fact_counts.KIND_GROUPS.values() for kind in group]
    assert len(kinds) == len(set(kinds))


def test_rates_by_section_count_facts_not_notes(visits, train):
    scores = score_encounters(visits, systems.nearest_notes(train, visits)[0])
    for section, rates in fact_counts.by_section(scores, 17).items():
        right, omitted, other = (
            sum(fact.section == section for score in scores for fact in facts(score))
            for facts in (
                lambda score: score.right,
                lambda score: score.omitted,
                lambda score: score.hallucinated + score.misplaced,
            )
        )
        recall, precision = right / (right + omitted), right / (right + other)
        expected = {"precision": precision, "recall": recall, "omission": 1 - recall}
        expected["f1"] = 2 * right / (2 * right + omitted + other)
        assert rates["n"] == right + omitted
        for name, value in expected.items():
            assert rates[name]["mean"] == pytest.approx(value)
            assert rates[name]["low"] <= value <= rates[name]["high"]


def test_a_changed_dose_costs_doses_and_nothing_else(visits):
    whole = score_encounters(visits, [v.note_text for v in visits])
    notes = []
    for visit in visits:
        text = visit.note_text
        for fact in visit.facts:
            if fact.kind == "dose":
                text = text.replace(fact.value, f"9{fact.value}")
        notes.append(text)
    changed = fact_counts.by_kind(score_encounters(visits, notes), 17)
    assert changed["dose"]["recall"]["mean"] == 0.0
    assert changed["dose"]["hallucination"]["mean"] == 1.0
    right = fact_counts.by_kind(whole, 17)
    assert all(right[kind]["f1"]["mean"] == 1.0 for kind in right)
    same = set(changed) - {"dose"}
    assert all(changed[kind]["f1"]["mean"] == 1.0 for kind in same)


def test_the_pooled_interval_covers_the_truth():
    """Of 200 samples with a known rate of 0.7, 95% should cover it; below 0.9 would be chance
    of less than 1 in 300."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        totals = rng.integers(1, 9, size=60)
        hits = rng.binomial(totals, 0.7)
        estimate = fact_counts.ratio(hits, totals, seed=1)
        covered += estimate["low"] <= 0.7 <= estimate["high"]
    assert covered >= 180


def test_a_rate_of_nothing_is_none_and_one_note_has_no_interval():
    assert fact_counts.ratio([0, 0], [0, 0], seed=1) is None
    assert fact_counts.ratio([1], [2], seed=1) == {"mean": 0.5, "low": None, "high": None}


def test_an_unknown_kind_is_an_error():
    with pytest.raises(KeyError):
        fact_counts.kind_group(Fact("horoscope", "plan", "lucky"))


# --- scores --------------------------------------------------------------------------------------


def test_scores_are_those_of_rouge_score(visits, train):
    notes = systems.nearest_notes(train, visits)[0]
    scores = evaluation.score_split(visits, {"nearest": notes})
    entry = evaluation.split_metrics(scores, None, SHA, 17)["systems"]["nearest"]
    names = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(names)
    for name in names:
        expected = [
            scorer.score(v.note_text, note)[name].fmeasure
            for v, note in zip(visits, notes, strict=True)
        ]
        assert entry[name]["mean"] == pytest.approx(np.mean(expected))
        assert entry[name]["low"] <= entry[name]["mean"] <= entry[name]["high"]


def test_one_section_is_scored_without_its_header_on_both_sides():
    visits = one_section()
    notes = {
        "with": [f"{v.note[0].header}:\n{v.note[0].text}" for v in visits],
        "title": [f"Review of systems:\n{v.note[0].text}" for v in visits],
        "without": [v.note[0].text for v in visits],
    }
    scores = evaluation.score_split(visits, notes)
    assert scores.protocol == "mts"
    for system in scores.systems.values():
        assert system.rouge["rouge1"] == [1.0] * len(visits)
        assert system.stemmed["rougeLsum"] == [1.0] * len(visits)
        assert system.facts["f1"] == [1.0] * len(visits)
    entry = evaluation.split_metrics(scores, None, SHA, 17)
    assert {n: part["n"] for n, part in entry["systems"]["with"]["sections"].items()} == {
        "subjective": 2,
        "objective": 2,
        "plan": 2,
    }
    assert entry["systems"]["with"]["kinds"]["medicine"]["omission"]["mean"] == 0.0


def test_paired_differences_use_the_encounters_that_both_wrote(visits, train):
    scores = evaluation.score_split(visits, all_systems(visits, train))
    gap = evaluation.difference(scores, "base", "rouge1", seed=17)
    assert gap["n"] == N - 2
    base = scores.systems["base"].rouge["rouge1"]
    assert gap["mean"] == pytest.approx(1 - np.mean(base))
    assert gap["p"] < 0.01


@pytest.mark.parametrize("n", [0, N + 1])
def test_a_wrong_number_of_notes_is_an_error(visits, n):
    with pytest.raises(ValueError, match=f"between 1 and {N} notes, got {n}"):
        evaluation.score_split(visits, {"base": ["Plan:\nRest."] * n})


# --- metrics.json --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metrics(visits, train) -> dict:
    short = one_section()
    splits = {
        "test": evaluation.score_split(visits, all_systems(visits, train)),
        "test1": evaluation.score_split(short, all_systems(short, short)),
    }
    return json.loads(json.dumps(metrics_of(splits), allow_nan=False))


def test_metrics_agree_with_their_schema(metrics):
    schema = SCHEMA
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    validator(schema).validate(metrics)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.pop("data_sha256"),
        lambda m: m["splits"].clear(),
        lambda m: m["splits"]["test"]["systems"].pop("copy"),
        lambda m: m["splits"]["test"]["systems"]["base"].pop("rougeLsum"),
        lambda m: m["splits"]["test"]["systems"]["base"]["rouge1"].update(mean=82.45),
        lambda m: m["splits"]["test"]["systems"]["base"]["facts"].pop("hallucination"),
        lambda m: m["splits"]["test"]["systems"]["base"].update(score=0.9),
        lambda m: m.update(adapter=None),
        lambda m: m["splits"]["test1"]["systems"]["finetuned"]["statements"].pop("stated"),
        lambda m: m["splits"]["test1"]["systems"]["copy"]["statements"]["stated"].update(mean=-1),
        lambda m: m["splits"]["test1"].update(official={"protocol": "soap", "n": 1, "systems": {}}),
        lambda m: m["splits"]["test"]["systems"]["finetuned"].update(facts=None),
        lambda m: m["splits"]["test"]["same_encounters"].pop("n"),
        lambda m: m["splits"]["test"]["same_encounters"]["systems"].pop("nearest"),
        lambda m: m["splits"]["test"]["same_encounters"]["systems"]["base"].update(facts=None),
        lambda m: m["splits"]["test"]["same_encounters"]["systems"]["base"].update(score=0.9),
    ],
)
def test_the_schema_refuses_other_metrics(metrics, spoil):
    spoilt = json.loads(json.dumps(metrics))
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, SCHEMA)


def test_committed_metrics_agree_with_the_schema(root):
    found = sorted(root.glob("reports/*/metrics.json"))
    if not found:
        pytest.skip("no profile was run yet")
    for path in found:
        jsonschema.validate(json.loads(path.read_text("utf-8")), SCHEMA)


@pytest.mark.parametrize(
    ("wanted", "expected"), [("", ["test", "other"]), (" other , test", ["other", "test"])]
)
def test_named_tests_are_those_of_the_list(wanted, expected):
    assert evaluation.named_tests(wanted, ["test", "other"]) == expected


def test_a_test_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"expected tests of \['test'\], got \['valid'\]"):
        evaluation.named_tests("valid,test", ["test"])


def test_decoding_is_told_of_the_models_alone(visits, train):
    scores = evaluation.score_split(visits, all_systems(visits, train))
    notes = (WrittenNote("one", 3, True), WrittenNote("two", 4, False))
    written = {"finetuned": systems.WrittenNotes(notes, 1.234)}
    entry = evaluation.split_metrics(scores, None, SHA, 17, written)["systems"]
    assert [name for name in entry if "decoding" in entry[name]] == ["finetuned"]
    assert entry["finetuned"]["decoding"] == {
        "seconds": 1.23,
        "n_tokens": 7,
        "n_unfinished": 1,
        "n_cut_dialogues": 0,
    }


# --- tables and views ----------------------------------------------------------------------------


def test_tables_say_what_the_metrics_say(metrics, visits, train):
    table = tables.results_table(metrics["splits"])
    row = table.loc[("test", "fine-tuned")]
    assert row["n"] == N
    assert row["ROUGE-1"].startswith("1.000")
    assert len(tables.stemmed_table(metrics["splits"])) == 3  # test1 only, who wrote all
    scores = {"test": evaluation.score_split(visits, all_systems(visits, train))}
    gaps = tables.difference_table(scores, 17)
    assert gaps.loc[("test", "minus dialogue copied"), "p, ROUGE-1"] == "< 0.001"  # 2 / 2**12
    for shown in (table, tables.facts_table(metrics["splits"])):
        assert "nan" not in page.as_html(shown).lower()


def test_a_summary_is_the_results_in_fewer_columns(metrics):
    whole, summary = (
        tables.results_table(metrics["splits"]),
        tables.summary_table(metrics["splits"]),
    )
    assert summary.columns.tolist() == ["n", "ROUGE-1", "fact F1", "hallucinated"]
    assert summary["n"].tolist() == whole["n"].tolist()
    assert summary["ROUGE-1"].tolist() == [x.replace("<br>", " ") for x in whole["ROUGE-1"]]


def test_thirds_stand_in_the_order_of_length_and_conditions_in_that_of_size(visits, train):
    scores = evaluation.score_split(visits, all_systems(visits, train))
    thirds = tables.group_table(scores, tables.lengths_of(visits), "f1", 17).index
    shortest = [int(title.split()[0]) for title in thirds]
    assert len(shortest) == tables.N_LENGTHS
    assert shortest == sorted(shortest)
    sizes = tables.group_table(scores, [f"{'ab'[i > 2]}" for i in range(N)], "f1", 17)["n"]
    assert sizes.to_dict() == {"b": N - 3, "a": 3}


def test_groups_hold_every_note_once(visits, train):
    scores = evaluation.score_split(visits, all_systems(visits, train))
    for groups in (tables.lengths_of(visits), [tables.condition_of(v) for v in visits]):
        assert tables.group_table(scores, groups, "f1", 17)["n"].sum() == N


def test_marks_show_each_difference_once_and_lose_no_text():
    import re

    reference, note = "Takes 5 mg <daily>.\nNo fever.", "Takes 50 mg <daily>.\nNo rash, no fever."
    left, right = note_views.marked(reference, note)
    assert re.findall(r"<u[^>]*>(.*?)</u>", left) == ["5"]
    assert re.findall(r"<b[^>]*>(.*?)</b>", right)[0] == "50"
    for text, shown in ((reference, left), (note, right)):
        plain = re.sub(r"</?[ub][^>]*>", "", shown)
        assert plain.replace("&lt;", "<").replace("&gt;", ">") == text


def test_an_altered_note_is_wrong_in_every_number_and_keeps_its_words(visits):
    texts = [v.note_text for v in visits]
    altered = [note_views.altered(text) for text in texts]
    scores = evaluation.score_split(visits, {"altered": altered}).systems["altered"]
    kinds = fact_counts.by_kind(scores.judged, 17)
    assert kinds["dose"]["recall"]["mean"] == 0.0
    assert kinds["number with unit"]["recall"]["mean"] == 0.0
    assert np.mean(scores.rouge["rouge1"]) > 0.7
    assert note_views.altered("Left knee. Denies rash. No fever, 90 mg") == (
        "Right knee. Reports rash. fever, 11 mg"
    )


def test_chosen_notes_are_the_extremes(visits):
    rng = random.Random(1)
    notes = [v.note_text[: rng.randint(20, len(v.note_text))] for v in visits]
    scores = evaluation.score_split(visits, {"finetuned": notes})
    values = scores.systems["finetuned"].facts["f1"]
    chosen = note_views.chosen_notes(scores, 5)
    assert values[chosen["best"]] == max(values)
    worst = [values[place] for title, place in chosen.items() if "worst" in title]
    assert worst == sorted(values)[:5]
    assert "<table" in note_views.side_by_side(scores, chosen["best"])


def test_omitted_and_hallucinated_facts_are_named(visits):
    notes = [v.note_text for v in visits]
    notes[0] = notes[0].replace("Plan:\n", "Plan:\nOrder zelvorin level.\n")
    scores = evaluation.score_split(visits, {"finetuned": notes})
    wrong = note_views.wrong_facts(scores)
    assert wrong == {"omitted": [], "hallucinated": [(visits[0].id, "order", "zelvorin level")]}


# --- real corpora --------------------------------------------------------------------------------


@pytest.mark.corpus
@pytest.mark.parametrize(("split", "rouge1"), [("test1", 23.0), ("test2", 21.7)])
def test_copying_mts_dialog_scores_as_the_field_says(corpora, split, rouge1):
    """Issue 3's baseline: with stemming, on the whole text."""
    from medisum_utils.data.corpora import load_mts_dialog
    from medisum_utils.scoring.rouge import rouge_scores

    visits = load_mts_dialog()[split]
    references = [visit.note[0].text for visit in visits]
    scores = rouge_scores(references, systems.copied(visits), stemmer=True)
    assert 100 * np.mean(scores["rouge1"]) == pytest.approx(rouge1, abs=0.05)
