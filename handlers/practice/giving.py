"""Giving: which scenarios a learner begins with, and more of them on request."""

import msgspec

from bus.registry import handles, prepares, reacts
from db.reads import Reads
from db.session import Work
from domain.onboarding.events import OnboardingCompleted
from domain.practice.choosing import FIRST_SET, Learner, Meeting, choose, first_request
from domain.practice.commands import GiveScenarios, Requested, RequestScenarios
from domain.practice.errors import ProfileMissing
from domain.practice.events import ScenariosGiven, ScenariosRequested
from domain.types import AccountId
from handlers.ports import Clock, NewId


class Profile(msgspec.Struct, frozen=True):
    """Of a learner whose onboarding is complete; else None."""

    learner: Learner | None


@reacts("practice.give_first_set")
async def give_first_set(event: OnboardingCompleted, work: Work) -> None:
    """Once in a learner's life: whoever takes their answers back and completes again keeps what they have, and asks for more."""
    request = first_request(event.account)
    command = GiveScenarios(account=event.account, request=request, count=FIRST_SET, first=True)
    work.send(command, key=f"practice.first_set:{event.account}")


@prepares(RequestScenarios)
async def look_for_profile(cmd: RequestScenarios, reads: Reads) -> Profile:
    return await _profile(cmd.account, reads)


@handles(RequestScenarios)
async def request_scenarios(cmd: RequestScenarios, work: Work, profile: Profile, new_id: NewId) -> Requested:
    if profile.learner is None:
        raise ProfileMissing
    request = new_id()
    work.record(ScenariosRequested(account=cmd.account, request=request, count=cmd.count))
    work.send(GiveScenarios(account=cmd.account, request=request, count=cmd.count))
    return Requested(request=request, count=cmd.count)


@prepares(GiveScenarios)
async def read_profile(cmd: GiveScenarios, reads: Reads) -> Profile:
    return await _profile(cmd.account, reads)


@handles(GiveScenarios)
async def give_scenarios(cmd: GiveScenarios, work: Work, profile: Profile, clock: Clock) -> None:
    """A learner who has just taken their answers back is given nothing; the next completion gives them their first set."""
    await work.scenarios.hold(cmd.account)
    if await work.scenarios.was_given(cmd.account, cmd.request) or (cmd.first and profile.learner is None):
        return
    chosen = [] if profile.learner is None else choose(profile.learner, await work.scenarios.not_given(cmd.account), cmd.count)
    await work.scenarios.give(cmd.account, cmd.request, chosen, now=clock())
    given = tuple(one.scenario for one in chosen)
    work.record(ScenariosGiven(account=cmd.account, request=cmd.request, scenarios=given, first=cmd.first))


async def _profile(account: AccountId, reads: Reads) -> Profile:
    found = await reads.onboarding.work_profile(account)
    if found is None:
        return Profile(None)
    industries = await reads.catalogue.names("industry", [found.industry])
    partners = await reads.catalogue.names("partner", [one.id for one in found.partners])
    situations = await reads.catalogue.names("situation", [one.id for partner in found.partners for one in partner.situations])
    meetings = tuple(
        Meeting(
            partner=partners[partner.id].slug if partner.id in partners else None,
            situations=tuple(situations[one.id].slug if one.id in situations else None for one in partner.situations),
        )
        for partner in found.partners
    )
    industry = industries[found.industry].slug if found.industry in industries else None
    return Profile(Learner(industry=industry, meetings=meetings, level=found.native_language.proficiency))
