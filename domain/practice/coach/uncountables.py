"""Nouns that cannot be counted."""

import re
from collections.abc import Iterator

from domain.practice.coach.articles import article_of
from domain.practice.coach.findings import Found
from domain.practice.coach.sentences import ALONE, BEFORE, BEHIND, NUMBER, Sentences

_MASS = {
    "informations": "information",
    "equipments": "equipment",
    "furnitures": "furniture",
    "luggages": "luggage",
    "baggages": "baggage",
    "feedbacks": "feedback",
    "homeworks": "homework",
    "knowledges": "knowledge",
    "softwares": "software",
    "hardwares": "hardware",
    "paperworks": "paperwork",
    "stationeries": "stationery",
    "sceneries": "scenery",
    "jewelries": "jewelry",
    "advices": "advice",
    "evidences": "evidence",
    "researches": "research",
    "staffs": "staff",
}
_PIECES = "information|equipment|furniture|luggage|baggage|feedback|software|advice|evidence|research|homework"
_ADJECTIVES = "useful|good|new|important|helpful|valuable|other|more|detailed|modern|old|heavy|same|first"
_HOW_MANY = rf"(?:how|too|so|as) many|many|a few|few|several|some|any|more|much|these|those|this|that|an?|{NUMBER}"
_MANY = rf"(?P<many>{_HOW_MANY})\s+(?:(?P<adjective>{_ADJECTIVES})\s+)?".replace(" ", r"\s+")
_VERB = r"(?:\s+(?P<verb>are|were|have))?"
_PLURAL = re.compile(rf"{BEFORE}(?:{_MANY})?(?P<noun>{'|'.join(_MASS)}){_VERB}{BEHIND}", re.IGNORECASE)
_SINGULAR = re.compile(rf"{BEFORE}{_MANY}(?P<noun>{_PIECES}){_VERB}{BEHIND}{ALONE}", re.IGNORECASE)
# A verb as well as a noun: "she researches the market".
_VERBS_TOO = frozenset({"evidences", "researches", "staffs"})
# A bank's advice is a paper, and papers can be counted.
_PAPERS = re.compile(r"remit|pay|paid|credit|debit|transfer|ship|dispatch|swift|bank|cargo|arrival|vessel", re.IGNORECASE)
_MUCH = {"these": "this", "those": "that", "many": "a lot of"}
_COUNTING = re.compile(rf"many|a few|few|several|these|those|an?|{NUMBER}|(?:how|too|so|as) many")


def uncountables(text: str) -> Iterator[Found]:
    sentences = Sentences(text)
    for pattern in (_PLURAL, _SINGULAR):
        for match in pattern.finditer(text):
            noun = match["noun"].lower()
            many = " ".join((match["many"] or "").lower().split())
            start, end = sentences.around(match.start())
            legitimate = noun.startswith("advice") and _PAPERS.search(text[start:end])
            counted = _COUNTING.fullmatch(many) is not None or (many in ("some", "any", "more", "much") and noun != "advice")
            if not legitimate and (counted or (noun in _MASS and noun not in _VERBS_TOO)) and (noun in _MASS or many not in _KEPT):
                yield _uncountable(text, match, noun, many)


_KEPT = frozenset({"some", "any", "more", "much", "this", "that"})


def _uncountable(text: str, match: re.Match[str], noun: str, many: str) -> Found:
    mass, adjective, verb = _MASS.get(noun, noun), (match["adjective"] or "").lower(), match["verb"]
    if many in ("a", "an"):
        count = f"{article_of(adjective) or 'a'} {adjective} piece of" if adjective else "a piece of"
        words, one = f"{count} {mass}", True
    elif mass == "staff":
        words, one = f"{many} {adjective} members of staff", False
    elif many in ("several", "a few", "few") or many[:1].isdigit() or re.fullmatch(NUMBER, many):
        words, one = f"{many} pieces of {adjective} {mass}", False
    else:
        much = many.replace("many", "much") if " " in many else _MUCH.get(many, many)
        words, one = f"{much} {adjective} {mass}", not text[: match.start()].rstrip().lower().endswith((" and", " or"))
    if verb is not None:
        words += f" {_SINGLE[verb.lower()] if one else verb}"
    return Found(match.start(), match[0], " ".join(words.split()), "uncountable", "uncountable", 0.95)


_SINGLE = {"are": "is", "were": "was", "have": "has"}
