# ruff: noqa: RUF001 - People type apostrophes and quotation marks of either kind.
"""Common confusions: what is said otherwise in English, as a table of patterns."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from domain.practice.coach.findings import Found
from domain.practice.coach.sentences import ALONE, BEFORE, BEHIND, CLAUSE, NUMBER, START
from domain.practice.coach.spans import Kind

# "About" may say how many or how long ago.
_ABOUT = rf"about(?! (?:{NUMBER}|half|one|a (?:half|quarter|third|week|month|year|day|dozen|hundred|thousand|minute|few|couple)|an hour)\b)"
_COMPARED = "better|worse|easier|cheaper|faster|bigger|smaller|higher|lower|stronger|shorter|closer|safer|nicer"


def _compiled(pattern: str) -> re.Pattern[str]:
    """`^` is the start of a sentence and `&` that of a clause; a space is any, an apostrophe either.

    The group `here`, all behind the lead unless the pattern says otherwise, is what is wrong. It is group 1.
    """
    lead = {"^": START, "&": CLAUSE}.get(pattern[0], "")
    body = pattern[1:] if lead else pattern
    if "(?P<here>" not in body:
        body = rf"(?P<here>{body})"
    body = body.replace(" ", r"\s+").replace("'", "['’]")
    return re.compile(rf"{lead}{BEFORE}{body}{BEHIND}", re.IGNORECASE)


class _Phrase(NamedTuple):
    """`correction` is a template of `re.Match.expand`."""

    pattern: re.Pattern[str]
    correction: str
    kind: Kind
    message: str
    confidence: float

    def find(self, text: str) -> Iterator[Found]:
        for match in self.pattern.finditer(text):
            correction = " ".join(match.expand(self.correction).split())
            yield Found(match.start("here"), match["here"], correction, self.kind, self.message, self.confidence)


def phrases(text: str) -> Iterator[Found]:
    for phrase in _PHRASES:
        yield from phrase.find(text)


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
            rf"(how|too|so) many (money|traffic|help|progress){ALONE}": r"\2 much \3",
            rf"many (money|traffic|progress){ALONE}": r"a lot of \2",
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
            rf"(open)(?:ed|s)? the (lights?|tv|television|air[- ]con(?:ditioner|ditioning)?){ALONE}": r"turn on the \3",
            rf"close the (lights?|tv|television|air[- ]con(?:ditioner|ditioning)?){ALONE}": r"turn off the \2",
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
