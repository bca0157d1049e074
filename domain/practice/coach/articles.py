# ruff: noqa: RUF001 - People type apostrophes and quotation marks of either kind.
"""A and an, by how the next word sounds."""

import re
from collections.abc import Iterator
from typing import Literal

from domain.practice.coach.findings import Found
from domain.practice.coach.sentences import BEFORE, START

_ARTICLE = re.compile(rf"{BEFORE}(?P<article>[Aa]n?)[^\S\n]+(?=(?P<next>\d+(?:[.,]\d+)*|[^\W\d_]+)(?P<tail>[-'’]?\w*))")
# What follows a letter that is a name: "option a", "grade A".
_LETTERED = re.compile(
    r"\b(?:plan|option|block|class|grade|section|part|type|vitamin|appendix|tower|team|group|room|unit|exhibit|schedule|gate|terminal|hall"
    r"|column|row|version|answer|letter|category|wing|building|phase|lot|annex|table|clause|item|line|level|size|zone|series|model|case"
    # "I an sure" lacks another letter.
    r"|question|point|hepatitis|share|shares|company|list|I|we|you|he|she|they)\s+\Z",
    re.IGNORECASE,
)
_NO_NOUN = frozenset(
    """
    and or are as at am an any all also is in if it its i of on our out over under up us until after about above again against the to
    then this that these those my me we he she you they them for but not so was will with your his her their be have has had do does did
    into onto unless upon although across along among around can could would should may might must there here when where what who how
    why la le de el los las der die das den ein une un al au
    """.split()  # noqa: SIM905 - forty lines of quotes and commas would say no more
)
# By how they sound: a consonant though the first letter is a vowel, and the other way round.
_CONSONANT = re.compile(r"(?:one(?:s|self|ness|time)?$|once$|eu|ewe|oui|u(?:ni(?!n|m|d|ll|ss|r)|nanim|s[aeu]|til|top|biq|ran|rin|rol))")
_VOWEL_U = re.compile(r"u(?:n(?!i|anim)|nin|nimp|nident|p|lt|lc|mbr|mp|sher|tter|tmost|rg|rb|gl)")
_SILENT_H = re.compile(r"h(?:ours?|ourly|onest(?:ly|y)?|onou?r(?:s|ed|able|ary|ing)?|eirs?|eiress|eirloom)$")
_DOUBTFUL_H = re.compile(r"h(?:erb|istor|otel|abit|yster|omage|allucin|eredit|ilari|orrif|ors|aute|ispanic|onou?r|onest|our|eir)")
# Short forms are read by their letters, "an fcl shipment"; whether others are, "an sdist", is not sure. Some say "an historic".
_READABLE = re.compile(r"[bcdgjkpqtvwz]\w*[aeiouy]|y(?:ear|oung|ellow)|(?:[fhlmnr][aeiou]|f[lr]|rh|s[aceihklmnopqtuwy])\w{2}")
_BY_LETTERS_AN = frozenset(
    [
        "MBA",
        "MRI",
        "HR",
        "FBI",
        "SMS",
        "NGO",
        "MTR",
        "XML",
        "FDI",
        "SLA",
        "NDA",
        "MOU",
        "HSBC",
        "FCL",
        "LCL",
        "RFP",
        "RFQ",
        "RSVP",
        "SOS",
        "SUV",
        "MP",
        "MC",
        "LED",
        "HTML",
        "HKID",
    ]
)
_BY_LETTERS_A = frozenset(["UK", "US", "USA", "USB", "UN", "USD", "UPS", "UFO", "UI", "UX"])


def article_of(word: str) -> Literal["a", "an"] | None:
    """Which article the word takes, when that is sure."""
    if word[0].isdigit():
        return _sound_of_number(word)
    if word.isupper() and len(word) > 1:
        return _sound_of_letters(word)
    return _sound_of_word(word.lower()) if len(word) > 1 and (word.islower() or word.istitle()) else None


def _sound_of_letters(word: str) -> Literal["a", "an"] | None:
    if word in _BY_LETTERS_A or word in _BY_LETTERS_AN:
        return "a" if word in _BY_LETTERS_A else "an"
    if (word.lower() in _NO_NOUN and word != "IT") or set(word) <= set("IVX"):
        return None
    if word[0] in "BCDGJKPQTVWYZ":
        return "a"
    return "an" if word[0] in "AEIO" and not word.startswith(("ONE", "ONCE", "EUR")) else None


def _sound_of_word(word: str) -> Literal["a", "an"] | None:
    if not word.isascii():
        return None
    if _CONSONANT.match(word):
        return "a"
    if word[0] in "aeio" or _SILENT_H.match(word) or _VOWEL_U.match(word):
        return "an"
    return "a" if _READABLE.match(word) and not _DOUBTFUL_H.match(word) else None


def _sound_of_number(number: str) -> Literal["a", "an"] | None:
    whole = number.partition(".")[0]
    if whole.startswith("8") or re.fullmatch(r"1[18](?:,?\d{3})*", whole):
        return "an"
    # Eleven hundred, or one thousand one hundred; eighteen fifty, or one thousand eight hundred and fifty.
    return None if re.fullmatch(r"1,?[18]\d\d", whole) or whole.startswith("0") else "a"


def articles(text: str) -> Iterator[Found]:
    for match in _ARTICLE.finditer(text):
        article, word = match["article"], match["next"]
        before = text[max(0, match.start() - 20) : match.start()]
        opens = re.search(START + r"\Z", before) is not None
        named = article[0] == "A" and (not opens or word[0].isupper() or word.endswith(("s", "ed")))
        if named or _LETTERED.search(before):
            continue
        # "An in-house lawyer" has an article, unlike "in the house".
        right = article_of(word) if word.lower() not in _NO_NOUN or word.isupper() or match["tail"].startswith("-") else None
        if right is not None and right != article.lower():
            rest = f"{word}{match['tail']}"
            yield Found(match.start(), f"{match[0]}{rest}", f"{right} {rest}", "article", f"article_{right}", 0.95)
