"""Which words of a sentence are denied: "no fever, chills or cough, but pain" denies three."""

from __future__ import annotations

from medisum_utils.facts.quantities import word_at
from medisum_utils.facts.vocabulary import vocabulary

SENTENCE_END = frozenset(".?!;\n")


def denied(words: list[str]) -> list[bool]:
    """For each word, whether a denial in its clause covers it."""
    lists, absent, out = vocabulary(), False, []
    at = 0
    while at < len(words):
        width = lists.cue("not_negation", words, at)
        if width:
            out.extend([absent] * width)
            at += width
            continue
        if words[at] in SENTENCE_END or lists.cue("clause_end", words, at):
            absent = False
        absent = absent and not _new_clause(words, at)
        width = lists.cue("negation", words, at)
        # "No I feel better" denies the question, not what follows.
        answers_question = words[at] == "no" and word_at(words, at + 1) in lists.cues["pronoun"]
        absent = absent or bool(width and not answers_question)
        out.extend([absent] * max(width, 1))
        at += max(width, 1)
    return _denied_afterwards(words, out[: len(words)])


def _new_clause(words: list[str], at: int) -> bool:
    """Whether a subject or verb after a comma or "and" starts a clause: "no fever, he has ..."."""
    joins = word_at(words, at - 1) in (",", "and", "but", "or")
    return joins and words[at] in vocabulary().cues["clause_begin"]


def _denied_afterwards(words: list[str], absent: list[bool]) -> list[bool]:
    """Marks the words that a final denial covers, back to a comma: "chest pain: denied"."""
    end = next((at for at in reversed(range(len(words))) if words[at] not in SENTENCE_END), 0)
    if words[end] not in vocabulary().cues["negation_after"] or "otherwise" in words:
        return absent
    begin = end
    while begin and (words[begin - 1] != "," or words[end - 1] == ":"):
        begin -= 1
    return absent[:begin] + [True] * (len(words) - begin)
