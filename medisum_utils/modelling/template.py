"""The chat template of a base: what stands between the messages of a conversation, as segments.

A template is trusted; what a message says is not, and has only its place among the segments. A
tokenizer with the Llama-3 control tokens gets Meta's template, which is built in; any other base
brings its own.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from medisum_utils.modelling.plain_text import control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
HEADER_START, HEADER_END = "<|start_header_id|>", "<|end_header_id|>"
TURN_END = "<|eot_id|>"
CONTROL_TOKENS = (BEGIN, END, HEADER_START, HEADER_END, TURN_END)

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
ONE_NOTE = ROLES  # the conversation of a note that is written whole
_SHOWN_AS = ("{instruction}", "{dialogue}", "{note}")

_PADDING = " \n\t \n"  # around the marks, to see whether a template strips it
# Within a mark: what a template could escape, replace or take apart.
_AWKWARD = "Aa é <b> & 'c' \"d\" {e} \\n\n\n  - 1.5%"
_CHANGED = "expected a chat template that takes each message as it is, got one that changes"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the text of message number `message` goes, counted from 0; some strip its ends."""

    message: int
    strips_left: bool = False
    strips_right: bool = False

    def fill(self, text: str) -> str:
        """The text as the template takes it."""
        text = text.lstrip() if self.strips_left else text
        return text.rstrip() if self.strips_right else text


Segment = int | str | Place  # a control token's id, text of the template, text from outside


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What stands around the messages of a conversation.

    `control_ids` are the control tokens that the template places, and those that end a text.
    `end_of_turn` closes each answer. `stop_ids` end a note, the end of turn first; `pad_id` pads a
    batch and is always masked. `lay_out` returns the segments for the roles of a conversation,
    which end with a header for the answer if the last role is not the assistant's. `joined` tells
    that text and messages between two control tokens are encoded as one text. `record` goes into
    `prompt.json`, beside `kind`, to tell one template from another.
    """

    kind: str
    control_ids: Mapping[str, int]
    stop_ids: tuple[int, ...]
    pad_id: int
    joined: bool
    lay_out: Callable[[tuple[str, ...]], tuple[Segment, ...]] = field(repr=False)
    record: Mapping[str, str] = field(default_factory=dict)

    @property
    def end_of_turn(self) -> int:
        """The id of the token that closes each answer."""
        return self.stop_ids[0]

    @property
    def shown(self) -> str:
        """The conversation of one note as text, with {instruction}, {dialogue} and {note} in it."""
        return self._spelt(self.lay_out(ONE_NOTE))

    @property
    def before_note(self) -> str:
        """What stands between dialogue and note, as text."""
        segments = self.lay_out(ONE_NOTE)
        _, dialogue, note = _places(segments)
        return self._spelt(segments[dialogue + 1 : note])

    def _spelt(self, segments: Sequence[Segment]) -> str:
        names = {number: token for token, number in self.control_ids.items()}
        return "".join(
            _SHOWN_AS[part.message] if isinstance(part, Place) else names.get(part, part)
            for part in segments
        )


def template_of(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The template of a base: the built-in one of Llama-3, or the one that the base brings.

    Raises: ValueError for a tokenizer without the Llama-3 control tokens and without a chat
    template, or with a template that changes messages or that has no control token after an answer.
    """
    added = tokenizer.added_tokens_encoder
    missing = [token for token in CONTROL_TOKENS if token not in added]
    if not missing:
        return _llama3({token: added[token] for token in CONTROL_TOKENS})
    if not tokenizer.chat_template:
        raise ValueError(
            "expected a base with a chat template, or with the Llama-3 control tokens, got one "
            f"without a template and without {missing}; take the variant of this base that is "
            "made for chat, or put its template beside the tokenizer, as chat_template.jinja"
        )
    return _own(tokenizer, tokenizer.get_chat_template())


def _llama3(ids: dict[str, int]) -> ChatTemplate:
    """Source: `ChatFormat` in meta-llama/llama-models, models/llama3/chat_format.py."""
    begin, end, header_start, header_end, turn_end = ids.values()

    def header(role: str) -> list[Segment]:
        return [header_start, role, header_end, "\n\n"]

    def lay_out(roles: tuple[str, ...]) -> tuple[Segment, ...]:
        segments: list[Segment] = [begin]
        for number, role in enumerate(roles):
            segments += [*header(role), Place(number), turn_end]
        return (*segments, *(header(ASSISTANT) if roles[-1] != ASSISTANT else ()))

    return ChatTemplate("llama-3", ids, (turn_end, end), end, joined=False, lay_out=lay_out)


def _own(tokenizer: PreTrainedTokenizerBase, source: str) -> ChatTemplate:
    """The template that a base brings, cut at the places of the messages."""
    if "strftime_now" in source:
        raise ValueError(
            "expected a chat template that gives the same prompt every day, got one that asks for "
            "the date (strftime_now): take that out of the base's chat_template.jinja"
        )
    tokens = control_tokens(tokenizer)

    @functools.cache
    def lay_out(roles: tuple[str, ...]) -> tuple[Segment, ...]:
        segments = _cut(tokenizer, tokens, roles)
        _check_answers(segments, roles, lay_out)
        if roles[-1] == ASSISTANT:  # what follows the end of its turn belongs to no example
            segments = segments[: _places(segments)[-1] + 2]
        return segments

    segments = lay_out(ONE_NOTE)
    end_of_turn, eos, pad = segments[-1], tokenizer.eos_token_id, tokenizer.pad_token_id
    stop_ids = (end_of_turn,) if eos in (None, end_of_turn) else (end_of_turn, eos)
    placed = [part for part in segments if isinstance(part, int)]
    names = {number: token for token, number in tokens.items()}
    template = ChatTemplate(
        kind="own",
        control_ids={names[number]: number for number in (*placed, *stop_ids)},
        stop_ids=stop_ids,
        pad_id=next(number for number in (pad, *reversed(stop_ids)) if number is not None),
        joined=True,
        lay_out=lay_out,
    )
    digest = hashlib.sha256(source.encode()).hexdigest()
    return replace(template, record={"template_sha256": digest, "template_text": template.shown})


def _places(segments: Sequence[Segment]) -> list[int]:
    """The positions of the places among the segments, in the order of the messages."""
    return [at for at, part in enumerate(segments) if isinstance(part, Place)]


def _check_answers(
    segments: tuple[Segment, ...],
    roles: tuple[str, ...],
    lay_out: Callable[[tuple[str, ...]], tuple[Segment, ...]],
) -> None:
    """Raises: ValueError unless prompts lead up to answers, and one token closes them all."""
    places, closed_by = _places(segments), set()
    for number in (number for number, role in enumerate(roles) if role == ASSISTANT):
        if segments[: places[number]] != lay_out(roles[:number]):
            raise ValueError(
                "expected a chat template that leads up to an answer in the same way, whether the "
                "answer is there or still to be written, got one that does not, at message "
                f"{number + 1} of {len(roles)}"
            )
        closed_by.add((*segments, "")[places[number] + 1])
        if roles != ONE_NOTE:
            closed_by.add(lay_out(ONE_NOTE)[-1])
    if len(closed_by) > 1 or not all(isinstance(end, int) for end in closed_by):
        raise ValueError(
            "expected a chat template that closes each answer with the same control token, got one "
            "that does not: nothing would tell where a note ends"
        )


def _cut(
    tokenizer: PreTrainedTokenizerBase, tokens: Mapping[str, int], roles: Sequence[str]
) -> tuple[Segment, ...]:
    """The template as segments, from rendering it with marks in place of the messages.

    Raises: ValueError for a template that refuses these roles, that drops, repeats or reorders
    messages, or that does more to one than strip its ends.
    """
    digests = [hashlib.sha256(f"message {n}".encode()).hexdigest() for n in range(len(roles))]
    marks = [f"{digest[:20]}{_AWKWARD}{digest[20:40]}" for digest in digests]
    padded = [f"{_PADDING}{mark}{_PADDING}" for mark in marks]
    texts = _between(_rendered(tokenizer, roles, marks), marks)
    seen = _between(_rendered(tokenizer, roles, padded), marks)
    keeps_left, keeps_right = [], []
    for number, text in enumerate(texts):
        ends = ("",) if number == 0 else ("", _PADDING)
        starts = ("",) if number == len(roles) else ("", _PADDING)
        fitting = [(e, s) for e in ends for s in starts if e + text + s == seen[number]]
        if len(fitting) != 1:
            raise ValueError(f"{_CHANGED} white space at the ends of one, other than stripping it")
        keeps_right.append(bool(fitting[0][0]))
        keeps_left.append(bool(fitting[0][1]))
    spelt = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
    segments: list[Segment] = []
    for number, text in enumerate(texts):
        at = 0
        for found in spelt.finditer(text):
            segments += [text[at : found.start()], tokens[found[0]]]
            at = found.end()
        segments.append(text[at:])
        if number < len(roles):
            segments.append(Place(number, not keeps_left[number], not keeps_right[number + 1]))
    return tuple(part for part in segments if part != "")


def _rendered(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str], texts: list[str]) -> str:
    from jinja2 import TemplateError

    messages = [{"role": r, "content": text} for r, text in zip(roles, texts, strict=True)]
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=roles[-1] != ASSISTANT
        )
    except TemplateError as error:  # the messages are marks: the error quotes nothing else
        raise ValueError(
            f"expected a chat template for the roles {list(roles)}, got one that refuses them "
            f"({type(error).__name__}: {error})"
        ) from None


def _between(text: str, marks: Sequence[str]) -> list[str]:
    """The texts before, between and after the marks."""
    found = [text.find(mark) for mark in marks]
    if any(text.count(mark) != 1 for mark in marks) or found != sorted(found):
        raise ValueError(
            f"{_CHANGED} {sum(text.count(mark) != 1 for mark in marks)} of {len(marks)} that do "
            "not come back once each, unchanged and in order"
        )
    parts, rest = [], text
    for mark in marks:
        before, _, rest = rest.partition(mark)
        parts.append(before)
    return [*parts, rest]
