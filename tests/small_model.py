"""A random small Llama with a tokenizer of its own, and made-up encounters, for the tests."""

from __future__ import annotations

import random
from pathlib import Path

from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.modelling.template import BEGIN, CONTROL_TOKENS, END

INSTRUCTION = "Write a SOAP note of this visit."

COMPLAINTS = ("a sore left knee", "a dry cough", "itchy eyes", "a stiff neck", "a burning throat")
MEDICINES = ("zelvorin", "amtaxil", "corbefen", "lodripane")

# Llama-3's pattern, as in tokenizer.json of the real model and in llama-models' tokenizer.py.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def encounters(n: int, seed: int = 1, split: str = "train") -> list[Encounter]:
    """Made-up visits, all different in complaint, duration and dose."""
    rng = random.Random(seed)
    return [_encounter(rng, f"made-up-{split}-{i}", split, i % 4) for i in range(n)]


def _encounter(rng: random.Random, name: str, split: str, n_extra: int) -> Encounter:
    complaint, medicine = rng.choice(COMPLAINTS), rng.choice(MEDICINES)
    days, dose = rng.randint(2, 30), rng.randint(1, 40) * 5
    small_talk = [Turn("patient", f"The bus was {m} minutes late.") for m in range(2, 2 + n_extra)]
    turns = (
        Turn("doctor", "Hello, what brings you in today?"),
        *small_talk,
        Turn("patient", f"I have had {complaint} for {days} days."),
        Turn("doctor", f"Take {medicine}, {dose} milligrams at night."),
    )
    note = (
        NoteSection("Subjective", "subjective", f"Has {complaint} for {days} days."),
        NoteSection("Objective", "objective", "Not examined."),
        NoteSection("Assessment", "assessment", f"{complaint.capitalize()}."),
        NoteSection("Plan", "plan", f"{medicine.capitalize()} {dose} mg at night."),
    )
    return Encounter(name, "made-up", split, turns, note)


def make_tokenizer(folder: Path, vocab_size: int = 512):
    """A byte-level BPE of Llama-3's kind, trained on the made-up visits and saved in `folder`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made_up = encounters(200)
    backend.train_from_iterator([f"{e.dialogue_text}\n{e.note_text}" for e in made_up], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BEGIN, eos_token=END, pad_token=END
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def leave_splits(processed: Path, trained_on: dict[str, int], tested_on: str = "") -> None:
    """What 01 says about its splits: the sources of training and, if it has one, of a test."""
    from medisum_utils.runs import SPLIT_MANIFEST, write_json

    splits = {"train": {"n": sum(trained_on.values()), "sources": trained_on}}
    if tested_on:
        splits["test"] = {"n": 1, "sources": {tested_on: 1}}
    tests = [name for name in splits if name != "train"]
    content = {"source": " and ".join(trained_on), "tests": tests, "splits": splits}
    write_json(processed / SPLIT_MANIFEST, content)


def record_adapter(folder: Path, base: Path, max_new_tokens: int = 24, **choices) -> None:
    """What 03 and 04 leave beside an adapter: what it was trained with, how it was scored."""
    from medisum_utils.modelling import training_record
    from medisum_utils.modelling.decoding import DECODING_FILE, Decoding, write_decoding
    from medisum_utils.modelling.model import base_digest
    from medisum_utils.runs.files import sha256_file, write_json

    record = {
        "base": str(base),
        "base_sha256": base_digest(str(base)),
        "prompt_sha256": sha256_file(folder / "prompt.json"),
        "data": {},
        "settings": {},
        "versions": {},
    }
    write_json(folder / "training.json", training_record.with_adapter(record, folder))
    write_decoding(folder / DECODING_FILE, Decoding(max_new_tokens, **choices), folder)
    (folder / "train_log.jsonl").write_text("")
    record_run(folder)


def record_run(adapter: Path) -> None:
    """The manifest of a run whose 03 and 04 left the files beside an adapter as they are now."""
    from medisum_utils.modelling.checkpoints import ADAPTER_AND_BESIDE
    from medisum_utils.modelling.decoding import DECODING_FILE
    from medisum_utils.runs.files import sha256_file, write_json

    steps = {"03_qlora_train": ADAPTER_AND_BESIDE, "04_eval": (DECODING_FILE,)}
    entries = {
        step: {"outputs": {f"models/{adapter.name}/{n}": sha256_file(adapter / n) for n in names}}
        for step, names in steps.items()
    }
    reports = adapter.parent.parent / "reports" / adapter.name
    write_json(reports / "run.json", {"profile": adapter.name, "steps": entries})


def make_base(folder: Path, seed: int = 0, tokenizer_maker=make_tokenizer, **shape: int):
    """A random Llama of the recipe's architecture, saved with its tokenizer in `folder`.

    Its sizes are multiples of 64, NF4's block; `shape` overrides them.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_maker(folder)
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**sizes, **shape},
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder
