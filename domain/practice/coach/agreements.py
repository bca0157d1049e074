# ruff: noqa: RUF001 - People type apostrophes and quotation marks of either kind.
"""The verb after he, she and it, and be and have after any pronoun."""

import re
from collections.abc import Iterator

from domain.practice.coach.findings import Found
from domain.practice.coach.sentences import BEHIND, CLAUSE, Sentences

# Not "cost", "put", "let", "read" and the like, which are past tenses too; "need not" is a modal.
_VERBS = (
    r"take|go|work|need(?! (?:not|only|hardly)\b)|want|have|do|don't|like(?! (?:a|an|this|that)\b)|make|know|think|say|come|look|seem|mean"
    r"|sound|give|get|live|speak|call|tell|pay|start|finish|feel|find|keep|send|buy|sell|love|understand|agree|arrive|leave|stay|show|bring|depend|include|happen|become"
    "|cause|contain|provide|remain|belong|talk|write|play|begin|eat|drink|drive|teach|learn|believe|remember|forget|expect|try|carry|study|worry|apply"
    r"|reply|explain|follow|handle|manage|offer|deliver|receive|wait|check|ask|help|use(?! to\b)|travel|smell|taste|cover"
)
_ALWAYS = r"(?:always|usually|often|never|sometimes|really|still)"
_SUBJECT = re.compile(
    rf"{CLAUSE}(?P<subject>he|she|it)\s+(?:{_ALWAYS}\s+)?(?P<verb>{_VERBS}){BEHIND}".replace(" ", r"\s+").replace("n't", "n['’]t"),
    re.IGNORECASE,
)
_HAVING = re.compile(rf"{CLAUSE}(?P<here>(?P<subject>we|they|he|she|it|I)\s+(?P<verb>is|has|was|are|am)){BEHIND}", re.IGNORECASE)
_BE = {
    **{
        (subject, verb): right
        for subject in ("we", "they")
        for verb, right in {"is": "are", "has": "have", "was": "were", "am": "are"}.items()
    },
    **{(subject, verb): "is" for subject in ("he", "she", "it") for verb in ("are", "am")},
    ("i", "is"): "am",
    ("i", "has"): "have",
    ("i", "are"): "am",
}
# After these English has a subjunctive, "we suggest that he go"; or the verb should be in the past, or has its auxiliary elsewhere.
_OTHERWISE = re.compile(
    r"\b(?:suggest|recommend|insist|demand|requir|request|ask|propos|advis|prefer|order|command|important|essential|vital|necessary|crucial"
    r"|imperative|urg|rather|lest|wish|better|desirable|mandat|stipulat|condition|ensur|yesterday|ago|last|was|were|did|had|used|said|told"
    r"|thought|19\d\d|20\d\d|let|make|makes|made|help|see|saw|hear|heard|watch)|\A\W*(?:do|does|can|could|will|would|should|may|might|must)\b",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(?:what|how|why|where|when)\s+\Z", re.IGNORECASE)


def agreements(text: str) -> Iterator[Found]:
    sentences = Sentences(text)
    judged: dict[int, tuple[bool, int]] = {}
    for match in _SUBJECT.finditer(text):
        subject = match.start("subject")
        start, end = sentences.around(subject)
        if start not in judged:
            judged[start] = _judged(text[start:end])
        past, otherwise = judged[start]
        before = text[start:subject]
        # "How it work?" lacks an auxiliary, not an -s.
        asked = "?" in text[start:end] and _ASKED.search(before)
        if not past and subject - start < otherwise and not asked and not _compared(match, before):
            verb = match["verb"]
            yield Found(match.start("verb"), verb, _third_person(verb), "agreement", "third_person", 0.93)
    for match in _HAVING.finditer(text):
        right = _BE.get((match["subject"].lower(), match["verb"].lower()))
        if right is not None and not _compared(match, text[: match.start("here")]):
            yield Found(match.start("here"), match["here"], f"{match['subject']} {right}", "agreement", "agreement", 0.93)


def _judged(sentence: str) -> tuple[bool, int]:
    """Whether it is of the past, and from which place on a verb has its form for another reason."""
    otherwise = _OTHERWISE.search(sentence)
    return _PAST.search(sentence) is not None, len(sentence) + 1 if otherwise is None else otherwise.end()


def _compared(match: re.Match[str], before: str) -> bool:
    """Whether another subject may have the verb: "the rules before it are", "more important than he are the guests"."""
    words = ("than", "as") if match["subject"].lower() in ("he", "she") else ("than", "as", "before", "after")
    return before.lower().rstrip().endswith(words)


_PAST = re.compile(r"\b(?:yesterday|ago|last|was|were|did|didn['’]t|had|19\d\d|20\d\d)\b", re.IGNORECASE)


def _third_person(verb: str) -> str:
    base = verb.lower()
    if base in ("have", "do"):
        return "has" if base == "have" else "does"
    if base.startswith("don"):
        return f"doesn{verb[-2:]}"
    if base.endswith("y") and base[-2] not in "aeiou":
        return f"{base[:-1]}ies"
    return f"{base}es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else f"{base}s"
