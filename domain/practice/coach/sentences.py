# ruff: noqa: RUF001 - People type apostrophes and quotation marks of either kind.
"""Where sentences and clauses begin and end, as patterns of which the rules are put together."""

import re

# A name and its title, or a number, are no end of a sentence.
_SENTENCE_END = re.compile(
    r"[.!?]+(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?!(?<=\bNo\.)\s*\d)[\"'”’)]*(?=\s|$)|\n+",
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


def sentence_at(text: str, place: int) -> tuple[int, int]:
    """Where the sentence around this place starts and ends, without the spaces around it."""
    start = max((end.end() for end in _SENTENCE_END.finditer(text, 0) if end.end() <= place), default=0)
    found = _SENTENCE_END.search(text, max(place, start))
    end = found.end() if found is not None else len(text)
    sentence = text[start:end]
    return start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())
