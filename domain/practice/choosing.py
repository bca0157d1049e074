"""Which scenarios a learner is given, and why: by their industry, then by whom they meet in which situation, then by their level."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal
from uuid import UUID, uuid5

import msgspec

from domain.practice.scenario import LEVELS, NAMESPACE, Level, Range
from domain.types import AccountId

FIRST_SET = 5
"""How many scenarios a learner begins with."""

Because = Literal["partner_and_situation", "situation", "partner", "industry", "variety"]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why one was chosen: for a partner and a situation (slugs) that the learner named, else for their industry, else as the next there is.

    A partner or a situation that does not fit is None, and so is one with the learner's own name for it.
    """

    situation: str | None
    partner: str | None
    because: Because


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What choosing needs to know of a scenario. None fits any industry, situation or partner."""

    id: UUID
    slug: str
    industry: str | None
    situation: str | None
    partner: str | None
    cefr: Range


class Meeting(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a learner meets, and in which situations, the most important first. None is what the learner named in their own words."""

    partner: str | None
    situations: tuple[str | None, ...]


class Learner(msgspec.Struct, frozen=True, kw_only=True):
    """A work profile as choosing needs it, by slugs; the most important meeting first."""

    industry: str | None
    meetings: tuple[Meeting, ...]
    level: Level


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    scenario: UUID
    reason: Reason


def first_request(account: AccountId) -> UUID:
    """The request that a learner's first set answers, though nobody made it: they have only one."""
    return uuid5(NAMESPACE, f"first set of {account}")


def choose(learner: Learner, offered: Sequence[Offered], count: int) -> list[Choice]:
    """At most `count`, the best first; none is chosen twice.

    Each partner with each of its situations, in the learner's order, gets one scenario of their industry: the one with that partner in
    that situation, or else one in that situation. Where the learner named the situation in their own words, the one with the partner must
    do, and where both are their own, the next in order. Then comes what else there is in the industry, and at last other industries in
    the same way. Of several that fit equally well the one nearest to the learner's level is taken.
    """
    chosen: list[Choice] = []
    left = sorted(offered, key=lambda one: (_distance(learner.level, one.cefr), one.slug))
    for home in (True, False):
        near = [one for one in left if _fits(one.industry, learner.industry) is home]
        chosen += _for_meetings(learner.meetings, near)
        rest = Reason(situation=None, partner=None, because="industry" if home else "variety")
        chosen += [Choice(scenario=one.id, reason=rest) for one in near]
    return chosen[:count]


def _for_meetings(meetings: Sequence[Meeting], left: list[Offered]) -> Iterator[Choice]:
    """What is chosen is taken out of `left`."""
    for meeting in meetings:
        for situation in meeting.situations:
            found = _best(meeting.partner, situation, left)
            if found is not None:
                left.remove(found[0])
                yield Choice(scenario=found[0].id, reason=found[1])


def _best(partner: str | None, situation: str | None, left: Sequence[Offered]) -> tuple[Offered, Reason] | None:
    def in_situation(one: Offered) -> bool:
        return situation is not None and _fits(one.situation, situation)

    def with_partner(one: Offered) -> bool:
        return partner is not None and _fits(one.partner, partner)

    def both(one: Offered) -> bool:
        return in_situation(one) and with_partner(one)

    ways: list[tuple[Callable[[Offered], bool], Reason]] = [
        (both, Reason(situation=situation, partner=partner, because="partner_and_situation")),
        (in_situation, Reason(situation=situation, partner=None, because="situation")),
    ]
    if situation is None:
        ways.append((with_partner, Reason(situation=None, partner=partner, because="partner")))
    return next(((one, reason) for fits, reason in ways for one in left if fits(one)), None)


def _fits(has: str | None, wanted: str | None) -> bool:
    return has is None or has == wanted


def _distance(level: Level, cefr: Range) -> int:
    """By how many levels it is too easy or too hard."""
    place = LEVELS.index(level)
    return max(LEVELS.index(cefr.lowest) - place, place - LEVELS.index(cefr.highest), 0)
