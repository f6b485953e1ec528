"""Scores of every system on every test split, note by note, as fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medisum_utils.encounter import Encounter
from medisum_utils.facts import NoteFacts, score_note
from medisum_utils.facts.statements import read_note
from medisum_utils.notes.divisions import soap_divisions
from medisum_utils.notes.scored_texts import protocol_of, scored_notes, scored_references
from medisum_utils.scoring import FACT_NAMES, per_note
from medisum_utils.scoring.report import DivisionScores
from medisum_utils.scoring.rouge import paired_difference, rouge_scores
from medisum_utils.synthesis.fact_scores import FactScore, score_encounters

OTHER_SECTION = "other"  # of a header that maps to no SOAP section
COPY = "copy"  # the system that hands in the dialogue, which has neither sections nor note lines


@dataclass(frozen=True, slots=True)
class SystemScores:
    """One system's scores of the first n encounters of a split, note by note, in 0 to 1.

    `texts` are the notes as they were scored. `exact` is there for generated encounters, `checked`
    for real ones; `facts` holds the five fact scores of either, `section_facts` those of a real
    note's sections. `stemmed` is ROUGE with stemming, where the field reports that. What has no
    meaning for a copied dialogue is None: `facts` and `exact` where a note is read with the grammar
    of the generator, `sections` where a note is cut at its headers.
    """

    texts: list[str]
    rouge: dict[str, list[float]]
    facts: dict[str, list[float]] | None
    sections: dict[str, DivisionScores] | None
    section_facts: dict[str, dict[str, list[float]]]
    exact: list[FactScore] | None = None
    checked: list[NoteFacts] | None = None
    stemmed: dict[str, list[float]] | None = None

    @property
    def n(self) -> int:
        """How many notes were scored."""
        return len(self.texts)

    def values(self, measure: str) -> list[float] | None:
        """The notes' scores by a ROUGE's or a fact score's name; None where it has no meaning."""
        if measure in self.rouge:
            return self.rouge[measure]
        return None if self.facts is None else self.facts[measure]


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
    references = scored_references(encounters)
    for name, texts in notes.items():
        if not 0 < len(texts) <= len(encounters):
            raise ValueError(
                f"{name}: expected between 1 and {len(encounters)} notes, got {len(texts)}"
            )
    notes = {name: scored_notes(encounters, texts) for name, texts in notes.items()}
    protocol, is_exact = protocol_of(encounters), facts_known(encounters)
    return _score_texts(encounters, references, notes, protocol, is_exact)


def same_encounters(scores: SplitScores) -> SplitScores | None:
    """All systems on the first encounters, those that each of them wrote; None if that is all."""
    n = min(system.n for system in scores.systems.values())
    if n == len(scores.encounters):
        return None
    notes = {name: system.texts[:n] for name, system in scores.systems.items()}
    first = scores.encounters[:n], scores.references[:n]
    return _score_texts(*first, notes, scores.protocol, scores.is_exact)


def _score_texts(
    encounters: list[Encounter],
    references: list[str],
    notes: Mapping[str, Sequence[str]],
    protocol: str,
    is_exact: bool,
) -> SplitScores:
    systems = {
        name: _score_system(
            encounters[: len(texts)],
            references[: len(texts)],
            texts,
            protocol,
            is_exact=is_exact,
            is_note=name != COPY,
        )
        for name, texts in notes.items()
    }
    return SplitScores(encounters, references, protocol, is_exact, systems)


def _score_system(
    encounters: list[Encounter],
    references: list[str],
    texts: Sequence[str],
    protocol: str,
    *,
    is_exact: bool,
    is_note: bool,
) -> SystemScores:
    groups = None
    if protocol == "mts":
        groups = [encounter.note[0].soap or OTHER_SECTION for encounter in encounters]
    scores = per_note(references, texts, None, protocol, groups)
    exact = checked = None
    dialogues = [encounter.dialogue_text for encounter in encounters]
    rows = list(zip(references, texts, dialogues, strict=True))
    if not is_exact:
        checked = [score_note(*row) for row in rows]
    elif is_note:
        exact = score_encounters(encounters, texts)
    judged = checked if exact is None else exact
    facts = None
    if judged is not None:
        facts = {name: [getattr(note, name) for note in judged] for name in FACT_NAMES}
    sections = None
    if is_note or protocol == "mts":  # there a note is one section, and so is a copy
        sections = {name: part for name, part in scores.divisions.items() if part.places}
    section_facts: dict[str, dict[str, list[float]]] = {}
    if checked is not None and sections is not None:
        section_facts = {
            name: {measure: [facts[measure][i] for i in part.places] for measure in facts}
            if protocol == "mts"  # its facts are the note's
            else _facts_of_section(name, rows)
            for name, part in sections.items()
        }
    return SystemScores(
        texts=list(texts),
        rouge=scores.rouge,
        facts=facts,
        sections=sections,
        section_facts=section_facts,
        exact=exact,
        checked=checked,
        stemmed=rouge_scores(references, texts, stemmer=True) if protocol == "mts" else None,
    )


def _facts_of_section(name: str, rows: Sequence[tuple[str, str, str]]) -> dict[str, list[float]]:
    """Fact scores of one section over the notes whose reference says something there."""
    parts = [
        (soap_divisions(reference).divisions[name], soap_divisions(text).divisions[name], dialogue)
        for reference, text, dialogue in rows
    ]
    notes = [score_note(*part) for part in parts if read_note(part[0])]
    return {measure: [getattr(note, measure) for note in notes] for measure in FACT_NAMES}


def difference(
    scores: SplitScores, system: str, other: str, measure: str, seed: int
) -> dict[str, float | int | None] | None:
    """system - other in a measure, paired over the encounters both wrote: n, mean, low, high, p.

    None where the measure has no meaning for one of them.
    """
    ours, theirs = (scores.systems[name].values(measure) for name in (system, other))
    if ours is None or theirs is None:
        return None
    n = min(len(ours), len(theirs))
    return {"n": n, **paired_difference(ours[:n], theirs[:n], seed)}
