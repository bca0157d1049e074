# ruff: noqa: RUF001 - Chinese and Japanese are written with full-width punctuation.
"""What the coach says to a turn of the learner: spans of their text, each with its correction.

The rules find only what is wrong wherever it stands; whatever may be right in some sentence is let pass. So a learner who is not corrected
is not told that all was right.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

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
    original: str
    correction: str
    kind: Kind
    explanation: str
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


def coach(text: str, language: str) -> tuple[Span, ...]:
    """The sure mistakes, explained in the language with this BCP 47 tag, or in the nearest that we have."""
    if len(set(_FOREIGN.findall(text))) > 1:
        return ()
    tongue = explained_in(language)
    return applicable(text, (found.span(tongue) for find in _FINDERS for found in find(text)))


def explained_in(language: str) -> Language:
    """The exact tag, else with fewer subtags (RFC 4647, lookup), else English. Where Chinese names no script, its region does."""
    tag = language.strip().lower().replace("_", "-")
    while tag:
        if tag in _TAGS:
            return _TAGS[tag]
        tag = tag.rpartition("-")[0]
    return "en"


def sentence_at(text: str, place: int) -> tuple[int, int]:
    """Where the sentence around this place starts and ends, without the spaces around it."""
    start = max((end.end() for end in _SENTENCE_END.finditer(text, 0) if end.end() <= place), default=0)
    found = _SENTENCE_END.search(text, max(place, start))
    end = found.end() if found is not None else len(text)
    sentence = text[start:end]
    return start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())


# ---------------------------------------------------------------------- how the tables are read


class _Found(NamedTuple):
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
        explanation = _MESSAGES[self.message][language].format(original=self.original, correction=correction)
        return Span(
            start=self.start,
            end=self.start + len(self.original),
            original=self.original,
            correction=correction,
            kind=self.kind,
            explanation=explanation,
            confidence=self.confidence,
        )


# Two of these make a text in another language, where "a" is no article.
_FOREIGN = re.compile(r"\b(?:que|de|los|las|el|una|por|para|con|les|des|est|une|und|ist|nicht|das|ich|che|di|il|pour|dans|avec|nao|um)\b")
# A name and its title, or a number, are no end of a sentence.
_SENTENCE_END = re.compile(
    r"[.!?]+(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?!(?<=\bNo\.)\s*\d)[\"'”’)]*(?=\s|$)|\n+",
)
_BEFORE, _BEHIND = r"(?<![\w'’-])", r"(?![\w'’-])"
# No more than a few signs are looked through, else a page of empty lines would cost minutes.
_START = r"(?:\A|[.!?:;\n])[\s\"“‘(]{0,6}"
_CLAUSE = (
    r"(?:(?:\A|[.!?:;,\n])[\s\"“‘(]{0,6}|(?<![\w'’-])(?:because|that|when|if|although|though|but|so|while|since|as|after|before|until|than|where"
    r"|what|how|why|whatever|whenever|everything|think|know|believe|say|says|hope|guess|feel|sure|afraid)\s+)"
)
# No compound begins here: "many information desks" is as good English as "a software engineer".
_ALONE = (
    r"(?=\s*(?:[.,;:!?)\"”]|$)|\s+(?:about|on|that|for|from|to|which|who|is|was|are|were|has|have|had|will|can|at|with|we|you|I|they|he|she"
    r"|before|after|when|if|because|but|so|in|by|please|here|now|today|tomorrow|yet)\b)"
)
_NUMBER = r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty)"
# "About" may say how many or how long ago.
_ABOUT = (
    rf"about(?! (?:{_NUMBER}|half|one|a (?:half|quarter|third|week|month|year|day|dozen|hundred|thousand|minute|few|couple)|an hour)\b)"
)
_COMPARED = "better|worse|easier|cheaper|faster|bigger|smaller|higher|lower|stronger|shorter|closer|safer|nicer"


def _compiled(pattern: str) -> re.Pattern[str]:
    """`^` is the start of a sentence and `&` that of a clause; a space is any, an apostrophe either.

    The group `here`, all behind the lead unless the pattern says otherwise, is what is wrong. It is group 1.
    """
    lead = {"^": _START, "&": _CLAUSE}.get(pattern[0], "")
    body = pattern[1:] if lead else pattern
    if "(?P<here>" not in body:
        body = rf"(?P<here>{body})"
    body = body.replace(" ", r"\s+").replace("'", "['’]")
    return re.compile(rf"{lead}{_BEFORE}{body}{_BEHIND}", re.IGNORECASE)


class _Phrase(NamedTuple):
    """`correction` is a template of `re.Match.expand`."""

    pattern: re.Pattern[str]
    correction: str
    kind: Kind
    message: str
    confidence: float

    def find(self, text: str) -> Iterator[_Found]:
        for match in self.pattern.finditer(text):
            correction = " ".join(match.expand(self.correction).split())
            yield _Found(match.start("here"), match["here"], correction, self.kind, self.message, self.confidence)


def _phrases(text: str) -> Iterator[_Found]:
    for phrase in _PHRASES:
        yield from phrase.find(text)


# ---------------------------------------------------------------------- common confusions

_TABLE: tuple[tuple[Kind, str, Mapping[str, str]], ...] = (
    (
        "preposition",
        "direct_object",
        {
            rf"(discuss(?:es|ed|ing)?) {_ABOUT}": r"\2",
            rf"(?<!\ba\x20)(?<!\bno\x20)(?<!\bthe\x20)(?<!\bany\x20)(mention(?:s|ed|ing)?) {_ABOUT}": r"\2",
            rf"(consider|considering) {_ABOUT}": r"\2",
            rf"(describ(?:e|es|ed|ing)) {_ABOUT}": r"\2",
            r"(emphasi[sz](?:e|es|ed|ing)) on(?= (?:the|that|this|these|how|why|our|your|their|quality|safety|service|customer)\b)": r"\2",
            r"(?:please|(?:I|we|you|they)(?: will| can| could| should| must| would| may|'ll)?|(?:want|need|like|try|able) to) "
            r"(?P<here>(contact) with)(?= (?:me|us|you|him|her|them|the|our|your|my|a|an)\b)": r"\2",
            r"(?:I|we|they) (?P<here>(contacted) with)(?= (?:me|us|you|him|her|them|the|our|your|my|a|an)\b)": r"\2",
            r"please (?P<here>(contact|call|phone|email) to)(?= (?:me|us|him|her|them)\b)": r"\2",
            r"(marry|marries) with(?= (?:me|him|her|someone|somebody)\b)": r"\2",
            r"(enter(?:s|ed|ing)?) into(?= (?:the|a|my|our|your|this) "
            r"(?:room|office|building|hotel|lobby|warehouse|lift|shop|store|country)\b)": r"\2",
            r"(?:(?:like|want|need|wish) to) (?P<here>(request) for)(?= (?:a|an|the|some|more|your)\b)": r"\2",
            r"^I (?P<here>(request) for)(?= (?:a|an|the|some|more|your)\b)": r"\2",
            r"despite of": "despite",
            r"(?:I|we|they|it) (?P<here>(lacks?) of)": r"\2",
            r"(await(?:s|ed|ing)?) for": r"\2",
            r"(?:can|could|cannot|can't|couldn't) (?P<here>(access) to)(?= (?:the|our|your|my|this|that|it|any|all)\b)": r"\2",
            r"(inform(?:s|ed)?) to(?= (?:me|you|us|him|her|them)\b)": r"\2",
            r"please (?P<here>(tell) to)(?= (?:me|us|him|her|them)\b)": r"\2",
            r"(go|goes|went|come|comes|came|returned) (?:back )?to home"
            r"(?=\s*(?:[.,;!?]|$)|\s+(?:after|at|early|late|now|today|with|by|and)\b)": r"\2 home",
            r"(go|goes|went) to (there|abroad)": r"\2 \3",
            r"(come|comes|came|coming) to (here|abroad)": r"\2 \3",
        },
    ),
    (
        "preposition",
        "preposition",
        {
            r"(explain(?:s|ed)?|describe[sd]?) (me|us|you)(?= (?:the|this|that|how|why|what|about|more)\b)": r"\2 to \3",
            r"(repl(?:y|ies|ied)) (me|us|him)": r"\2 to \3",
            r"(?:will|'ll|shall) (?P<here>(reply) (you))": r"\2 to \3",
            r"(depend(?:s|ed|ing)?) of": r"\2 on",
            r"(?<!\bmost\x20)responsible of": "responsible for",
            r"(pay(?:s|ing)?|paid) attention on(?= (?:the|this|that|these|those|it|our|my|your|their|safety|quality|details?)\b)": (
                r"\2 attention to"
            ),
            r"(get|gets|got|getting) married with(?= (?:me|him|her|someone|somebody|my|his|a)\b)": r"\2 married to",
            r"(prefer(?:s|red)?) (?!more|less|other|rather|nothing|anything|\w+er\b)(\w+) than(?= \w)": r"\2 \3 to",
        },
    ),
    (
        "redundancy",
        "redundancy",
        {
            r"(return(?:s|ed|ing)?|revert(?:s|ed|ing)?|repl(?:y|ies|ied|ying)) "
            r"back(?! (?:office|door|pain|seat|room|page|side|order|copy|rent|pay)\b)": r"\2",
            r"(return(?:s|ed|ing)?) (it|them|the (?:money|deposit|goods|form|key|keys|card|item|items)) back": r"\2 \3",
            r"(repeat(?:s|ed|ing)?) again(?! and\b)": r"\2",
            r"in nowadays": "nowadays",
            r"and etc": "etc",
            r"can able to": "can",
            r"could able to": "could",
            r"(have|has|had|is|are) no any(?! more\b)": r"\2 no",
            r"(?:I|we|they) (?P<here>more (prefer))": r"\2",
        },
    ),
    (
        "connective",
        "although_but",
        {
            r"^(?:although|though|even though) "
            r"(?![^.!?;:,\n]*\b(?:not|nothing|anything|everything|nobody)\b)[^.!?;:,\n]{3,120}(?P<here>, but)"
            r"(?= (?:I|we|you|he|she|it|they|the|this|that|there|our|my|your|his|her|their)\b)": ",",
        },
    ),
    (
        "connective",
        "because_so",
        {
            r"^because (?!of\b)[^.!?;:,\n]{3,120}(?P<here>, so)(?= (?:I|we|you|he|she|it|they|the|this|there|our|my|your)\b)": ",",
        },
    ),
    (
        "verb_form",
        "gerund",
        {
            r"(look|looks|looked|looking) forward to (hear|meet|see|receiv|speak)e?"
            r"(?= (?:from|you|your|the|to|with|him|her|them|it|a|an|all)\b)": r"\2 forward to \3ing",
        },
    ),
    (
        "verb_form",
        "no_be",
        {
            r"(I|we|they)(?: am|'m| are|'re) (?:very )?(agree|disagree|appreciate|understand|think|want|believe|recommend)": r"\2 \3",
            r"(I|we|they)(?: am|'m| are|'re) come from": r"\2 come from",
            r"(it)(?: is|'s) depend on": r"\2 depends on",
            r"^(it)(?: is|'s) depends on": r"\2 depends on",
        },
    ),
    (
        "verb_form",
        "verb_form",
        {
            r"I(?: am|'m) not agree": "I do not agree",
            r"(I|we)( am|'m| are|'re) interesting in": r"\2\3 interested in",
            r"(did not|didn't) went": r"\2 go",
            r"(did not|didn't) came": r"\2 come",
            r"(did not|didn't) saw": r"\2 see",
            r"(did not|didn't) got": r"\2 get",
            r"(did not|didn't) took": r"\2 take",
            r"(did not|didn't) gave": r"\2 give",
            r"(did not|didn't) knew": r"\2 know",
            r"(did not|didn't) told": r"\2 tell",
            r"(did not|didn't) sent": r"\2 send",
            r"(did not|didn't) had": r"\2 have",
            r"(did not|didn't) (receive|arrive|like)d": r"\2 \3",
            r"(did not|didn't) (call|finish|ask|check|want|need|work|answer|pay)ed": r"\2 \3",
            r"^(I|we|you|they) (must|should) to"
            r"(?= (?:go|do|be|have|make|take|check|ask|pay|send|call|get|know|see|work|finish|tell|wait)\b)": r"\2 \3",
            r"let me to(?= (?:explain|introduce|check|see|know|show|tell|help|ask|say|give|confirm|think)\b)": "let me",
            r"(suggest) you to(?= (?:check|go|take|use|try|ask|call|contact|pay|buy|book|choose|wait|make|do|have|visit|send)\b)": (
                r"\2 that you"
            ),
            r"&(he|she|it|they|we|I|you) (will|must|should|would) has": r"\2 \3 have",
            r"&(he|she|it|they|we|I|you) (will|must|should|would|can|could|may|might) goes": r"\2 \3 go",
            r"&(he|she|it|they|we|I|you) (will|must|should|would) (take|give|make|come|get|send|pay|arrive)s": r"\2 \3 \4",
        },
    ),
    (
        "uncountable",
        "uncountable",
        {
            rf"(how|too|so) many (money|traffic|help|progress){_ALONE}": r"\2 much \3",
            rf"many (money|traffic|progress){_ALONE}": r"a lot of \2",
        },
    ),
    (
        "word_choice",
        "comparative",
        {
            rf"more ({_COMPARED})(?= than\b)": r"\2",
            rf"(?:is|are|be|was|were|it's|become|becomes|looks?|feels?) (?P<here>more ({_COMPARED}))(?=\s*(?:[.,;!?]|$))": r"\2",
            rf"much more ({_COMPARED})": r"much \2",
            r"the most (best|worst|easiest|cheapest|fastest|biggest|smallest|highest|lowest|strongest|earliest|latest|longest|closest"
            r"|safest)(?! (?:in class|practi[cs]es?)\b)": r"the \2",
        },
    ),
    (
        "word_choice",
        "very_verb",
        {
            r"(I|we|you|they) very (like|appreciate|enjoy|want|hope|love|need)": r"\2 really \3",
            r"(he|she|it) very (likes|appreciates|enjoys|wants|hopes|loves|needs)": r"\2 really \3",
            r"(I|we|you|they) very agree": r"\2 fully agree",
        },
    ),
    (
        "word_choice",
        "expression",
        {
            r"according to (my|our) (?:own |personal )?opinions?": r"in \2 opinion",
            r"according to (my|our) point of view": r"from \2 point of view",
            r"according to me(?=,)": "in my opinion",
            r"^in my point of view(?=,)": "from my point of view",
            r"^in the other hand(?=,)": "on the other hand",
            r"^as I know(?=,)": "as far as I know",
            rf"(open)(?:ed|s)? the (lights?|tv|television|air[- ]con(?:ditioner|ditioning)?){_ALONE}": r"turn on the \3",
            rf"close the (lights?|tv|television|air[- ]con(?:ditioner|ditioning)?){_ALONE}": r"turn off the \2",
            r"^(?P<here>how to (say|spell|pronounce))(?= (?!no\b)[^.!?\n]{1,80}\?)": r"how do I \2",
            r"your kindly (help|support|reply|assistance|attention|co-?operation|understanding)": r"your kind \2",
            r"^how (do|does|did|will|would) (it|he|she|they|this|that|the \w+) look like": r"what \2 \3 look like",
            r"^how do you think about(?= (?:it|this|that|my|our)\b)": "what do you think about",
            r"(?P<here>borrow me)(?= (?:a|an|your|some|one|two)\b)": "lend me",
            r"^there have (many|some|several|a lot of|lots of|two|three|four|five|no|any)": r"there are \2",
            r"^there (?:has|have) (a|an|one)(?! lot\b)": r"there is \2",
        },
    ),
)
# Those whose correction is certain, though the sentence might need another change too.
_LESS_SURE = frozenset({"although_but", "because_so", "very_verb"})
_PHRASES = tuple(
    _Phrase(_compiled(pattern), correction, kind, message, 0.9 if message in _LESS_SURE else 0.95)
    for kind, message, patterns in _TABLE
    for pattern, correction in patterns.items()
)


# ---------------------------------------------------------------------- doubled words

# Not "that that", "had had", "is is", "her her", "in in", "very very" and the like: each is right somewhere.
_ONCE = (
    "the|an|and|or|but|if|because|than|we|they|she|your|our|their|its|meeting|invoice|customer|client|guest|contract|payment|shipment"
    "|delivery|company|manager|problem|question|document|container|booking|reservation|account|discount|budget|deadline|supplier"
)
_TWICE = {word: re.compile(rf"{_BEFORE}(?:{word}|{word.capitalize()})(?:[^\S\n]+{word})+{_BEHIND}") for word in _ONCE.split("|")} | {
    # "A a" may be a name and an article; "the hotel that we heard of of course", and "the man they spoke to to ask", are in order.
    "a": re.compile(rf"{_BEFORE}a(?:[^\S\n]+a)+{_BEHIND}"),
    "of": re.compile(rf"{_BEFORE}of(?:[^\S\n]+of)+(?!\s+course){_BEHIND}"),
    "to": re.compile(rf"(?:want|wants|wanted|need|needs|needed|like|able|going|plan|try)\s+(?P<here>to(?:[^\S\n]+to)+){_BEHIND}"),
}


def _doubled(text: str) -> Iterator[_Found]:
    for word, pattern in _TWICE.items():
        group = "here" if word == "to" else 0
        for match in pattern.finditer(text):
            yield _Found(match.start(group), match[group], word, "doubled_word", "doubled_word", 0.97)


# ---------------------------------------------------------------------- a and an

_ARTICLE = re.compile(rf"{_BEFORE}(?P<article>[Aa]n?)[^\S\n]+(?=(?P<next>\d+(?:[.,]\d+)*|[^\W\d_]+)(?P<tail>[-'’]?\w*))")
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


def _sound(word: str) -> Literal["a", "an"] | None:
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


def _articles(text: str) -> Iterator[_Found]:
    for match in _ARTICLE.finditer(text):
        article, word = match["article"], match["next"]
        before = text[max(0, match.start() - 20) : match.start()]
        opens = re.search(_START + r"\Z", before) is not None
        named = article[0] == "A" and (not opens or word[0].isupper() or word.endswith(("s", "ed")))
        if named or _LETTERED.search(before):
            continue
        # "An in-house lawyer" has an article, unlike "in the house".
        right = _sound(word) if word.lower() not in _NO_NOUN or word.isupper() or match["tail"].startswith("-") else None
        if right is not None and right != article.lower():
            rest = f"{word}{match['tail']}"
            yield _Found(match.start(), f"{match[0]}{rest}", f"{right} {rest}", "article", f"article_{right}", 0.95)


# ---------------------------------------------------------------------- he, she and it

# Not "cost", "put", "let", "read" and the like, which are past tenses too; "need not" is a modal.
_VERBS = (
    r"take|go|work|need(?! (?:not|only|hardly)\b)|want|have|do|don't|like(?! (?:a|an|this|that)\b)|make|know|think|say|come|look|seem|mean"
    r"|sound|give|get|live|speak|call|tell|pay|start|finish|feel|find|keep|send|buy|sell|love|understand|agree|arrive|leave|stay|show|bring|depend|include|happen|become"
    "|cause|contain|provide|remain|belong|talk|write|play|begin|eat|drink|drive|teach|learn|believe|remember|forget|expect|try|carry|study|worry|apply"
    r"|reply|explain|follow|handle|manage|offer|deliver|receive|wait|check|ask|help|use(?! to\b)|travel|smell|taste|cover"
)
_ALWAYS = r"(?:always|usually|often|never|sometimes|really|still)"
_SUBJECT = re.compile(
    rf"{_CLAUSE}(?P<subject>he|she|it)\s+(?:{_ALWAYS}\s+)?(?P<verb>{_VERBS}){_BEHIND}".replace(" ", r"\s+").replace("n't", "n['’]t"),
    re.IGNORECASE,
)
_HAVING = re.compile(rf"{_CLAUSE}(?P<here>(?P<subject>we|they|he|she|it|I)\s+(?P<verb>is|has|was|are|am)){_BEHIND}", re.IGNORECASE)
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


def _agreements(text: str) -> Iterator[_Found]:
    for match in _SUBJECT.finditer(text):
        start, end = sentence_at(text, match.start("subject"))
        before = text[start : match.start("subject")]
        # "How it work?" lacks an auxiliary, not an -s.
        asked = "?" in text[start:end] and _ASKED.search(before)
        if not asked and not _compared(match, before) and not _OTHERWISE.search(before) and not _PAST.search(text[start:end]):
            verb = match["verb"]
            yield _Found(match.start("verb"), verb, _third_person(verb), "agreement", "third_person", 0.93)
    for match in _HAVING.finditer(text):
        right = _BE.get((match["subject"].lower(), match["verb"].lower()))
        if right is not None and not _compared(match, text[: match.start("here")]):
            yield _Found(match.start("here"), match["here"], f"{match['subject']} {right}", "agreement", "agreement", 0.93)


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


# ---------------------------------------------------------------------- what cannot be counted

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
_HOW_MANY = rf"(?:how|too|so|as) many|many|a few|few|several|some|any|more|much|these|those|this|that|an?|{_NUMBER}"
_MANY = rf"(?P<many>{_HOW_MANY})\s+(?:(?P<adjective>{_ADJECTIVES})\s+)?".replace(" ", r"\s+")
_VERB = r"(?:\s+(?P<verb>are|were|have))?"
_PLURAL = re.compile(rf"{_BEFORE}(?:{_MANY})?(?P<noun>{'|'.join(_MASS)}){_VERB}{_BEHIND}", re.IGNORECASE)
_SINGULAR = re.compile(rf"{_BEFORE}{_MANY}(?P<noun>{_PIECES}){_VERB}{_BEHIND}{_ALONE}", re.IGNORECASE)
# A verb as well as a noun: "she researches the market".
_VERBS_TOO = frozenset({"evidences", "researches", "staffs"})
# A bank's advice is a paper, and papers can be counted.
_PAPERS = re.compile(r"remit|pay|paid|credit|debit|transfer|ship|dispatch|swift|bank|cargo|arrival|vessel", re.IGNORECASE)
_MUCH = {"these": "this", "those": "that", "many": "a lot of"}
_COUNTING = re.compile(rf"many|a few|few|several|these|those|an?|{_NUMBER}|(?:how|too|so|as) many")


def _uncountables(text: str) -> Iterator[_Found]:
    for pattern in (_PLURAL, _SINGULAR):
        for match in pattern.finditer(text):
            noun = match["noun"].lower()
            many = " ".join((match["many"] or "").lower().split())
            start, end = sentence_at(text, match.start())
            legitimate = noun.startswith("advice") and _PAPERS.search(text[start:end])
            counted = _COUNTING.fullmatch(many) is not None or (many in ("some", "any", "more", "much") and noun != "advice")
            if not legitimate and (counted or (noun in _MASS and noun not in _VERBS_TOO)) and (noun in _MASS or many not in _KEPT):
                yield _uncountable(text, match, noun, many)


_KEPT = frozenset({"some", "any", "more", "much", "this", "that"})


def _uncountable(text: str, match: re.Match[str], noun: str, many: str) -> _Found:
    mass, adjective, verb = _MASS.get(noun, noun), (match["adjective"] or "").lower(), match["verb"]
    if many in ("a", "an"):
        count = f"{_sound(adjective) or 'a'} {adjective} piece of" if adjective else "a piece of"
        words, one = f"{count} {mass}", True
    elif mass == "staff":
        words, one = f"{many} {adjective} members of staff", False
    elif many in ("several", "a few", "few") or many[:1].isdigit() or re.fullmatch(_NUMBER, many):
        words, one = f"{many} pieces of {adjective} {mass}", False
    else:
        much = many.replace("many", "much") if " " in many else _MUCH.get(many, many)
        words, one = f"{much} {adjective} {mass}", not text[: match.start()].rstrip().lower().endswith((" and", " or"))
    if verb is not None:
        words += f" {_SINGLE[verb.lower()] if one else verb}"
    return _Found(match.start(), match[0], " ".join(words.split()), "uncountable", "uncountable", 0.95)


_SINGLE = {"are": "is", "were": "was", "have": "has"}


_FINDERS: tuple[Callable[[str], Iterator[_Found]], ...] = (_uncountables, _phrases, _doubled, _articles, _agreements)


# ---------------------------------------------------------------------- in the learner's language

_TAGS: Mapping[str, Language] = {
    "en": "en",
    "es": "es",
    "fr": "fr",
    "ja": "ja",
    "yue": "zh-Hant",
    "zh": "zh-Hans",
    "zh-hans": "zh-Hans",
    "zh-hant": "zh-Hant",
    "zh-hk": "zh-Hant",
    "zh-mo": "zh-Hant",
    "zh-tw": "zh-Hant",
    "zh-yue": "zh-Hant",
}
_MESSAGES: Mapping[str, Mapping[Language, str]] = {
    "doubled_word": {
        "en": "The same word stands here twice. Once is enough.",
        "zh-Hant": "同一個字重複了，寫一次便可。",
        "zh-Hans": "同一个词重复了，写一次即可。",
        "es": "La misma palabra aparece dos veces. Basta con una.",
        "fr": "Le même mot est écrit deux fois. Une seule suffit.",
        "ja": "同じ語が重なっています。一度で十分です。",
    },
    "article_a": {
        "en": "“a” stands before a consonant sound: “{correction}”. What counts is the sound, not the letter.",
        "zh-Hant": "輔音開頭的字前用“a”：“{correction}”。要看讀音，不是看字母。",
        "zh-Hans": "辅音开头的词前用“a”：“{correction}”。要看读音，不是看字母。",
        "es": "Ante un sonido consonántico se usa «a»: «{correction}». Cuenta el sonido, no la letra.",
        "fr": "Devant un son de consonne, on emploie « a » : « {correction} ». C'est le son qui compte, pas la lettre.",
        "ja": "子音で始まる語の前では a を使います：「{correction}」。つづりではなく発音で決まります。",
    },
    "article_an": {
        "en": "“an” stands before a vowel sound: “{correction}”. What counts is the sound, not the letter.",
        "zh-Hant": "元音開頭的字前用“an”：“{correction}”。要看讀音，不是看字母。",
        "zh-Hans": "元音开头的词前用“an”：“{correction}”。要看读音，不是看字母。",
        "es": "Ante un sonido vocálico se usa «an»: «{correction}». Cuenta el sonido, no la letra.",
        "fr": "Devant un son de voyelle, on emploie « an » : « {correction} ». C'est le son qui compte, pas la lettre.",
        "ja": "母音で始まる語の前では an を使います：「{correction}」。つづりではなく発音で決まります。",
    },
    "third_person": {
        "en": "After he, she or it, a verb in the present takes -s: “{correction}”.",
        "zh-Hant": "現在式中，he、she、it 之後的動詞要加 -s：“{correction}”。",
        "zh-Hans": "一般现在时里，he、she、it 后面的动词要加 -s：“{correction}”。",
        "es": "Con he, she o it, el verbo en presente lleva -s: «{correction}».",
        "fr": "Après he, she ou it, le verbe au présent prend un -s : « {correction} ».",
        "ja": "he、she、it の後の現在形の動詞には -s が付きます：「{correction}」。",
    },
    "agreement": {
        "en": "The verb changes with its subject: “{correction}”.",
        "zh-Hant": "動詞要配合主語：“{correction}”。",
        "zh-Hans": "动词要与主语一致：“{correction}”。",
        "es": "El verbo concuerda con su sujeto: «{correction}».",
        "fr": "Le verbe s'accorde avec son sujet : « {correction} ».",
        "ja": "動詞は主語に合わせます：「{correction}」。",
    },
    "uncountable": {
        "en": "This noun cannot be counted in English: it has no plural, and no “a” or number stands before it. Say “{correction}”.",
        "zh-Hant": "這個名詞在英語中不可數：沒有複數，前面也不用“a”或數字。應說“{correction}”。",
        "zh-Hans": "这个名词在英语中不可数：没有复数，前面也不用“a”或数字。应说“{correction}”。",
        "es": "Este sustantivo es incontable en inglés: no tiene plural ni lleva «a» o un número. Diga «{correction}».",
        "fr": "Ce nom est indénombrable en anglais : ni pluriel, ni « a », ni nombre. Dites « {correction} ».",
        "ja": "この名詞は英語では数えられません。複数形がなく、a や数も付きません。「{correction}」と言います。",
    },
    "direct_object": {
        "en": "No preposition here: “{correction}” is followed at once by what it is about.",
        "zh-Hant": "這裡不用介詞：“{correction}”之後直接接受詞或地點。",
        "zh-Hans": "这里不用介词：“{correction}”后面直接接宾语或地点。",
        "es": "Aquí no va preposición: a «{correction}» le sigue directamente su complemento.",
        "fr": "Pas de préposition ici : « {correction} » est suivi directement de son complément.",
        "ja": "ここに前置詞は要りません。「{correction}」の直後に続けます。",
    },
    "preposition": {
        "en": "English has another preposition here: “{correction}”.",
        "zh-Hant": "這裡要用另一個介詞：“{correction}”。",
        "zh-Hans": "这里要用另一个介词：“{correction}”。",
        "es": "Aquí el inglés usa otra preposición: «{correction}».",
        "fr": "L'anglais emploie ici une autre préposition : « {correction} ».",
        "ja": "ここでは別の前置詞を使います：「{correction}」。",
    },
    "redundancy": {
        "en": "The same is said twice here: “{correction}” is enough.",
        "zh-Hant": "意思重複了：“{correction}”已經足夠。",
        "zh-Hans": "意思重复了：“{correction}”就够了。",
        "es": "Aquí se dice lo mismo dos veces: basta con «{correction}».",
        "fr": "La même chose est dite deux fois : « {correction} » suffit.",
        "ja": "意味が重なっています。「{correction}」だけで十分です。",
    },
    "although_but": {
        "en": "“although” or “but”: in English one of the two joins the clauses, not both.",
        "zh-Hant": "“although”和“but”只用其中一個，不能像“雖然……但是”那樣同時用。",
        "zh-Hans": "“although”和“but”只用其中一个，不能像“虽然……但是”那样同时用。",
        "es": "«although» o «but»: en inglés basta con uno de los dos para unir las oraciones.",
        "fr": "« although » ou « but » : en anglais, un seul des deux relie les propositions.",
        "ja": "although と but はどちらか一方だけを使います。",
    },
    "because_so": {
        "en": "“because” or “so”: in English one of the two joins the clauses, not both.",
        "zh-Hant": "“because”和“so”只用其中一個，不能像“因為……所以”那樣同時用。",
        "zh-Hans": "“because”和“so”只用其中一个，不能像“因为……所以”那样同时用。",
        "es": "«because» o «so»: en inglés basta con uno de los dos para unir las oraciones.",
        "fr": "« because » ou « so » : en anglais, un seul des deux relie les propositions.",
        "ja": "because と so はどちらか一方だけを使います。",
    },
    "gerund": {
        "en": "The “to” of “look forward to” is a preposition, so the verb takes -ing: “{correction}”.",
        "zh-Hant": "“look forward to”的“to”是介詞，之後的動詞要用 -ing：“{correction}”。",
        "zh-Hans": "“look forward to”的“to”是介词，后面的动词要用 -ing：“{correction}”。",
        "es": "El «to» de «look forward to» es preposición; el verbo va en -ing: «{correction}».",
        "fr": "Le « to » de « look forward to » est une préposition : le verbe prend -ing : « {correction} ».",
        "ja": "look forward to の to は前置詞なので、動詞は -ing 形にします：「{correction}」。",
    },
    "no_be": {
        "en": "“am”, “is” and “are” do not stand before a plain verb: “{correction}”.",
        "zh-Hant": "動詞原形前不加“am”、“is”、“are”：“{correction}”。",
        "zh-Hans": "动词原形前不加“am”、“is”、“are”：“{correction}”。",
        "es": "«am», «is» y «are» no van delante de un verbo sin marca: «{correction}».",
        "fr": "« am », « is » et « are » ne précèdent pas un verbe simple : « {correction} ».",
        "ja": "動詞の原形の前に am、is、are は付きません：「{correction}」。",
    },
    "verb_form": {
        "en": "The verb has another form here: “{correction}”.",
        "zh-Hant": "這裡的動詞要用另一個形式：“{correction}”。",
        "zh-Hans": "这里的动词要用另一种形式：“{correction}”。",
        "es": "Aquí el verbo lleva otra forma: «{correction}».",
        "fr": "Le verbe prend ici une autre forme : « {correction} ».",
        "ja": "ここでは動詞の形が変わります：「{correction}」。",
    },
    "comparative": {
        "en": "The word is compared already, so “more” or “most” is too much: “{correction}”.",
        "zh-Hant": "這個字本身已是比較級或最高級，不再加“more”或“most”：“{correction}”。",
        "zh-Hans": "这个词本身已是比较级或最高级，不再加“more”或“most”：“{correction}”。",
        "es": "La palabra ya está en grado comparativo o superlativo; sobra «more» o «most»: «{correction}».",
        "fr": "Le mot est déjà au comparatif ou au superlatif ; « more » ou « most » est de trop : « {correction} ».",
        "ja": "すでに比較級か最上級なので、more や most は要りません：「{correction}」。",
    },
    "very_verb": {
        "en": "“very” does not stand before a verb. Say “{correction}”.",
        "zh-Hant": "“very”不能直接修飾動詞。應說“{correction}”。",
        "zh-Hans": "“very”不能直接修饰动词。应说“{correction}”。",
        "es": "«very» no va delante de un verbo. Diga «{correction}».",
        "fr": "« very » ne se place pas devant un verbe. Dites « {correction} ».",
        "ja": "very は動詞の前には置けません。「{correction}」と言います。",
    },
    "expression": {
        "en": "“{original}” is not how English says it. Say “{correction}”.",
        "zh-Hant": "英語不說“{original}”，應說“{correction}”。",
        "zh-Hans": "英语不说“{original}”，应说“{correction}”。",
        "es": "En inglés no se dice «{original}», sino «{correction}».",
        "fr": "En anglais, on ne dit pas « {original} », mais « {correction} ».",
        "ja": "英語では「{original}」とは言わず、「{correction}」と言います。",
    },
}
