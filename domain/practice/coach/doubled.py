"""The same word twice."""

import re
from collections.abc import Iterator

from domain.practice.coach.findings import Found
from domain.practice.coach.sentences import BEFORE, BEHIND

# Not "that that", "had had", "is is", "her her", "in in", "very very" and the like: each is right somewhere.
_ONCE = (
    "the|an|and|or|but|if|because|than|we|they|she|your|our|their|its|meeting|invoice|customer|client|guest|contract|payment|shipment"
    "|delivery|company|manager|problem|question|document|container|booking|reservation|account|discount|budget|deadline|supplier"
)
_TWICE = {word: re.compile(rf"{BEFORE}(?:{word}|{word.capitalize()})(?:[^\S\n]+{word})+{BEHIND}") for word in _ONCE.split("|")} | {
    # "A a" may be a name and an article; "the hotel that we heard of of course", and "the man they spoke to to ask", are in order.
    "a": re.compile(rf"{BEFORE}a(?:[^\S\n]+a)+{BEHIND}"),
    "of": re.compile(rf"{BEFORE}of(?:[^\S\n]+of)+(?!\s+course){BEHIND}"),
    "to": re.compile(rf"(?:want|wants|wanted|need|needs|needed|like|able|going|plan|try)\s+(?P<here>to(?:[^\S\n]+to)+){BEHIND}"),
}


def doubled(text: str) -> Iterator[Found]:
    for word, pattern in _TWICE.items():
        group = "here" if word == "to" else 0
        for match in pattern.finditer(text):
            yield Found(match.start(group), match[group], word, "doubled_word", "doubled_word", 0.97)
