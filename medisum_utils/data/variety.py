"""How varied a data set is: its words, its lengths, and how far its tests are from training.

    variety(train, test)   # one row of the table in 01's report

Words are ROUGE's: lower-case runs of letters and digits. With more text, the share of distinct
n-grams falls and the vocabulary grows, so data sets are compared on the same number of words.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rouge_score.tokenize import tokenize
from sklearn.feature_extraction.text import TfidfVectorizer

from medisum_utils.encounter import Encounter
from medisum_utils.notes.scored_texts import scored_notes, scored_references
from medisum_utils.scoring.rouge import rouge_scores

MAX_NEAREST_ROUGE1 = 0.60  # above it, generated data could be solved by retrieval
N_GROWTH_POINTS = 20
FIRST_GROWTH_POINT = 500  # words


def words(text: str) -> list[str]:
    """The words of a text as ROUGE counts them."""
    return tokenize(text, None)


def dialogue_words(encounter: Encounter) -> list[str]:
    """What was said, without the speakers' labels."""
    return words(" ".join(turn.text for turn in encounter.turns))


def note_words(encounter: Encounter) -> list[str]:
    """The note's words, without its headers."""
    return words(" ".join(part.text for part in encounter.note))


def sample_words(encounters: Sequence[Encounter], n_words: int, seed: int = 0) -> list[list[str]]:
    """Dialogues in random order until `n_words` words are there, the last one cut to fit.

    Raises: ValueError where the encounters have fewer words.
    """
    shuffled = random.Random(seed).sample(list(encounters), len(encounters))
    texts, n_missing = [], n_words
    for encounter in shuffled:
        if n_missing <= 0:
            break
        texts.append(dialogue_words(encounter)[:n_missing])
        n_missing -= len(texts[-1])
    if n_missing > 0:
        raise ValueError(f"expected dialogues of {n_words} words, got {n_words - n_missing}")
    return texts


def distinct_share(texts: Sequence[Sequence[str]], n: int) -> float:
    """The share of different ones among all n-grams, none of which spans two texts (distinct-n).

    Raises: ValueError where no text has `n` words.
    Source: Li et al. 2016, arXiv:1510.03055, section 5.
    """
    n_all, distinct = 0, set()
    for text in texts:
        grams = list(zip(*(text[start:] for start in range(n)), strict=False))
        n_all += len(grams)
        distinct.update(grams)
    if not n_all:
        raise ValueError(f"expected texts of at least {n} words, got none")
    return len(distinct) / n_all


def vocabulary_growth(texts: Sequence[Sequence[str]]) -> pd.DataFrame:
    """How many different words the first n words have, at points even on a logarithmic scale.

    Columns: n_words, n_distinct.
    """
    stream = pd.Series([word for text in texts for word in text])
    first = min(FIRST_GROWTH_POINT, max(1, len(stream) // 10))
    points = np.unique(np.geomspace(first, len(stream), N_GROWTH_POINTS).round().astype(int))
    n_distinct = (~stream.duplicated()).cumsum()
    return pd.DataFrame({"n_words": points, "n_distinct": n_distinct[points - 1].to_numpy()})


def heaps_exponent(growth: pd.DataFrame) -> float:
    """The slope of the growth curve in logarithms: 0 is a closed vocabulary, 1 never repeats.

    Source: Heaps 1978, "Information Retrieval", section 7.5: V = K n^beta.
    """
    return float(np.polyfit(np.log(growth["n_words"]), np.log(growth["n_distinct"]), 1)[0])


def lengths(encounters: Sequence[Encounter]) -> pd.DataFrame:
    """One row an encounter: n_turns, dialogue_words, note_words, words_per_turn."""
    table = pd.DataFrame(
        {
            "n_turns": [len(encounter.turns) for encounter in encounters],
            "dialogue_words": [len(dialogue_words(encounter)) for encounter in encounters],
            "note_words": [len(note_words(encounter)) for encounter in encounters],
        },
        index=pd.Index([encounter.id for encounter in encounters], name="encounter"),
    )
    table["words_per_turn"] = table["dialogue_words"] / table["n_turns"]
    return table


def extractiveness(encounter: Encounter) -> float:
    """The share of the note's words that stand in the dialogue; NaN for a note without words."""
    note = note_words(encounter)
    spoken = set(dialogue_words(encounter))
    return sum(word in spoken for word in note) / len(note) if note else math.nan


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each query the training dialogue that is most like it.

    `index` points into the training encounters, `cosine` is in 0 to 1; both have shape (queries,).
    """

    index: np.ndarray
    cosine: np.ndarray


def nearest(train: Sequence[Encounter], queries: Sequence[Encounter]) -> Nearest:
    """Finds each query's nearest training dialogue by the cosine of TF-IDF vectors.

    Word counts are weighted 1 + log tf and log((1 + n) / (1 + df)) + 1, where n and df count
    training dialogues only; a word that training does not have weighs nothing.

    Raises: ValueError for no training encounters or no queries.
    Source: Manning, Raghavan, Schütze 2008, "Introduction to Information Retrieval", section 6.4.
    """
    if not train or not queries:
        raise ValueError(f"expected encounters, got {len(train)} to search, {len(queries)} queries")
    vectorizer = TfidfVectorizer(analyzer=dialogue_words, sublinear_tf=True)
    train_vectors = vectorizer.fit_transform(train)
    cosines = (vectorizer.transform(queries) @ train_vectors.T).toarray()  # (queries, train)
    index = cosines.argmax(axis=1)
    return Nearest(index, cosines[np.arange(len(queries)), index].clip(0, 1))


def nearest_notes(train: Sequence[Encounter], neighbours: Nearest) -> list[str]:
    """The note of each query's nearest training dialogue, with its headers."""
    return [train[i].note_text for i in neighbours.index]


def nearest_note_rouge1(
    train: Sequence[Encounter], queries: Sequence[Encounter], neighbours: Nearest
) -> list[float]:
    """ROUGE-1 F1 in 0 to 1 of the nearest training note, taken as if it were the query's note.

    Scored as 04 scores it: where every note is one section, without header lines.
    """
    notes = scored_notes(queries, nearest_notes(train, neighbours))
    return rouge_scores(scored_references(queries), notes)["rouge1"]


def variety(
    train: Sequence[Encounter], test: Sequence[Encounter], *, n_words: int, seed: int = 0
) -> dict[str, float]:
    """What one data set's row of the comparison says.

    Distinct n-grams and the Heaps exponent are of `n_words` words of training dialogue; lengths and
    the extractive share are means over all training encounters; the nearest notes are the test's.

    Raises: ValueError where the training dialogues have fewer than `n_words` words.
    """
    sample = sample_words(train, n_words, seed)
    means = lengths(train).mean()
    neighbours = nearest(train, test)
    return {
        "encounters": len(train),
        **{f"distinct-{n}": distinct_share(sample, n) for n in (1, 2, 3)},
        "Heaps exponent": heaps_exponent(vocabulary_growth(sample)),
        "turns": means["n_turns"],
        "words a turn": means["words_per_turn"],
        "dialogue (words)": means["dialogue_words"],
        "note (words)": means["note_words"],
        "extractive share": float(np.nanmean([extractiveness(each) for each in train])),
        "nearest dialogue (cosine)": float(neighbours.cosine.mean()),
        "nearest note (ROUGE-1)": float(np.mean(nearest_note_rouge1(train, test, neighbours))),
    }


def n_comparable_words(compared: Mapping[str, Sequence[Encounter]], at_most: int) -> int:
    """The number of words of dialogue, up to `at_most`, that each of the data sets has."""
    n_words = (
        sum(len(dialogue_words(encounter)) for encounter in encounters)
        for encounters in compared.values()
    )
    return min(at_most, *n_words)


def comparison(
    compared: Mapping[str, tuple[Sequence[Encounter], Sequence[Encounter]]],
    *,
    n_words: int,
    seed: int = 0,
) -> pd.DataFrame:
    """`variety` of each data set, training and test, a column each."""
    return pd.DataFrame(
        {
            name: variety(train, test, n_words=n_words, seed=seed)
            for name, (train, test) in compared.items()
        }
    )
