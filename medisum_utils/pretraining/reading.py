"""Reading tasks in plain text: questions on every fact of a dialogue, and lookups of made-up names.

A document is a list of pieces `(text, weight)`; `weight` scales the loss of the piece's tokens:
answers count fully, random names hardly, questions not at all.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict

from medisum_utils.encounter import Encounter, Fact
from medisum_utils.pretraining.forms import QA, presence
from medisum_utils.synthesis.invented import made_up_word

Piece = tuple[str, float]
INVENTED_WEIGHT = 0.03  # of random names, which cannot be predicted
USER = "<|start_header_id|>user<|end_header_id|>\n\n"
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
ANSWER = "Answer:"

# Questions for all facts of a kind; the answer lists them in record order.
LIST_QUESTIONS = {
    "age": ("How old is the patient?", "What is the patient's age?"),
    "sex": ("Is the patient a man, a woman, a boy or a girl?", "Who is the patient?"),
    "complaint": ("What is the main complaint?", "What brings the patient in?"),
    "laterality": ("Which side is affected?", "What side was named?"),
    "duration": ("How long has it lasted?", "What is the duration?"),
    "onset": ("How did it begin?", "What was the onset?"),
    "severity": ("How severe is it?", "What severity was given?"),
    "quality": ("What does it feel like?", "What is the quality?"),
    "worse": ("What makes it worse?", "Which things aggravate it?"),
    "better": ("What makes it better?", "Which things relieve it?"),
    "symptom": ("Which symptoms are reported?", "Name the symptoms that are present."),
    "denial": ("What is denied?", "Name everything that the patient denies."),
    "condition": ("Which past conditions are known?", "What is the medical history?"),
    "surgery": ("Which operations were there?", "What is the surgical history?"),
    "medicine": ("Which medicines are taken now?", "Name the current medicines."),
    "allergy": ("Which allergies are known?", "What is the patient allergic to?"),
    "family": ("What is the family history?", "Which illnesses run in the family?"),
    "social": ("Which habits were mentioned?", "What is the social history?"),
    "vital": ("Which vital signs were taken?", "What was measured?"),
    "exam": ("What did the examination find?", "Name the findings on examination."),
    "result": ("Which test results came back?", "What did the tests show?"),
    "diagnosis": ("What is the diagnosis?", "Which diagnoses were named?"),
    "status": ("How is it judged?", "What was said of the course of the illness?"),
    "start": ("Which medicines are started?", "What is newly prescribed?"),
    "change": ("Which medicines are changed?", "Which dose is adjusted?"),
    "stop": ("Which medicines are stopped?", "What should no longer be taken?"),
    "continue": ("Which medicines go on unchanged?", "What should be continued?"),
    "order": ("Which tests are ordered?", "What will be done next?"),
    "referral": ("Where is the patient referred?", "Who should see the patient?"),
    "advice": ("What advice was given?", "What should the patient do?"),
    "follow_up": ("When is the next visit?", "When should the patient return?"),
    "precaution": ("What should bring the patient back sooner?", "Name the warning signs."),
}


def _single_questions(rng: random.Random, fact: Fact) -> list[QA]:
    """Questions about one fact that name its subject."""
    if fact.kind in ("dose", "frequency"):
        name, words = _owner(fact)
        rest = fact.text.removeprefix(name).strip()
        ask = rng.choice(words).format(name=name)
        return [(ask, rest)] if rest else []
    if fact.kind in ("symptom", "denial"):
        ask = rng.choice(
            ("Is there {x}?", "Reported or denied: {x}?", "Does the patient have {x}?")
        )
        return [(ask.format(x=fact.text), "reported" if fact.kind == "symptom" else "denied")]
    return []


def _owner(fact: Fact) -> tuple[str, tuple[str, ...]]:
    """The medicine of a dose or frequency, and questions about it."""
    if fact.kind == "dose":
        name = fact.text.removesuffix(fact.value).strip()
        return name, ("What is the dose of {name}?", "How much {name}?")
    name = fact.text.removesuffix(fact.value).strip()
    return name, ("How often is {name} taken?", "How is {name} taken?")


def questions(rng: random.Random, encounter: Encounter) -> list[QA]:
    """Questions on the facts of an encounter and on its topics, in random order."""
    by_kind: dict[str, list[Fact]] = defaultdict(list)
    for fact in encounter.facts:
        by_kind[fact.kind].append(fact)
    pairs = [
        (rng.choice(ask), "; ".join(fact.text for fact in by_kind[kind]))
        for kind, ask in LIST_QUESTIONS.items()
        if by_kind[kind]
    ]
    pairs += presence(rng, encounter)
    for fact in encounter.facts:
        pairs += _single_questions(rng, fact)
    rng.shuffle(pairs)
    return pairs


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


SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
REGISTER_LINES = (
    ("{person} takes {medicine}, {number} {unit} a day.", "medicine", "number"),
    ("Give {number} {unit} of {medicine} to {person}.", "medicine", "number"),
    ("In bed {number} lies {person}, on {medicine}.", "medicine", "number"),
    ("{person} was given {medicine} {number} {unit}.", "medicine", "number"),
    ("For {person}: {medicine}, {number} {unit}.", "medicine", "number"),
)


def _person(rng: random.Random) -> str:
    return f"{made_up_word(rng).capitalize()} {made_up_word(rng).capitalize()}"


def register_document(rng: random.Random, n_lines: int) -> list[Piece]:
    """A register of made-up people, medicines and numbers, with lookups."""
    lines, pairs = [], []
    for _ in range(n_lines):
        slots = {
            "person": _person(rng),
            "medicine": made_up_word(rng) + rng.choice(("in", "ol", "ide", "ate", "")),
            "number": str(rng.randint(1, 10 ** rng.randint(1, 4))),
            "unit": rng.choice(("mg", "mcg", "units", "g")),
        }
        lines.append(rng.choice(REGISTER_LINES)[0].format(**slots))
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
