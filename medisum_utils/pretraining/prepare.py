"""What a pretraining run starts from: the real texts it may read, and a tokenizer trained on them."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from medisum_utils.pretraining.recipe import Recipe
from medisum_utils.pretraining.tokens import train_tokenizer
from medisum_utils.synthesis.encounters import generate

TEXTS = "texts.json.gz"
# Few dialogues and notes, many answers: each clinical text is read this many times as often.
CLINICAL_REPEATS = 5
N_TOKENIZER_ENCOUNTERS = 3000


def prepare(out: Path, recipe: Recipe) -> None:
    """Writes the texts and the tokenizer to `out`, shuffled by the recipe's seed.

    Dialogues and notes are separate texts, of training splits only; see `corpora`.
    """
    # Imported here: a machine that only trains has neither the corpora nor what fetches them.
    from medisum_utils.corpora import (
        iter_medquad_answers,
        iter_training_dialogues,
        iter_training_notes,
    )

    clinical = [*iter_training_dialogues(), *iter_training_notes()]
    texts = clinical * CLINICAL_REPEATS + list(iter_medquad_answers())
    random.Random(recipe.seed).shuffle(texts)
    encounters = list(generate(N_TOKENIZER_ENCOUNTERS, seed=recipe.seed, split="train"))
    generated = [e.dialogue_text for e in encounters] + [e.note_text for e in encounters]
    tokenizer = train_tokenizer(texts[: len(generated)] + generated, recipe.n_vocabulary)
    out.mkdir(parents=True, exist_ok=True)
    with gzip.open(out / TEXTS, "wt", encoding="utf-8") as file:
        json.dump(texts, file)
    tokenizer.save_pretrained(out / "tokenizer")


def load_prepared(out: Path) -> tuple[list[str], PreTrainedTokenizerFast]:
    """Reads what `prepare` wrote.

    Raises: FileNotFoundError where it has not run.
    """
    if not (out / TEXTS).exists():
        raise FileNotFoundError(f"{out / TEXTS} is missing; `pretrain` without --prepared makes it")
    with gzip.open(out / TEXTS, "rt", encoding="utf-8") as file:
        texts = json.load(file)
    return texts, AutoTokenizer.from_pretrained(out / "tokenizer")
