"""Scores of every system on every test split, note by note, as fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medisum_utils.encounter import Encounter
from medisum_utils.facts import NoteFacts, score_note
from medisum_utils.notes.scored_texts import protocol_of, scored_notes, scored_references
from medisum_utils.scoring import FACT_NAMES, per_note
from medisum_utils.scoring.report import DivisionScores
from medisum_utils.scoring.rouge import paired_difference, rouge_scores
from medisum_utils.synthesis.fact_scores import FactScore, score_encounters

OTHER_SECTION = "other"  # of a header that maps to no SOAP section
OURS = "finetuned"  # the system that everything is about
COPY = "copy"  # the system that hands in the dialogue, which has neither sections nor note lines


@dataclass(frozen=True)
class SystemScores:
    """One system's scores of the first n encounters of a split, note by note, in 0 to 1.

    `texts` are the notes as they were scored. `judged` holds their facts: by the record for
    generated encounters, by statements for real ones. `stemmed` is ROUGE with stemming, which some
    report of real notes. What has no meaning for a copied dialogue is None: `judged` where a note
    is read with the grammar of the generator, `sections` where a note is cut at its headers.
    """

    texts: list[str]
    rouge: dict[str, list[float]]
    stemmed: dict[str, list[float]] | None
    judged: list[FactScore] | list[NoteFacts] | None
    sections: dict[str, DivisionScores] | None

    @property
    def n(self) -> int:
        """How many notes were scored."""
        return len(self.texts)

    @property
    def facts(self) -> dict[str, list[float]] | None:
        """The five fact scores by name."""
        if self.judged is None:
            return None
        return {name: [getattr(note, name) for note in self.judged] for name in FACT_NAMES}

    @property
    def statements(self) -> dict[str, list[float]] | None:
        """How many statements each real note holds, and how many are hallucinated; else None."""
        if not self.judged or not isinstance(self.judged[0], NoteFacts):
            return None
        return {
            "stated": [float(len(note.prediction)) for note in self.judged],
            "hallucinated": [float(len(note.hallucinated)) for note in self.judged],
        }

    def values(self, measure: str) -> list[float] | None:
        """The notes' scores by a ROUGE's or a fact score's name; None where it has no meaning."""
        if measure in self.rouge:
            return self.rouge[measure]
        return None if self.judged is None else [getattr(note, measure) for note in self.judged]

    def first(self, n: int) -> SystemScores:
        """The scores of the first n notes, without their sections."""
        return replace(
            self,
            texts=self.texts[:n],
            rouge={name: values[:n] for name, values in self.rouge.items()},
            stemmed=self.stemmed and {name: part[:n] for name, part in self.stemmed.items()},
            judged=self.judged and self.judged[:n],
            sections=None,
        )


@dataclass(frozen=True, slots=True)
class SplitScores:
    """A test split with its encounters, references as scored, and every system's scores.

    `is_exact` says that the facts of the encounters are known.
    """

    encounters: list[Encounter]
    references: list[str]
    protocol: str
    is_exact: bool
    systems: dict[str, SystemScores]

    @property
    def complete(self) -> dict[str, SystemScores]:
        """The systems with a note for every encounter: these may stand side by side."""
        n = len(self.encounters)
        return {name: system for name, system in self.systems.items() if system.n == n}


def named_tests(wanted: str, available: Sequence[str]) -> list[str]:
    """The test splits that a comma-separated list names, all of them where it is empty.

    Raises: ValueError for a name that is not among the available ones.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()] or list(available)
    if unknown := sorted(set(names) - set(available)):
        raise ValueError(f"expected tests of {list(available)}, got {unknown}")
    return names


def facts_known(encounters: Sequence[Encounter]) -> bool:
    """True for generated encounters, whose record holds every fact."""
    return all(encounter.facts for encounter in encounters)


def score_split(encounters: Sequence[Encounter], notes: Mapping[str, Sequence[str]]) -> SplitScores:
    """Scores each system's notes; a system with fewer notes wrote those of the first encounters.

    Where every reference is one section, header lines are taken off both sides before scoring.

    Raises: ValueError for more notes than encounters, or none.
    """
    encounters = list(encounters)
    references, protocol = scored_references(encounters), protocol_of(encounters)
    split = SplitScores(encounters, references, protocol, facts_known(encounters), {})
    for name, texts in notes.items():
        if not 0 < len(texts) <= len(encounters):
            raise ValueError(
                f"{name}: expected between 1 and {len(encounters)} notes, got {len(texts)}"
            )
        scored = scored_notes(encounters, texts)
        split.systems[name] = _score_system(split, scored, is_note=name != COPY)
    return split


def _score_system(split: SplitScores, texts: list[str], *, is_note: bool) -> SystemScores:
    encounters, references = split.encounters[: len(texts)], split.references[: len(texts)]
    is_section = split.protocol == "mts"  # each note is one section, and so is a copied dialogue
    groups = [each.note[0].soap or OTHER_SECTION for each in encounters] if is_section else None
    scores = per_note(references, texts, None, split.protocol, groups)
    judged = None
    if not split.is_exact:
        dialogues = [encounter.dialogue_text for encounter in encounters]
        judged = [score_note(*row) for row in zip(references, texts, dialogues, strict=True)]
    elif is_note:
        judged = score_encounters(encounters, texts)
    sections = {name: part for name, part in scores.divisions.items() if part.places}
    return SystemScores(
        texts=texts,
        rouge=scores.rouge,
        stemmed=None if split.is_exact else rouge_scores(references, texts, stemmer=True),
        judged=judged,
        sections=sections if is_note or is_section else None,
    )


def same_encounters(scores: SplitScores) -> SplitScores | None:
    """All systems on the first encounters, those that each of them wrote; None if that is all."""
    n = min(system.n for system in scores.systems.values())
    if n == len(scores.encounters):
        return None
    return replace(
        scores,
        encounters=scores.encounters[:n],
        references=scores.references[:n],
        systems={name: system.first(n) for name, system in scores.systems.items()},
    )


def difference(
    scores: SplitScores, other: str, measure: str, seed: int
) -> dict[str, float | int | None] | None:
    """Fine-tuned minus another in a measure, paired over what both wrote: n, mean, low, high, p.

    None where the measure has no meaning for one of them.
    """
    ours, theirs = (scores.systems[name].values(measure) for name in (OURS, other))
    if ours is None or theirs is None:
        return None
    n = min(len(ours), len(theirs))
    return {"n": n, **paired_difference(ours[:n], theirs[:n], seed)}


def direction(gap: Mapping[str, float | int | None]) -> int:
    """1 or -1 where the interval of a difference leaves out zero, by its sign, else 0."""
    low, high = gap["low"], gap["high"]
    clear = low is not None and high is not None and low * high > 0
    return int(np.sign(gap["mean"])) if clear else 0
