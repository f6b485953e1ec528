"""Short generated dialogues about one topic, each with a note of one section, in free wording.

MTS-Dialog has 1,181 such pairs, too few for a small model to learn from them what to write down;
these teach it that before it sees the first real one. A dialogue is those turns of a generated
visit that say the facts of one topic, or of two neighbouring ones, with the questions before them.
The note says these facts, and what else of its section was said there, in wordings drawn from
`one_section.yaml`. What is held out of training stays out of these, too.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from medisum_utils.encounter import Encounter, Fact, NoteSection
from medisum_utils.pretraining.forms import bare, with_doses
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.casebook import load_casebook
from medisum_utils.synthesis.cases import CaseSampler
from medisum_utils.synthesis.encounters import generate_one
from medisum_utils.synthesis.soap import HEADERS, NONE_LINES

WORDINGS = Path(__file__).with_suffix(".yaml")
# The topics in the order of a visit; neighbours of one section may share a note.
TOPICS = {
    "illness": ("age", "sex", "laterality", "complaint", "duration", "onset", "severity")
    + ("quality", "worse", "better"),
    "symptoms": ("symptom", "denial"),
    "conditions": ("condition",),
    "surgeries": ("surgery",),
    "medicines": ("medicine",),
    "allergies": ("allergy",),
    "family": ("family",),
    "social": ("social",),
    "vitals": ("vital",),
    "exam": ("exam",),
    "results": ("result",),
    "diagnosis": ("diagnosis", "status"),
    "prescriptions": ("start", "change", "stop", "continue"),
    "orders": ("order", "referral"),
    "instructions": ("advice", "follow_up", "precaution"),
}
DENIED = {
    name: topic for topic, (_, name) in NONE_LINES.items()
}  # "known allergies" -> "allergies"
LEANING = ("dose", "frequency")  # facts that stand behind the medicine that they tell of
SHARE_EXCHANGED = 0.6  # of the visits under other names, so that names are read
P_TWO_TOPICS, P_GREETING, P_REPLY = 0.3, 0.1, 0.5
MALE = ("man", "boy")
SPOKEN_TO = re.compile(r"\b(?:my|your)\b")  # a note speaks of the patient, not to him


@lru_cache(maxsize=1)
def load_wordings() -> dict:
    """Reads one_section.yaml once."""
    return yaml.load(WORDINGS.read_text(encoding="utf-8"), yaml.CSafeLoader)


def one_section_encounters(n: int, *, seed: int) -> list[Encounter]:
    """The first `n` short dialogues of a seed, about nine to a visit.

    Raises: ValueError for a negative `n`.
    """
    if n < 0:
        raise ValueError(f"expected a number of dialogues of 0 or more, got {n}")
    sampler = CaseSampler(load_casebook())
    found: list[Encounter] = []
    for number in itertools.count():
        if len(found) >= n:
            return found[:n]
        visit = generate_one(number, seed=seed, split="train", sampler=sampler)
        (visit,) = with_exchanged_names([visit], SHARE_EXCHANGED, seed=seed + number)
        found += _sections(random.Random(f"{seed}/one section/{number}"), visit)


def _sections(rng: random.Random, visit: Encounter) -> Iterator[Encounter]:
    """The topics of a visit, alone or with the next one, each with the turns that say it.

    What else these turns say belongs to the note, too, as far as it is of the same section: the one
    that most of their facts are of. So a dialogue has one right note.
    """
    by_topic: dict[str, list[Fact]] = {}
    for fact, topic in _with_topics(visit.facts):
        by_topic.setdefault(topic, []).append(fact)
    topics = [topic for topic in TOPICS if topic in by_topic]
    seen: set[tuple[int, ...]] = set()
    while topics:
        topic, *topics = topics
        facts = by_topic[topic]
        if (
            topics
            and rng.random() < P_TWO_TOPICS
            and by_topic[topics[0]][0].section == facts[0].section
        ):
            facts = facts + by_topic[topics.pop(0)]
        turns = _turns(rng, visit, facts)
        section, note = _note(rng, visit.facts, turns)
        if note and turns not in seen:
            seen.add(turns)
            yield Encounter(
                id=f"{visit.id}-{topic}",
                source=visit.source,
                split="train",
                turns=tuple(visit.turns[i] for i in turns),
                note=(NoteSection(HEADERS[section], section, note),),
            )


def _note(rng: random.Random, facts: Sequence[Fact], turns: Sequence[int]) -> tuple[str, str]:
    """The section that most facts of the turns are of, and all that it says of them."""
    said: list[tuple[Fact, str]] = []
    owner_said = False
    for fact, topic in _with_topics(facts):
        is_said = bool(fact.turns) and set(fact.turns) <= set(turns)
        if fact.kind in LEANING:
            is_said = is_said and owner_said
        else:
            owner_said = is_said
        if is_said:
            said.append((fact, topic))
    if not said:
        return "", ""
    section = Counter(fact.section for fact, _ in said).most_common(1)[0][0]
    sex = next((fact.text for fact, _ in said if fact.kind == "sex"), "")
    by_topic: dict[str, list[Fact]] = {}
    for fact, topic in said:
        if fact.section == section:
            by_topic.setdefault(topic, []).append(fact)
    topics = [topic for topic in TOPICS if topic in by_topic]
    texts = [_wording(rng, topic, by_topic[topic], sex, alone=len(topics) == 1) for topic in topics]
    return section, " ".join(text for text in texts if text)


def _with_topics(facts: Sequence[Fact]) -> Iterator[tuple[Fact, str]]:
    topics = {kind: topic for topic, kinds in TOPICS.items() for kind in kinds}
    topic = ""
    for fact in facts:
        if fact.kind == "denial" and fact.text in DENIED:
            topic = DENIED[fact.text]
        elif fact.kind not in LEANING:
            topic = topics[fact.kind]
        yield fact, topic


def _turns(rng: random.Random, visit: Encounter, facts: Sequence[Fact]) -> tuple[int, ...]:
    """The turns that say the facts and those before them; maybe a reply, maybe the greeting."""
    said = {turn for fact in facts for turn in fact.turns}
    if not said:
        return ()
    turns = said | {turn - 1 for turn in said if turn}
    if rng.random() < P_REPLY:
        turns.add(min(max(turns) + 1, len(visit.turns) - 1))
    if rng.random() < P_GREETING:
        turns |= {0, 1}
    return tuple(sorted(turns))


def _wording(
    rng: random.Random, topic: str, facts: Sequence[Fact], sex: str, *, alone: bool
) -> str:
    """What a note says of a topic; "" where it cannot be said by itself.

    `alone`: the note says nothing else, so that "None." is clear. Without a `sex` there is no he or
    she.
    """
    said = load_wordings()
    if any(DENIED.get(fact.text) == topic for fact in facts if fact.kind == "denial"):
        return rng.choice(said["nothing"][topic]) if alone else NONE_LINES[topic][0]
    items: dict[str, list[str]] = {}
    for fact, dose, rest in with_doses(facts):
        text = fact.value if fact.kind in ("age", "laterality", "duration") else bare(fact)
        text = SPOKEN_TO.sub("the", text)
        items.setdefault(fact.kind, []).append(
            " ".join(part for part in (text, dose, rest) if part)
        )
    for course in items.get("status", ()):  # it names its illness
        items["diagnosis"] = [x for x in items.get("diagnosis", ()) if not course.startswith(x)]
    items["social"] = [f"uses {x}" if x.startswith("no ") else x for x in items.get("social", ())]
    for kind in ("exam", "social"):  # "no" would be taken to hold for what stands behind it
        items.get(kind, []).sort(key=lambda item: item.startswith(("no ", "uses no ")))
    sentences = []
    if topic == "illness":
        if "complaint" not in items:
            return ""
        sentences.append(_opening(rng, items, sex))
    for kind in TOPICS[topic]:
        if items.get(kind) and kind in said["sentences"]:
            sentences.append(_sentence(rng, kind, items[kind], sex))
    return " ".join(sentences)


def _opening(rng: random.Random, items: dict[str, list[str]], sex: str) -> str:
    """Who comes with what, and for how long."""
    said = load_wordings()
    side = f"{items['laterality'][0]} " if "laterality" in items else ""
    complaint = side + items["complaint"][0].removeprefix(side)
    known = "aged" if "age" in items else "ageless"
    age = items.get("age", [""])[0]
    text = rng.choice(said["openings"][known]).format(
        a="an" if age.startswith("8") or age in ("11", "18") else "a",
        age=age,
        sex=_word_for(rng, sex) if sex else "patient",
        complaint=complaint,
    )
    if "duration" in items:
        text += rng.choice(said["durations"]).format(items["duration"][0])
    return f"{text}."


def _word_for(rng: random.Random, sex: str) -> str:
    return rng.choice((sex, "male" if sex in MALE else "female"))


def _sentence(rng: random.Random, kind: str, items: Sequence[str], sex: str) -> str:
    """The items in one of the wordings: `{items}` in a row, or `{numbered}` one by one."""
    form = rng.choice(load_wordings()["sentences"][kind])
    numbered = " ".join(f"{number}. {_upper(item)}." for number, item in enumerate(items, 1))
    who = rng.choice(("The patient", "He" if sex in MALE else "She")) if sex else "The patient"
    joined = _listed(rng, items, "or" if kind == "denial" else "and")
    return _upper(form.format(items=joined, numbered=numbered, who=who))


def _listed(rng: random.Random, items: Sequence[str], word: str) -> str:
    if len(items) == 1:
        return items[0]
    comma = "," if len(items) > 2 and rng.random() < 0.5 else ""
    last = rng.choice((f"{comma} {word} ", f"{comma} {word} ", ", "))
    return f"{', '.join(items[:-1])}{last}{items[-1]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
