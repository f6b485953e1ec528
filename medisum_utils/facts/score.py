"""Scores a note by its facts: which of the reference's it states, and which are hallucinated.

A fact is a part of a statement (`statements.atoms`). Recall is the mean share of the reference's
facts that the prediction states. Precision compares these with the hallucinated facts, which
neither reference nor dialogue supports. Supported facts that are not in the reference lower
precision by `EXTRA_FACT_WEIGHT`. Length alone gains nothing: padding helps only if it happens to
state a fact of the reference. The constants were set by hand on the development half of the study;
see `evaluation.agreement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from medisum_utils.facts.dialogue import read_dialogue
from medisum_utils.facts.matching import SUPPORT, Cover, Index
from medisum_utils.facts.statements import Atom, Statement, atoms, read_note
from medisum_utils.facts.vocabulary import vocabulary

# Four true facts that are not in the reference weigh as much as a hallucinated one.
EXTRA_FACT_WEIGHT = 0.25

MATCHED, UNMATCHED = "matched", "unmatched"
SUPPORTED, CONTRADICTED, UNSUPPORTED = "supported", "contradicted", "unsupported"


@dataclass(frozen=True, slots=True)
class FactCheck:
    """One fact and its verdict.

    `text` is the fact in words, `sentence` the sentence that states it, `share` the part of it that
    was found (0 to 1), `offending` its words that are missing or contradicted. For a fact of the
    reference, `status` is "matched" or "unmatched" in the prediction; for a fact of the prediction,
    "supported", "contradicted" or "unsupported" by the dialogue. `in_reference` is whether the
    reference states it, `hallucinated` whether neither supports it. `kind` is medicine, allergy,
    denial or number, "" for any other.
    """

    text: str
    sentence: str
    status: str
    share: float
    offending: tuple[str, ...] = ()
    in_reference: bool = True
    hallucinated: bool = False
    kind: str = ""


@dataclass(frozen=True, slots=True)
class NoteFacts:
    """The scores of one note, all 0 to 1, and the facts behind them."""

    precision: float
    recall: float
    f1: float
    omission: float
    hallucination: float
    reference: tuple[FactCheck, ...]
    prediction: tuple[FactCheck, ...]

    @property
    def omitted(self) -> tuple[FactCheck, ...]:
        """The reference's facts that the prediction omits."""
        return tuple(fact for fact in self.reference if fact.status == UNMATCHED)

    @property
    def hallucinated(self) -> tuple[FactCheck, ...]:
        """The prediction's hallucinated facts: contradicted or unsupported."""
        return tuple(fact for fact in self.prediction if fact.hallucinated)


@dataclass(frozen=True, slots=True)
class Omission:
    """A spoken fact that a note omits; `kind` is medicine, allergy, denial or number."""

    kind: str
    text: str
    sentence: str
    turn: int
    offending: tuple[str, ...]


def score_note(reference: str, prediction: str, dialogue: str = "") -> NoteFacts:
    """Scores a note against its reference and the dialogue that both summarise.

    A prediction that is empty or only punctuation has precision, recall, F1 and hallucination 0 and
    omission 1. Without a dialogue, only the reference can support a fact.

    Raises: ValueError for a reference without words.
    """
    expected = read_note(reference)
    if not expected:
        raise ValueError(
            f"expected a reference with at least one word, got {len(reference)} characters"
        )
    written = read_note(prediction)
    indices = Index(expected), Index(read_dialogue(dialogue))
    prediction_index = Index(written)
    reference_facts = atoms(expected)
    strict = [_in_prediction(atom, prediction_index) for atom in reference_facts]
    lenient = _with_generic_denial(strict, reference_facts, prediction_index)
    prediction_facts = [_judge(atom, *indices) for atom in atoms(written)]
    hits = sum(fact.share for fact in lenient)
    recall = hits / len(lenient)
    precision, hallucination = _precision(hits, prediction_facts)
    return NoteFacts(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        omission=1.0 - sum(fact.share for fact in strict) / len(strict),
        hallucination=hallucination,
        reference=tuple(lenient),
        prediction=tuple(prediction_facts),
    )


def _precision(hits: float, prediction_facts: list[FactCheck]) -> tuple[float, float]:
    """Precision and hallucination from the reference facts stated and the note's other facts.

    Hits are counted in the reference, so that repeating a fact gains nothing.
    """
    if not prediction_facts:
        return 0.0, 0.0
    n_hallucinated = sum(fact.hallucinated for fact in prediction_facts)
    n_beside = sum(not fact.hallucinated and not fact.in_reference for fact in prediction_facts)
    if not hits and not n_hallucinated:
        return 1.0, 0.0
    stated = hits + n_hallucinated
    return hits / (stated + EXTRA_FACT_WEIGHT * n_beside), n_hallucinated / stated


def _in_prediction(atom: Atom, prediction: Index) -> FactCheck:
    """Whether the prediction states a fact of the reference."""
    if atom.generic:
        denies = prediction.denies
        return _check(atom, MATCHED if denies else UNMATCHED, float(denies))
    cover = prediction.best(atom)
    share = cover.share if cover.share >= SUPPORT else 0.0
    is_matched = cover.says and not any(key[0] in "#@" for key in cover.missing)
    status = MATCHED if is_matched else UNMATCHED
    return _check(atom, status, share, cover.conflicts + cover.missing)


def _check(atom: Atom, status: str, share: float, offending: tuple[str, ...] = ()) -> FactCheck:
    words = atom.words_of(offending)
    return FactCheck(atom.text, atom.statement.text, status, share, words, kind=_kind(atom))


def _with_generic_denial(
    checks: list[FactCheck], facts: list[Atom], prediction: Index
) -> list[FactCheck]:
    """Lets "None." or "Noncontributory." match one denial of the reference, the least matched.

    It denies something without saying what, so it raises recall but does not lower omission.
    """
    open_denials = [
        (check.share, number)
        for number, (check, fact) in enumerate(zip(checks, facts, strict=True))
        if fact.denied and check.share < 1.0
    ]
    if not open_denials or not any(s.generic for s in prediction.statements):
        return checks
    _, number = min(open_denials)
    matched = replace(checks[number], status=MATCHED, share=1.0, offending=())
    return [*checks[:number], matched, *checks[number + 1 :]]


def _judge(atom: Atom, reference: Index, dialogue: Index) -> FactCheck:
    """Whether the reference or the dialogue supports a fact of the prediction."""
    if atom.generic:
        status = SUPPORTED if dialogue.denies else UNSUPPORTED
        is_supported = reference.denies or dialogue.denies
        check = _check(atom, status, float(is_supported))
        return replace(check, in_reference=reference.denies, hallucinated=not is_supported)
    by_reference, by_dialogue = reference.best(atom), dialogue.best(atom)
    unmentioned = _unmentioned(atom, reference, dialogue)
    against = set(by_dialogue.conflicts) if by_dialogue.contradicts else set()
    in_reference = by_reference.says and not unmentioned and not against & set(by_reference.missing)
    if by_dialogue.contradicts:
        status = CONTRADICTED
    else:
        status = SUPPORTED if by_dialogue.says and not unmentioned else UNSUPPORTED
    allowed = atom.denied and reference.only_generic and not by_dialogue.contradicts
    supported = status == SUPPORTED and not (
        by_reference.contradicts and _leaves_open(by_reference, by_dialogue)
    )
    hallucinated = not (in_reference or supported or allowed)
    best = by_reference if by_reference.share >= by_dialogue.share else by_dialogue
    offending = (*unmentioned, *best.conflicts, *best.missing) if hallucinated else ()
    check = _check(atom, status, best.share, offending)
    return replace(check, in_reference=in_reference, hallucinated=hallucinated)


def _unmentioned(atom: Atom, reference: Index, dialogue: Index) -> tuple[str, ...]:
    """The numbers and medicines that neither text mentions; a single one makes the fact wrong."""
    names = vocabulary().medicines
    return tuple(
        token.key
        for token in atom.tokens
        if token.is_number or token.key in names
        if token.key not in reference and token.key not in dialogue
    )


def _leaves_open(reference_cover: Cover, dialogue_cover: Cover) -> bool:
    """Whether the dialogue leaves open what the reference contradicts."""
    return dialogue_cover.share - dialogue_cover.asked < SUPPORT or bool(
        set(reference_cover.conflicts) & {*dialogue_cover.missing}
    )


def dialogue_omissions(dialogue: str, note: str) -> list[Omission]:
    """The medicines, allergies, denials and numbers with a unit that a note omits.

    Unanswered questions are not facts; a dose that the note gets wrong counts as omitted.
    """
    note_index = Index(read_note(note))
    omissions = []
    for spoken_fact in atoms(_checkable(read_dialogue(dialogue))):
        kind = _kind(spoken_fact)
        atom = _core(spoken_fact, kind)
        cover = note_index.best(atom)
        lacks_number = any(key[0] in "#@" for key in cover.missing)
        if kind and (lacks_number or not cover.says):
            keys = cover.conflicts + cover.missing or tuple(t.key for t in atom.tokens)
            text = " ".join(atom.words_of(t.key for t in atom.tokens))
            where = atom.statement.text, atom.statement.turn
            omissions.append(Omission(kind, text, *where, atom.words_of(keys)))
    return omissions


def _checkable(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Statements without small talk: only clinical terms and numbers, without open questions."""
    clinical = vocabulary().clinical
    for statement in statements:
        tokens = (t for t in statement.tokens if t.is_number or t.key in clinical)
        yield replace(statement, tokens=tuple(t for t in tokens if t.absent is not None))


def _core(atom: Atom, kind: str) -> Atom:
    """For a medicine or allergy, only names and numbers: speech adds many other words."""
    if kind not in ("medicine", "allergy"):
        return atom
    names = vocabulary().medicines | {"allergy", "reaction"}
    return replace(atom, tokens=tuple(t for t in atom.tokens if t.is_number or t.key in names))


def _kind(atom: Atom) -> str:
    """The kind of a fact that a note must not omit, "" for any other."""
    lists = vocabulary()
    keys = {token.key for token in atom.tokens}
    if "allergy" in keys:
        return "allergy"
    if keys & lists.medicines:
        return "medicine"
    if atom.denied and keys - lists.bare:
        return "denial"
    return "number" if any(t.is_number and (t.unit or t.key[0] == "@") for t in atom.tokens) else ""
