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


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`start` and `end` count Unicode code points of the learner's text; `text[start:end] == original`. `confidence` is 0 to 1."""

    start: int
    end: int
    original: Annotated[str, msgspec.Meta(examples=["an information"])]
    correction: Annotated[str, msgspec.Meta(examples=["a piece of information"])]
    kind: Kind
    explanation: Annotated[str, msgspec.Meta(examples=["This noun cannot be counted in English."])]
    confidence: float


def applicable(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Those that apply exactly, by where they start. Of two that overlap, the one that was named first stays."""
    kept: list[Span] = []
    for span in spans:
        if _applies(text, span) and all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda span: span.start))


def _applies(text: str, span: Span) -> bool:
    return (
        0 <= span.start < span.end <= len(text)
        and text[span.start : span.end] == span.original
        and span.correction.strip() != span.original.strip()
        and bool(span.original.strip())
        and len(span.original) <= LONGEST
        and len(span.correction) <= LONGEST
        and 0 <= span.confidence <= 1
    )


def corrected(text: str, spans: Iterable[Span]) -> str:
    """The text with every correction that applies."""
    for span in reversed(applicable(text, spans)):
        text = text[: span.start] + span.correction + text[span.end :]
    return text
