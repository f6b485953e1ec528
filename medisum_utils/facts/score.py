"""Facts of a note: which of the reference's it tells, and which of its own nobody said.

A fact is a part of a statement (`statements.atoms`). Recall is the mean share of each reference
fact that the prediction says; precision sets those against the facts of the prediction that neither
reference nor dialogue bears out. True facts the reference does not want weigh `BESIDE` against it,
and nothing counts length: padding gains only where it happens to name a fact of the reference. The
constants were set by hand with the development half of the study in view, see
`evaluation.agreement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from medisum_utils.facts.dialogue import read_dialogue
from medisum_utils.facts.matching import SUPPORT, Cover, Index
from medisum_utils.facts.statements import Atom, Statement, atoms, read_note
from medisum_utils.facts.vocabulary import vocabulary

BESIDE = 0.25  # four true facts the reference did not want weigh as much as a wrong one

MATCHED, UNMATCHED = "matched", "unmatched"
SUPPORTED, CONTRADICTED, UNSUPPORTED = "supported", "contradicted", "unsupported"


@dataclass(frozen=True, slots=True)
class FactCheck:
    """One fact and its verdict.

    `text` is the fact's words, `sentence` where it stands, `share` the part of it that was found (0
    to 1), `offending` its words that are missing or said otherwise. For a fact of the reference
    `status` is "matched" or "unmatched" in the prediction; for one of the prediction "supported",
    "contradicted" or "unsupported" by the dialogue. `in_reference` tells whether the reference says
    it, `wrong` whether neither bears it out.
    """

    text: str
    sentence: str
    status: str
    share: float
    offending: tuple[str, ...] = ()
    in_reference: bool = True
    wrong: bool = False


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
        """The reference's facts that the prediction leaves out."""
        return tuple(fact for fact in self.reference if fact.status == UNMATCHED)

    @property
    def invented(self) -> tuple[FactCheck, ...]:
        """The prediction's facts that are contradicted, or that nobody said."""
        return tuple(fact for fact in self.prediction if fact.wrong)


@dataclass(frozen=True, slots=True)
class Omission:
    """A spoken fact that a note leaves out; `kind` is medicine, allergy, denial or number."""

    kind: str
    text: str
    sentence: str
    turn: int
    offending: tuple[str, ...]


def score_note(reference: str, prediction: str, dialogue: str = "") -> NoteFacts:
    """Scores one note against its reference and the dialogue both were written from.

    An empty prediction, or one of punctuation alone, scores precision, recall and F1 0, omission 1
    and hallucination 0. Without a dialogue only the reference can bear a fact out.

    Raises: ValueError for a reference without a word.
    """
    said = read_note(reference)
    if not said:
        raise ValueError(
            f"expected a reference with at least one word, got {len(reference)} characters"
        )
    written = read_note(prediction)
    of_reference, of_prediction, heard = Index(said), Index(written), Index(read_dialogue(dialogue))
    strict = [_told(atom, of_prediction) for atom in atoms(said)]
    lenient = _with_generic_denial(strict, list(atoms(said)), of_prediction)
    own = [_judge(atom, of_reference, heard) for atom in atoms(written)]
    recall = _mean(fact.share for fact in lenient)
    precision, hallucination = _precision(sum(fact.share for fact in lenient), own)
    return NoteFacts(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        omission=1.0 - _mean(fact.share for fact in strict),
        hallucination=hallucination,
        reference=tuple(lenient),
        prediction=tuple(own),
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _precision(hits: float, own: list[FactCheck]) -> tuple[float, float]:
    """Precision and hallucination from reference facts told, and what was written beside them.

    Hits are counted in the reference, so that saying a thing twice earns nothing.
    """
    if not own:
        return 0.0, 0.0
    wrong = sum(fact.wrong for fact in own)
    beside = sum(not fact.wrong and not fact.in_reference for fact in own)
    if not hits and not wrong:
        return 1.0, 0.0
    return hits / (hits + wrong + BESIDE * beside), wrong / (hits + wrong)


def _told(atom: Atom, prediction: Index) -> FactCheck:
    """Whether the prediction tells a fact of the reference."""
    if atom.generic:
        told = prediction.denies
        return _check(atom, MATCHED if told else UNMATCHED, float(told))
    cover = prediction.best(atom)
    share = cover.share if cover.share >= SUPPORT else 0.0
    whole = cover.says and not any(key[0] in "#@" for key in cover.missing)
    status = MATCHED if whole else UNMATCHED
    return _check(atom, status, share, cover.conflicts + cover.missing)


def _check(atom: Atom, status: str, share: float, offending: tuple[str, ...] = ()) -> FactCheck:
    words = atom.words_of(offending)
    return FactCheck(atom.text, atom.statement.text, status, share, words)


def _with_generic_denial(
    checks: list[FactCheck], facts: list[Atom], prediction: Index
) -> list[FactCheck]:
    """Lets "None." or "Noncontributory." tell one denial of the reference, the least told.

    It affirms that there is nothing and does not say of what: recall takes it, omission does not.
    """
    open_denials = [
        (check.share, place)
        for place, (check, fact) in enumerate(zip(checks, facts, strict=True))
        if fact.denied and check.share < 1.0
    ]
    if not open_denials or not any(s.generic for s in prediction.statements):
        return checks
    _, place = min(open_denials)
    told = replace(checks[place], status=MATCHED, share=1.0, offending=())
    return [*checks[:place], told, *checks[place + 1 :]]


def _judge(atom: Atom, reference: Index, heard: Index) -> FactCheck:
    """Whether reference or dialogue bears out a fact of the prediction."""
    if atom.generic:
        likely = reference.denies or heard.denies
        return FactCheck(
            text=atom.text,
            sentence=atom.statement.text,
            status=SUPPORTED if heard.denies else UNSUPPORTED,
            share=float(likely),
            in_reference=reference.denies,
            wrong=not likely,
        )
    written, spoken = reference.best(atom), heard.best(atom)
    strange = _strange(atom, reference, heard)
    against = set(spoken.conflicts) if spoken.contradicts else set()
    in_reference = written.says and not strange and not against & set(written.missing)
    status = _status(spoken, strange)
    allowed = atom.denied and reference.only_generic and not spoken.contradicts
    borne_out = status == SUPPORTED and not (written.contradicts and _leaves_open(written, spoken))
    wrong = not (in_reference or borne_out or allowed)
    best = written if written.share >= spoken.share else spoken
    return FactCheck(
        text=atom.text,
        sentence=atom.statement.text,
        status=status,
        share=best.share,
        offending=atom.words_of((*strange, *best.conflicts, *best.missing)) if wrong else (),
        in_reference=in_reference,
        wrong=wrong,
    )


def _strange(atom: Atom, reference: Index, heard: Index) -> tuple[str, ...]:
    """The numbers and medicines of a fact that neither text has anywhere: one makes it wrong."""
    names = vocabulary().medicines
    return tuple(
        token.key
        for token in atom.tokens
        if token.is_number or token.key in names
        if token.key not in reference and token.key not in heard
    )


def _leaves_open(written: Cover, spoken: Cover) -> bool:
    """Whether the dialogue does not settle what the reference says otherwise."""
    return spoken.share - spoken.asked < SUPPORT or bool(set(written.conflicts) & {*spoken.missing})


def _status(cover: Cover, strange: tuple[str, ...]) -> str:
    if cover.contradicts:
        return CONTRADICTED
    return SUPPORTED if cover.says and not strange else UNSUPPORTED


def dialogue_omissions(dialogue: str, note: str) -> list[Omission]:
    """The medicines, allergies, denials and numbers with a unit that were said and not noted.

    Questions nobody answered are no facts; a dose that the note gets wrong counts as left out.
    """
    written = Index(read_note(note))
    left_out = []
    for spoken in atoms(_checkable(read_dialogue(dialogue))):
        kind = _kind(spoken)
        atom = _core(spoken, kind)
        cover = written.best(atom)
        lost = any(key[0] in "#@" for key in cover.missing)
        if kind and (lost or not cover.says):
            keys = cover.conflicts + cover.missing or tuple(t.key for t in atom.tokens)
            text = " ".join(atom.words_of(t.key for t in atom.tokens))
            place = atom.statement
            left_out.append(Omission(kind, text, place.text, place.turn, atom.words_of(keys)))
    return left_out


def _checkable(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Statements without small talk: what is clinical or a number, and was not merely asked."""
    clinical = vocabulary().clinical
    for statement in statements:
        tokens = (t for t in statement.tokens if t.is_number or t.key in clinical)
        yield replace(statement, tokens=tuple(t for t in tokens if t.absent is not None))


def _core(atom: Atom, kind: str) -> Atom:
    """Of a medicine or an allergy only the names and the numbers: speech wraps much around them."""
    if kind not in ("medicine", "allergy"):
        return atom
    names = vocabulary().medicines | {"allergy", "reaction"}
    return replace(atom, tokens=tuple(t for t in atom.tokens if t.is_number or t.key in names))


def _kind(atom: Atom) -> str:
    """The kind of a spoken fact that a note must not lose, "" for any other."""
    lists = vocabulary()
    keys = {token.key for token in atom.tokens}
    if "allergy" in keys:
        return "allergy"
    if keys & lists.medicines:
        return "medicine"
    if atom.denied and keys - lists.bare:
        return "denial"
    return "number" if any(t.is_number and (t.unit or t.key[0] == "@") for t in atom.tokens) else ""
