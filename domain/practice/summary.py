"""What was said before, in short: for the partner's model, which is told only the last exchanges whole."""

from collections.abc import Sequence

from domain.practice.prompt import tokens

LONGEST = 160
"""Characters that are kept of what anybody said."""


def summarised(before: str, told: Sequence[tuple[str, str]], *, first: int, most: int) -> str:
    """Lines like `3. Learner: … Partner: …`, one for each exchange from number `first` on, behind those of an earlier summary. With
    more than `most` tokens the oldest go.
    """
    added = [f"{first + n}. Learner: {_short(said)} Partner: {_short(answer)}" for n, (said, answer) in enumerate(told)]
    lines = [*before.splitlines(), *added]
    while len(lines) > 1 and tokens("\n".join(lines)) > most:
        del lines[0]
    return "\n".join(lines)


def _short(text: str) -> str:
    """The beginning, up to the end of a sentence or of a word."""
    text = " ".join(text.split())
    if not text:
        return "(nothing)"
    if len(text) <= LONGEST:
        return text
    cut = text[:LONGEST]
    for mark in (". ", "? ", "! ", " "):
        if (place := cut.rfind(mark)) > LONGEST // 3:
            return cut[: place + 1].rstrip() + " …"
    return cut + "…"
