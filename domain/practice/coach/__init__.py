"""What the coach says to a turn of the learner: spans of their text, each with its correction.

The rules find only what is wrong wherever it stands; whatever may be right in some sentence is let pass. So a learner who is not corrected
is not told that all was right.
"""

import re
from collections.abc import Callable, Iterator

from domain.practice.coach.agreements import agreements
from domain.practice.coach.articles import articles
from domain.practice.coach.doubled import doubled
from domain.practice.coach.explanations import explained_in
from domain.practice.coach.findings import Found
from domain.practice.coach.phrases import phrases
from domain.practice.coach.sentences import Sentences
from domain.practice.coach.spans import LONGEST, Kind, Language, Span, checked, corrected
from domain.practice.coach.uncountables import uncountables

__all__ = ["LONGEST", "Kind", "Language", "Sentences", "Span", "checked", "coach", "corrected", "explained_in"]

# Two of these make a text in another language, where "a" is no article.
_FOREIGN = re.compile(r"\b(?:que|de|los|las|el|una|por|para|con|les|des|est|une|und|ist|nicht|das|ich|che|di|il|pour|dans|avec|nao|um)\b")
_FINDERS: tuple[Callable[[str], Iterator[Found]], ...] = (uncountables, phrases, doubled, articles, agreements)


def coach(text: str, language: str) -> tuple[Span, ...]:
    """The sure mistakes, explained in the language with this BCP 47 tag, or in the nearest that we have."""
    if len(set(_FOREIGN.findall(text))) > 1:
        return ()
    tongue = explained_in(language)
    return checked(text, (found.span(tongue) for find in _FINDERS for found in find(text)))
