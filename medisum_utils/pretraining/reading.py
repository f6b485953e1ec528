"""Reading tasks in plain text: questions on every fact of a dialogue, and lookups of made-up names.

A document is a list of pieces `(text, weight)`; `weight` scales the loss of the piece's tokens:
answers count fully, random names hardly, questions not at all.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.pretraining.forms import QA, load_tasks, presence
from medisum_utils.synthesis.invented import made_up_word

Piece = tuple[str, float]
INVENTED_WEIGHT = 0.03  # of random names, which cannot be predicted
USER = "<|start_header_id|>user<|end_header_id|>\n\n"
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
ANSWER = "Answer:"
SENTENCE_END = re.compile(r"(?<=[.?!])\s+")


def questions(rng: random.Random, encounter: Encounter) -> list[QA]:
    """Questions on the facts of an encounter and on its topics, in random order."""
    by_kind: dict[str, list[Fact]] = defaultdict(list)
    for fact in encounter.facts:
        by_kind[fact.kind].append(fact)
    pairs = [
        (rng.choice(asks), "; ".join(fact.text for fact in by_kind[kind]))
        for kind, asks in load_tasks()["questions"].items()
        if by_kind[kind]
    ]
    pairs += presence(rng, encounter)
    about_one = load_tasks()["about_one"]
    for fact in encounter.facts:
        if fact.kind in about_one:
            pairs.append(_question_about(rng, fact, about_one[fact.kind]))
    rng.shuffle(pairs)
    return pairs


def _question_about(rng: random.Random, fact: Fact, asks: list[str]) -> QA:
    """A question about one fact that names its subject."""
    if fact.kind in ("symptom", "denial"):
        subject, answer = fact.text, "reported" if fact.kind == "symptom" else "denied"
    else:  # a dose or a frequency, after the name of its medicine
        subject = fact.text.removesuffix(fact.value).strip()
        answer = fact.text.removeprefix(subject).strip()
    return rng.choice(asks).format(x=subject), answer


def as_document(passage: str, pairs: list[QA], *, weight: float, chat: bool) -> list[Piece]:
    """A passage with questions and answers, as plain lines or as a chat in the Llama-3 template."""
    if not chat:
        pieces = [(f"{passage}\n\n", weight)]
        for question, answer in pairs:
            pieces += [(f"Question: {question}\n{ANSWER}", 0.0), (f" {answer}\n", 1.0)]
        return pieces
    pieces = [(USER, 0.0), (f"{passage}\n\n", weight)]
    for number, (question, answer) in enumerate(pairs):
        pieces.append((f"{USER if number else ''}{question}<|eot_id|>{ASSISTANT}", 0.0))
        pieces.append((f"{answer}<|eot_id|>", 1.0))
    return pieces


def register_document(rng: random.Random, n_lines: int) -> list[Piece]:
    """A register of made-up people, medicines and numbers, with lookups."""
    lines, pairs = [], []
    for _ in range(n_lines):
        slots = {
            "person": f"{made_up_word(rng).capitalize()} {made_up_word(rng).capitalize()}",
            "medicine": made_up_word(rng) + rng.choice(("in", "ol", "ide", "ate", "")),
            "number": str(rng.randint(1, 10 ** rng.randint(1, 4))),
            "unit": rng.choice(("mg", "mcg", "units", "g")),
        }
        lines.append(rng.choice(load_tasks()["register_lines"]).format(**slots))
        pairs.append((f"Which medicine goes with {slots['person']}?", slots["medicine"]))
        pairs.append((f"Which number goes with {slots['medicine']}?", slots["number"]))
        pairs.append((f"Who is on {slots['medicine']}?", slots["person"]))
    rng.shuffle(pairs)
    return as_document(" ".join(lines), pairs[:12], weight=INVENTED_WEIGHT, chat=rng.random() < 0.5)


def _sentence_questions(rng: random.Random, text: str) -> list[QA]:
    """Questions for whole sentences, identified by a long word that only they contain."""
    sentences = [s.strip() for s in SENTENCE_END.split(text)]
    usable = [s for s in sentences if 4 <= len(s.split()) <= 30]
    pairs = []
    for sentence in rng.sample(usable, min(len(usable), 3)):
        word = max(sentence.split(), key=len).strip(".,;:?!()\"'")
        if len(word) > 5 and text.count(word) == 1:
            pairs.append((f'Which sentence has the word "{word}"?', sentence))
    return pairs


def cloze_document(rng: random.Random, text: str) -> list[Piece]:
    """A passage of running text, with questions for spans, identified by the words before them."""
    words = text.split()
    pairs = []
    for _ in range(6):
        n = rng.randint(2, 8)
        if len(words) < n + 4:
            break
        start = rng.randint(2, len(words) - n)
        context = " ".join(words[start - 2 : start])
        if " ".join(words).count(context) == 1:
            pairs.append((f'What comes after "{context}"?', " ".join(words[start : start + n])))
    pairs += _sentence_questions(rng, text)
    rng.shuffle(pairs)
    if not pairs:
        return [(text + "\n", 1.0)]
    return as_document(text, pairs, weight=1.0, chat=rng.random() < 0.5)
