"""Restoring: the model gets a noisy text and must write the original.

Writing a note also requires turning words from a disordered source into whole sentences. This can
be learned from any text (denoising, as in BART): words are dropped, numbers spelled out, sentences
put into the first person, broken into lines and mixed with small talk; the answer is the original.
Only MedQuAD answers are used, never notes: a note together with its own words in disorder would be
too similar to a note together with its dialogue.

Source: Lewis et al. 2020, BART, aclanthology.org/2020.acl-main.703.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from medisum_utils.pretraining.forms import QA, load_tasks
from medisum_utils.pretraining.reading import SENTENCE_END, Piece
from medisum_utils.pretraining.visits import task_document
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.speech import number_words, phrasings

TELLER = re.compile(r"\bthe patient(?: is)?\b", re.I)
NUMBER = re.compile(r"(?<![\d.,/])\d{1,4}(?![\d,/]|\.\d)")
SPEAKERS = (("Doctor", "Patient"), ("A", "B"), ("Patient", "Patient"), ("", ""))
BREAK = re.compile(r"(?<=[.,;:])\s+|\s+(?=(?:and|but|which|who)\s)")


def restore_document(rng: random.Random, draw_text: Callable[[random.Random], str]) -> list[Piece]:
    """A noisy passage of a drawn text, and the original passage."""
    talk = phrasings(load_casebook().common["acks"], unseen=False)
    while True:
        task = restoring_task(rng, draw_text(rng), talk)
        if task is not None:
            return task_document(rng, task[0], [task[1]], weight=0.0)


def restoring_task(rng: random.Random, text: str, talk: Sequence[str]) -> tuple[str, QA] | None:
    """A noisy passage with its question and answer, from up to six neighbouring sentences.

    `talk` are remarks to mix in. Returns None if no sentence has a usable length.
    """
    sentences = [s for s in SENTENCE_END.split(" ".join(text.split())) if 2 <= len(s.split()) <= 60]
    if not sentences:
        return None
    start, n = rng.randrange(len(sentences)), rng.choice((1, 1, 2, 2, 3, 4, 6))
    clean = sentences[start : start + n]
    noisy = [_noisy(rng, sentence) for sentence in clean]
    return _as_lines(rng, noisy, talk), (rng.choice(load_tasks()["restore_asks"]), " ".join(clean))


def _noisy(rng: random.Random, sentence: str) -> str:
    """A sentence with words dropped and, at random, spelled-out numbers and the first person."""
    first_person, light_words = (load_tasks()[key] for key in ("first_person", "light_words"))
    if rng.random() < 0.5:
        sentence = NUMBER.sub(lambda match: number_words(match[0]).replace("-", " "), sentence)
    if rng.random() < 0.5:
        sentence = TELLER.sub("I am" if rng.random() < 0.5 else "I", sentence)
        words = [first_person.get(word.lower(), word) for word in sentence.split(" ")]
    else:
        words = sentence.split(" ")
    light, heavy = rng.choice(((0.1, 0.0), (0.4, 0.05), (0.8, 0.1), (0.9, 0.2)))
    kept = [w for w in words if rng.random() >= (light if w.lower() in light_words else heavy)]
    noisy_sentence = " ".join(kept or words)
    return noisy_sentence.lower() if rng.random() < 0.3 else noisy_sentence


def _as_lines(rng: random.Random, noisy: Sequence[str], talk: Sequence[str]) -> str:
    """The noisy sentences as a passage, or as lines of speakers with remarks in between."""
    if rng.random() < 0.3:
        return " ".join(noisy)
    speakers, p_break, p_talk = rng.choice(SPEAKERS), rng.choice((0.2, 0.6)), rng.choice((0.0, 0.4))
    pieces = [""]
    for sentence in noisy:
        for piece in BREAK.split(sentence):
            if rng.random() < p_break or not pieces[-1]:
                pieces.append(piece)
            else:
                pieces[-1] += f" {piece}"
        pieces += [rng.choice(talk)] if rng.random() < p_talk else []
    lines = []
    for number, piece in enumerate(piece for piece in pieces if piece):
        speaker = speakers[number % 2]
        lines.append(f"{speaker}: {piece}" if speaker else piece)
    return "\n".join(lines)
