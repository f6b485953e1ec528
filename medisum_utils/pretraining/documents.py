"""Blocks of training rows: documents of several kinds, tokenized and packed.

A block is made from its number alone, so a run that resumes goes on with the very next block, and
any number of workers gives the same stream.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from medisum_utils.encounter import Encounter
from medisum_utils.pretraining import reading
from medisum_utils.pretraining.reading import Piece
from medisum_utils.pretraining.recipe import KINDS
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.cases import CaseSampler
from medisum_utils.synthesis.encounters import GrammarClash, generate_one
from medisum_utils.synthesis.invented import Inventor
from medisum_utils.synthesis.rewording import Rewording

# Weights are stored as bytes; 100 is a full weight.
FULL = 100
# Shares of words that a reworded dialogue's phrasings may lose or have replaced.
REWORDED_WORDS = (0.0, 0.1, 0.2)


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
    """Makes blocks of a mixture: `mixture` maps kinds of `KINDS` to shares of documents.

    Of the dialogues the share `p_reworded` is worded anew, see `Rewording` for `p_frame`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        texts: list[str],
        *,
        n_rows: int,
        length: int,
        mixture: dict[str, float],
        seed: int,
        p_reworded: float = 0.0,
        p_frame: float = 0.0,
    ) -> None:
        unknown = set(mixture) - set(KINDS)
        if unknown:
            raise ValueError(f"expected kinds of {KINDS}, got {sorted(unknown)}")
        self.tokenizer, self.texts = tokenizer, texts
        self.n_rows, self.length, self.mixture, self.seed = n_rows, length, mixture, seed
        self.p_reworded, self.p_frame = p_reworded, p_frame
        book = load_casebook()
        self.sampler = CaseSampler(book)
        self.inventor = Inventor(book, common_words(texts))

    def document(self, rng: random.Random, kind: str) -> list[Piece]:
        """One document of a kind, as pieces of text with their weights."""
        if kind == "register":
            return reading.register_document(rng, rng.randint(1, max(1, self.length // 90)))
        if kind in ("text", "cloze"):
            text = self._passage(rng)
            return [(text + "\n", 1.0)] if kind == "text" else reading.cloze_document(rng, text)
        invented, forms = kind.startswith("invented"), kind.endswith("form")
        encounter = self._invented(rng) if invented else self._encounter(rng, self.sampler)
        if kind.endswith("note"):
            return [(encounter.note_text + "\n", 1.0)]
        return reading.dialogue_document(rng, encounter, invented=invented, forms=forms)

    def _encounter(self, rng: random.Random, sampler: CaseSampler) -> Encounter:
        number, rewording = rng.randrange(2**40), None
        if rng.random() < self.p_reworded:
            rewording = Rewording(self.inventor.words, rng.choice(REWORDED_WORDS), self.p_frame)
        return generate_one(
            number, seed=self.seed, split="train", sampler=sampler, rewording=rewording
        )

    def _invented(self, rng: random.Random) -> Encounter:
        while True:
            sampler = self.inventor.sampler(rng)
            try:
                return self._encounter(rng, sampler)
            except GrammarClash:
                continue  # random words can spell a piece of the grammar; draw others

    def _passage(self, rng: random.Random) -> str:
        words = rng.choice(self.texts).split(" ")
        n = max(40, self.length // 2)
        start = rng.randrange(max(1, len(words) - n))
        return " ".join(words[start : start + n])

    def block(self, number: int) -> Block:
        """Makes block `number`."""
        rng = random.Random(f"{self.seed}/{self.length}/{number}")
        kinds, shares = zip(*self.mixture.items(), strict=True)
        rows: list[list] = [[] for _ in range(self.n_rows)]
        used = np.zeros(self.n_rows, dtype=int)
        misses = 0
        # Best fit: the fullest row that still has room. Documents that fit nowhere are dropped,
        # and a few of them mean that the block is full.
        while misses < 6:
            kind = rng.choices(kinds, shares)[0]
            tokens = self._encode(self.document(rng, kind))
            if len(tokens[0]) > self.length:
                tokens = tuple(part[: self.length] for part in tokens)
            room = np.where(used + len(tokens[0]) <= self.length, used, -1)
            row = int(room.argmax())
            if room[row] < 0:
                misses += 1
                continue
            rows[row].append(tokens)
            used[row] += len(tokens[0])
        return self._pack(rows)

    def _encode(self, pieces: list[Piece]) -> tuple[list[int], list[int], list[int]]:
        encoded = self.tokenizer._tokenizer.encode_batch(
            [text for text, _ in pieces], add_special_tokens=False
        )
        ids, weights, spans = [self.tokenizer.bos_token_id], [0], [0]
        for number, (piece, (_, weight)) in enumerate(zip(encoded, pieces, strict=True), start=1):
            ids += piece.ids
            weights += [round(weight * FULL)] * len(piece.ids)
            is_answer = number > 1 and pieces[number - 2][0].endswith(
                (reading.ANSWER, reading.ASSISTANT)
            )
            spans += [number if is_answer else 0] * len(piece.ids)
        return ids + [self.tokenizer.eos_token_id], weights + [FULL // 10], spans + [0]

    def _pack(self, rows: list[list]) -> Block:
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
                span = np.asarray(span, dtype=np.int32)
                spans[row, start:end] = np.where(span > 0, span + n_spans, 0)
                n_spans, start = n_spans + int(span.max()), end
        return Block(ids, weights, spans)

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, number: int) -> Block:
        return self.block(number)


def common_words(texts: list[str], n: int = 20_000) -> list[str]:
    """Plain lower-case words of the texts, to mix with made-up ones."""
    words = set()
    for text in texts:
        words.update(w for w in text.split() if w.isascii() and w.isalpha() and w.islower())
        if len(words) >= n:
            break
    return sorted(words)


def iterate(documents: Documents, start: int) -> Iterator[Block]:
    """Blocks from number `start` on, in this process."""
    while True:
        yield documents.block(start)
        start += 1
