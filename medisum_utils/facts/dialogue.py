"""Reads a dialogue as statements: a question and its answer are one, which the answer may deny."""

from __future__ import annotations

import re
from dataclasses import replace

from medisum_utils.facts.statements import Statement, Token, read_statement, sentences
from medisum_utils.facts.vocabulary import vocabulary

# "Doctor:", "[patient]", "Guest_family:", even if the line break before the label was lost
_SPEAKER = re.compile(
    r"(?:^|(?<=\s))(?:\[(?P<tag>[A-Za-z_ ]{2,20})\]:?"
    r"|(?P<label>(?:doctor|patient|nurse|clinician|guest|gest|speaker ?\d?)\w*) ?:)\s*",
    re.IGNORECASE | re.MULTILINE,
)


def turns(dialogue: str) -> list[tuple[str, str]]:
    """The (speaker, text) turns of a transcript; without labels, each line is a turn."""
    marks = list(_SPEAKER.finditer(dialogue))
    if not marks:
        return [("", line) for line in dialogue.splitlines() if line.strip()]
    ends = [mark.start() for mark in marks[1:]] + [len(dialogue)]
    return [
        ((mark["tag"] or mark["label"]).strip().lower(), dialogue[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def read_dialogue(dialogue: str) -> list[Statement]:
    """The statements of a dialogue in order; `turn` is the index of the turn each begins in.

    A question takes the polarity of the answer that follows ("Any chest pain?" "No."); the
    polarity is None if the answer is neither yes nor no.
    """
    statements: list[Statement] = []
    open_question: Statement | None = None
    for turn, (_, text) in enumerate(turns(dialogue)):
        for sentence, words in sentences(text):
            statement = read_statement(sentence, words, turn)
            if words[-1] == "?":
                statements += [open_question] if open_question else []
                open_question = replace(statement, tokens=_answered_by(None, statement))
                continue
            if open_question is not None:
                statements.append(_joined(open_question, statement, _answer(words)))
                open_question = None
            statements.append(statement)
    statements += [open_question] if open_question else []
    return [statement for statement in statements if statement.tokens]


def _answer(words: list[str]) -> bool | None:
    """True if the reply denies, False if it affirms, None if it does neither."""
    cues = vocabulary().cues
    fillers = ("um", "uh", "oh", "well", "so")
    first_words = [word for word in words if word.isalpha() and word not in fillers][:2]
    for word in first_words:
        if word in cues["no"]:
            return True
        if word in cues["yes"]:
            return False
    return None


def _answered_by(denied: bool | None, question: Statement) -> tuple[Token, ...]:
    """A question's tokens with the polarity of its answer; None neither affirms nor denies."""
    return tuple(replace(token, absent=denied) for token in question.tokens)


def _joined(question: Statement, reply: Statement, denied: bool | None) -> Statement:
    """Question and reply as one statement, so that "How old are you?" binds "76"."""
    question_tokens = _answered_by(denied, question)
    n_words = len(question.words)
    n_segments = 1 + max((token.segment for token in question_tokens), default=0)
    reply_tokens = (
        replace(
            token,
            position=token.position + n_words,
            end=token.end + n_words,
            segment=token.segment + n_segments,
        )
        for token in reply.tokens
    )
    text, words = f"{question.text} {reply.text}", (*question.words, *reply.words)
    return Statement(text, words, (*question_tokens, *reply_tokens), turn=question.turn)
