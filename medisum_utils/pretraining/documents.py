"""Blocks of training rows: documents of several kinds, tokenized and packed.

A block depends only on its number, so a resumed run continues with the next block, and any number
of workers produces the same stream.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from transformers import PreTrainedTokenizerFast

from medisum_utils.encounter import Encounter
from medisum_utils.pretraining import reading
from medisum_utils.pretraining.reading import Piece
from medisum_utils.pretraining.recipe import TASKS, Stage
from medisum_utils.pretraining.restoring import restore_document
from medisum_utils.pretraining.tokens import CachedEncoder
from medisum_utils.pretraining.visits import visit_document
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.cases import CaseSampler
from medisum_utils.synthesis.encounters import GrammarClash, generate_one
from medisum_utils.synthesis.invented import Inventor
from medisum_utils.synthesis.rewording import Rewording

# Weights are stored as bytes; 100 is a full weight.
FULL = 100
# Shares of words that are dropped or replaced in the phrasings of a reworded dialogue.
REWORDED_WORDS = (0.0, 0.1, 0.2)
# How often each kind of real text is used. There are few dialogues and notes: used more often, they
# would be memorised, and fine-tuning on the same encounters would reward memory instead of reading.
TEXT_SHARES = {"dialogues": 0.03, "notes": 0.03, "answers": 0.94}
# Loss weights of the dialogues themselves; random names cannot be predicted.
DIALOGUE_WEIGHTS = {"casebook": 0.15, "blended": 0.1, "invented": reading.INVENTED_WEIGHT}
LINE_START, LINE_START_WEIGHT = 3, 2 * FULL  # tokens after a line break in an answer
PLAIN_RUN = re.compile(r"(?<![^ ])[a-z]+(?: [a-z]+){5}(?![^ ,.;])")
NEWLINE = "\u010a"  # the byte-level alphabet's line break
# Token ids, weights in hundredths and span numbers of one document.
Encoded = tuple[list[int], list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of packed tokens.

    ids (rows, length) int16; weights (rows, length) uint8 in hundredths; spans (rows, length)
    int32, the number of the answer that a token belongs to, 0 outside of answers.
    """

    ids: np.ndarray
    weights: np.ndarray
    spans: np.ndarray


class Documents:
    """Makes blocks of a stage's mixture of documents, without its copy tasks."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        texts: Mapping[str, Sequence[str]],
        stage: Stage,
        *,
        seed: int,
    ) -> None:
        self.tokenizer, self.texts, self.stage, self.seed = tokenizer, texts, stage, seed
        self.n_rows, self.length = stage.n_rows - stage.n_copy_rows, stage.length
        self.encoder = CachedEncoder(tokenizer)
        vocabulary = tokenizer.get_vocab().items()
        self.breaks = {number for token, number in vocabulary if token.endswith(NEWLINE)}
        book = load_casebook()
        words = common_words(chain(*reversed(texts.values())))
        self.inventor = Inventor(book, words, plain_runs(texts.get("answers", ())))
        self.sampler = CaseSampler(book)

    def document(self, rng: random.Random, kind: str) -> list[Piece]:
        """One document of a kind, as pieces of text with their weights."""
        if kind == "register":
            return reading.register_document(rng, rng.randint(1, max(1, self.length // 90)))
        if kind == "text":
            return [(self._passage(rng) + "\n", 1.0)]
        if kind == "cloze":
            return reading.cloze_document(rng, self._passage(rng))
        if kind == "restore":
            return restore_document(rng, lambda rng: self._text(rng, ("answers",)))
        source, task = kind.split("_")
        encounter = self._encounter(rng, source)
        return visit_document(rng, encounter, task, weight=DIALOGUE_WEIGHTS[source])

    def _encounter(self, rng: random.Random, source: str) -> Encounter:
        rewording = None
        if rng.random() < self.stage.p_reworded:
            share = rng.choice(REWORDED_WORDS)
            rewording = Rewording(self.inventor.words, share, self.stage.p_frame)
        while True:
            if source == "casebook":
                sampler = self.sampler
            else:
                draw = self.inventor.blended if source == "blended" else self.inventor.sampler
                sampler = draw(rng)
            number, options = rng.randrange(2**40), {"sampler": sampler, "rewording": rewording}
            try:
                return generate_one(number, seed=self.seed, split="train", **options)
            except GrammarClash:
                continue  # random words can clash with the note's grammar; draw again

    def _text(self, rng: random.Random, names: Iterable[str]) -> str:
        available = [name for name in names if self.texts.get(name)]
        (name,) = rng.choices(available, [TEXT_SHARES[name] for name in available])
        return rng.choice(self.texts[name])

    def _passage(self, rng: random.Random) -> str:
        words = self._text(rng, TEXT_SHARES).split(" ")
        n = max(40, self.length // 2)
        start = rng.randrange(max(1, len(words) - n))
        return " ".join(words[start : start + n])

    def block(self, number: int) -> Block:
        """Makes block `number`.

        A row is filled with documents until one does not fit. That one begins the next row; the
        remaining space is filled with short documents, then with running text.
        """
        rng = random.Random(f"{self.seed}/{self.length}/{number}")
        mixture = self.stage.mixture
        short = {kind: share for kind, share in mixture.items() if not kind.endswith(TASKS)}
        rows: list[list[Encoded]] = []
        waiting: Encoded | None = None
        while len(rows) < self.n_rows:
            row = [_cut(waiting or self._draw(rng, mixture), self.length)]
            waiting = self._fill(rng, row, mixture)
            if "text" in short:
                self._fill(rng, row, short)
                if room := self._room(row):
                    row.append(_cut(self._encode(self.document(rng, "text")), room))
            rows.append(row)
        return self._pack(rows)

    def _draw(self, rng: random.Random, mixture: Mapping[str, float]) -> Encoded:
        kind = rng.choices(list(mixture), list(mixture.values()))[0]
        return self._encode(self.document(rng, kind))

    def _room(self, row: list[Encoded]) -> int:
        return self.length - sum(len(ids) for ids, *_ in row)

    def _fill(
        self, rng: random.Random, row: list[Encoded], mixture: Mapping[str, float]
    ) -> Encoded:
        """Adds documents to a row until one does not fit, and returns that one."""
        while True:
            document = self._draw(rng, mixture)
            if len(document[0]) > self._room(row):
                return document
            row.append(document)

    def _encode(self, pieces: list[Piece]) -> Encoded:
        ids, weights, spans = [self.tokenizer.bos_token_id], [0], [0]
        previous = ""
        for number, (text, weight) in enumerate(pieces, start=1):
            tokens = self.encoder.encode(text)
            ids += tokens
            if previous.endswith((reading.ANSWER, reading.ASSISTANT)):
                weights += self._answer_weights(tokens)
                spans += [number] * len(tokens)
            else:
                weights += [round(weight * FULL)] * len(tokens)
                spans += [0] * len(tokens)
            previous = text
        return [*ids, self.tokenizer.eos_token_id], [*weights, FULL // 10], [*spans, 0]

    def _answer_weights(self, tokens: Sequence[int]) -> list[int]:
        """Full weights, and more at the start of a line, which decides its topic."""
        weights, since_break = [], LINE_START
        for token in tokens:
            weights.append(LINE_START_WEIGHT if since_break < LINE_START else FULL)
            since_break = 0 if token in self.breaks else since_break + 1
        return weights

    def _pack(self, rows: list[list[Encoded]]) -> Block:
        shape = (self.n_rows, self.length)
        ids = np.full(shape, self.tokenizer.pad_token_id, dtype=np.int16)
        weights = np.zeros(shape, dtype=np.uint8)
        spans = np.zeros(shape, dtype=np.int32)
        n_spans = 0
        for row, documents in enumerate(rows):
            start = 0
            for tokens, weight, span in documents:
                end = start + len(tokens)
                ids[row, start:end], weights[row, start:end] = tokens, weight
                spans[row, start:end] = [number and number + n_spans for number in span]
                n_spans, start = n_spans + max(span), end
        return Block(ids, weights, spans)

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, number: int) -> Block:
        return self.block(number)


def _cut(encoded: Encoded, n: int) -> Encoded:
    """The first `n` tokens of a document."""
    return tuple(part[:n] for part in encoded)


def common_words(texts: Iterable[str], n: int = 20_000) -> list[str]:
    """Plain lower-case words of the texts, to mix with made-up words."""
    words: set[str] = set()
    for text in texts:
        words.update(w for w in text.split() if w.isascii() and w.isalpha() and w.islower())
        if len(words) >= n:
            break
    return sorted(words)


def plain_runs(texts: Iterable[str], n: int = 40_000) -> list[str]:
    """Runs of six plain lower-case words, separated by single spaces, from the texts."""
    return list(islice((run for text in texts for run in PLAIN_RUN.findall(text)), n))
