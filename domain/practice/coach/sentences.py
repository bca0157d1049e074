# ruff: noqa: RUF001 - People type apostrophes and quotation marks of either kind.
"""Where sentences and clauses begin and end, as patterns of which the rules are put together."""

import re
from bisect import bisect_right
from collections.abc import Iterator

# A name and its title, or a number, are no end of a sentence. No sign is looked at twice, else a row of them would cost seconds.
_SENTENCE_END = re.compile(
    r"(?<![.!?])[.!?]++(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?!(?<=\bNo\.)\s*\d)[\"'”’)]*+(?=\s|$)|\n+",
)
BEFORE, BEHIND = r"(?<![\w'’-])", r"(?![\w'’-])"
# No more than a few signs are looked through, else a page of empty lines would cost minutes.
START = r"(?:\A|[.!?:;\n])[\s\"“‘(]{0,6}"
CLAUSE = (
    r"(?:(?:\A|[.!?:;,\n])[\s\"“‘(]{0,6}|(?<![\w'’-])(?:because|that|when|if|although|though|but|so|while|since|as|after|before|until|than|where"
    r"|what|how|why|whatever|whenever|everything|think|know|believe|say|says|hope|guess|feel|sure|afraid)\s+)"
)
# No compound begins here: "many information desks" is as good English as "a software engineer".
ALONE = (
    r"(?=\s*(?:[.,;:!?)\"”]|$)|\s+(?:about|on|that|for|from|to|which|who|is|was|are|were|has|have|had|will|can|at|with|we|you|I|they|he|she"
    r"|before|after|when|if|because|but|so|in|by|please|here|now|today|tomorrow|yet)\b)"
)
NUMBER = r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty)"


class Sentences:
    """Those of a text, found once: there may be as many as it has words, and each is asked for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = [end.end() for end in _SENTENCE_END.finditer(text)]

    def __iter__(self) -> Iterator[str]:
        for start, end in zip([0, *self._ends], [*self._ends, len(self._text)], strict=True):
            yield self._text[start:end].strip()

    def around(self, place: int) -> tuple[int, int]:
        """Where the sentence at this place starts and ends, without the spaces around it."""
        number = bisect_right(self._ends, place)
        start = self._ends[number - 1] if number else 0
        end = self._ends[number] if number < len(self._ends) else len(self._text)
        sentence = self._text[start:end]
        return start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())
