"""What is wrong in a text, and where: spans, each with its correction."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

Kind = Literal[
    "doubled_word",
    "article",
    "agreement",
    "uncountable",
    "verb_form",
    "preposition",
    "redundancy",
    "connective",
    "word_choice",
    "word_order",
    "spelling",
    "other",
]
"""What a mistake is about. The rules here find the first nine; a language model may name any."""

Language = Literal["en", "zh-Hant", "zh-Hans", "es", "fr", "ja"]
LONGEST = 300
"""Of an original and of a correction, in characters: what is longer is no longer a correction, but another text."""
WORDIEST = 900
"""Of an explanation, in characters; ours quote the original and the correction."""
MOST = 30
"""Spans of one text: nobody reads more."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`start` and `end` count Unicode code points of the learner's text; `text[start:end] == original`. `confidence` is 0 to 1."""

    start: int
    end: int
    original: Annotated[str, msgspec.Meta(examples=["an information"])]
    correction: Annotated[str, msgspec.Meta(examples=["a piece of information"])]
    kind: Kind
    explanation: Annotated[str, msgspec.Meta(examples=["This noun cannot be counted in English."])]
    confidence: float


def checked(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Those that apply exactly, by where they start; at most `MOST`. Of two that overlap, the one that was named first stays.

    Language models count characters badly: what stands in the text exactly once is found there, wherever they say that it is.
    """
    kept: list[Span] = []
    for named in spans:
        span = _placed(text, named)
        if len(kept) < MOST and _applies(text, span) and all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda span: span.start))


def _placed(text: str, span: Span) -> Span:
    """As it is, unless its original stands somewhere else, once and as whole words."""
    original, start = span.original, text.find(span.original)
    end = start + len(original)
    if span.start >= 0 and span.end == span.start + len(original) and text.startswith(original, span.start):
        return span
    if start < 0 or text.rfind(original) != start or _inside_a_word(text, start) or _inside_a_word(text, end):
        return span
    return msgspec.structs.replace(span, start=start, end=end)


def _inside_a_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _applies(text: str, span: Span) -> bool:
    return (
        0 <= span.start < span.end <= len(text)
        and text[span.start : span.end] == span.original
        and span.correction.strip() != span.original.strip()
        and bool(span.original.strip())
        and len(span.original) <= LONGEST
        and len(span.correction) <= LONGEST
        and bool(span.explanation.strip())
        and len(span.explanation) <= WORDIEST
        and 0 <= span.confidence <= 1
    )


def corrected(text: str, spans: Iterable[Span]) -> str:
    """The text with every correction that applies."""
    for span in reversed(checked(text, spans)):
        text = text[: span.start] + span.correction + text[span.end :]
    return text
