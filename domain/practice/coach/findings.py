"""What a rule finds, before it is explained."""

from typing import NamedTuple

from domain.practice.coach.explanations import MESSAGES
from domain.practice.coach.spans import Kind, Language, Span


class Found(NamedTuple):
    start: int
    original: str
    correction: str
    kind: Kind
    message: str
    confidence: float

    def span(self, language: Language) -> Span:
        correction = self.correction
        if self.original[:1].isupper() and not correction[:1].isupper():
            correction = correction[:1].upper() + correction[1:]
        if len(self.original) > 1 and self.original.isupper():
            correction = correction.upper()
        explanation = MESSAGES[self.message][language].format(original=self.original, correction=correction)
        return Span(
            start=self.start,
            end=self.start + len(self.original),
            original=self.original,
            correction=correction,
            kind=self.kind,
            explanation=explanation,
            confidence=self.confidence,
        )
