"""Prepares a pretraining run: the real texts that it may use, and a tokenizer."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from medisum_utils.pretraining.documents import TEXT_SHARES
from medisum_utils.pretraining.recipe import Recipe
from medisum_utils.pretraining.record import texts_sha256
from medisum_utils.pretraining.tokens import train_tokenizer
from medisum_utils.synthesis.encounters import generate

TEXTS, CORPUS, TOKENIZER = "texts.json.gz", "corpus.json", "tokenizer"
N_TOKENIZER_ENCOUNTERS = 3000
N_TOKENIZER_ANSWERS = 4000


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts by kind (`TEXT_SHARES`), the tokenizer, and the counts and hash of the texts."""

    texts: dict[str, list[str]]
    tokenizer: PreTrainedTokenizerFast
    corpus: dict[str, Any]


def prepare(out: Path, recipe: Recipe, start: Path | None = None) -> None:
    """Writes the texts and the tokenizer to `out`.

    The tokenizer comes from the model in `start`, or is trained on part of the texts.

    Raises: see `corpora_fetch` for a corpus that is missing or differs.
    """
    texts, corpus = real_texts()
    if start is not None:
        tokenizer = AutoTokenizer.from_pretrained(start)
    else:
        encounters = list(generate(N_TOKENIZER_ENCOUNTERS, seed=recipe.seed, split="train"))
        sample = [e.dialogue_text for e in encounters] + [e.note_text for e in encounters]
        sample += texts["dialogues"] + texts["notes"]
        sample += random.Random(recipe.seed).sample(texts["answers"], N_TOKENIZER_ANSWERS)
        tokenizer = train_tokenizer(sample, recipe.n_vocabulary)
    write_prepared(out, Prepared(texts, tokenizer, corpus))


def real_texts() -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The real texts by kind, and their counts and hash.

    Dialogues and notes are separate texts, from training splits only; see `corpora`.
    """
    # Imported here: a machine that only trains has neither the corpora nor the code to fetch them.
    from medisum_utils.data.corpora import iter_medquad_answers, training_encounters

    encounters = training_encounters()
    texts = {
        "dialogues": [encounter.dialogue_text for encounter in encounters],
        "notes": [encounter.note_text for encounter in encounters],
        "answers": list(iter_medquad_answers()),
    }
    corpus = {
        "n_training_dialogues": len(texts["dialogues"]),
        "n_training_notes": len(texts["notes"]),
        "n_medquad_answers": len(texts["answers"]),
        "shares": dict(TEXT_SHARES),
        "texts_sha256": texts_sha256(texts),
        "n_tokenizer_encounters": N_TOKENIZER_ENCOUNTERS,
        "n_tokenizer_answers": N_TOKENIZER_ANSWERS,
    }
    return texts, corpus


def write_prepared(out: Path, prepared: Prepared) -> None:
    """Writes the files that `load_prepared` reads, texts last."""
    out.mkdir(parents=True, exist_ok=True)
    prepared.tokenizer.save_pretrained(out / TOKENIZER)
    (out / CORPUS).write_text(json.dumps(prepared.corpus, indent=2), encoding="utf-8")
    with gzip.open(out / TEXTS, "wt", encoding="utf-8") as file:
        json.dump(prepared.texts, file)


def load_prepared(out: Path) -> Prepared:
    """Reads the files that `prepare` wrote.

    Raises: FileNotFoundError if `prepare` has not run.
    """
    for name in (TEXTS, CORPUS, TOKENIZER):
        if not (out / name).exists():
            raise FileNotFoundError(
                f"{out / name} is missing; `pretrain` without --prepared makes it"
            )
    with gzip.open(out / TEXTS, "rt", encoding="utf-8") as file:
        texts = json.load(file)
    corpus = json.loads((out / CORPUS).read_text(encoding="utf-8"))
    return Prepared(texts, AutoTokenizer.from_pretrained(out / TOKENIZER), corpus)
