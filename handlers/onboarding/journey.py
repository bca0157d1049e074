"""The journey: what its steps are answered with, and what follows from an answer."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from bus.message import Event, FieldError
from bus.registry import handles, prepares, reacts
from db.reads import Reads
from db.session import Work
from domain.accounts.events import AccountRegistered
from domain.errors import Invalid
from domain.onboarding.commands import (
    ChooseIndustry,
    ChooseNativeLanguage,
    ChoosePartners,
    ChooseRole,
    ChooseSituations,
    ChosenPartner,
    ChosenRole,
    ChosenSituation,
    CompleteOnboarding,
    DescribeRole,
    JourneyState,
    LearningGoals,
    NativeLanguage,
    Partner,
    PauseJourney,
    ResetJourney,
    SetLearningGoals,
    Situation,
    SwitchReminders,
)
from domain.onboarding.events import AnswerChanged, OnboardingCompleted, StepAnswered
from domain.onboarding.model import Journey
from domain.onboarding.rules import DESCRIPTION, GOAL, NAME, NOTE, TITLE, duplicates, own_id, shown, text_problems
from domain.onboarding.steps import LADDER
from domain.types import AccountId
from handlers.ports import Clock


class FoundIndustry(msgspec.Struct, frozen=True):
    id: UUID


class FoundRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role of the catalogue, and its industry; or one that the learner described."""

    role: ChosenRole
    industry: UUID | None


class FoundPartners(msgspec.Struct, frozen=True):
    partners: tuple[ChosenPartner, ...]


class FoundSituations(msgspec.Struct, frozen=True):
    """By partner; whether it is one of the learner's is for the journey to say."""

    situations: dict[UUID, tuple[ChosenSituation, ...]]


@reacts("onboarding.begin_journey")
async def begin_journey(event: AccountRegistered, work: Work, clock: Clock) -> None:
    await _begun(work, event.account, clock())


@prepares(ChooseNativeLanguage)
async def find_languages(cmd: ChooseNativeLanguage, reads: Reads, clock: Clock) -> NativeLanguage:
    chosen = (await reads.onboarding.journey(cmd.account, now=clock())).answers.native_language
    held = () if chosen is None else (chosen.language, chosen.target_language, chosen.explanation_language)
    given = {"language": cmd.language, "target_language": cmd.target_language, "explanation_language": cmd.explanation_language}
    refs = {field: ref for field, ref in given.items() if ref is not None}
    found = await reads.catalogue.resolve("language", tuple(refs.values()))
    usable = {ref for ref, one in found.items() if one.available or one.slug in held}
    _refuse(_unknown(f"/{field}", "languages") for field, ref in refs.items() if ref not in usable)
    language = found[cmd.language].slug
    return NativeLanguage(
        language=language,
        proficiency=cmd.proficiency,
        target_language=found[cmd.target_language].slug,
        explanation_language=language if cmd.explanation_language is None else found[cmd.explanation_language].slug,
    )


@handles(ChooseNativeLanguage)
async def choose_native_language(cmd: ChooseNativeLanguage, work: Work, answer: NativeLanguage, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.choose_native_language(answer, expected=cmd.expected, now=now), now)


@handles(SetLearningGoals)
async def set_learning_goals(cmd: SetLearningGoals, work: Work, clock: Clock) -> JourneyState:
    pointers = [(f"/goals/{n}", goal) for n, goal in enumerate(cmd.goals)]
    _refuse(problem for pointer, goal in pointers for problem in text_problems(pointer, goal, GOAL))
    goals = tuple(shown(goal) for goal in cmd.goals)
    _refuse(duplicates((pointer, shown(goal).casefold()) for pointer, goal in pointers))
    journey = await _begun(work, cmd.account, now := clock())
    answer = LearningGoals(goals=goals, minutes_a_day=cmd.minutes_a_day, timeline=cmd.timeline)
    return await _kept(work, journey, journey.set_learning_goals(answer, expected=cmd.expected, now=now), now)


@prepares(ChooseIndustry)
async def find_industry(cmd: ChooseIndustry, reads: Reads) -> FoundIndustry:
    found = (await reads.catalogue.resolve("industry", (cmd.industry,))).get(cmd.industry)
    if found is None or not (found.available or found.id == await reads.onboarding.industry_of(cmd.account)):
        raise Invalid(errors=(_unknown("/industry", "industries"),))
    return FoundIndustry(found.id)


@handles(ChooseIndustry)
async def choose_industry(cmd: ChooseIndustry, work: Work, found: FoundIndustry, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.choose_industry(found.id, expected=cmd.expected, now=now), now)


@prepares(ChooseRole)
async def find_role(cmd: ChooseRole, reads: Reads, clock: Clock) -> FoundRole:
    answers = (await reads.onboarding.journey(cmd.account, now=clock())).answers
    if answers.role is not None and cmd.role.strip().lower() == str(answers.role.id):
        return FoundRole(role=answers.role, industry=answers.industry)
    found = await reads.catalogue.role(cmd.role, viewer=cmd.account)
    if found is None or not (found.available or (answers.role is not None and answers.role.id == found.id)):
        raise Invalid(errors=(_unknown("/role", "roles"),))
    return FoundRole(role=ChosenRole(id=found.id), industry=found.industry)


@handles(ChooseRole)
async def choose_role(cmd: ChooseRole, work: Work, found: FoundRole, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.choose_role(found.role, industry=found.industry, expected=cmd.expected, now=now), now)


@prepares(DescribeRole)
async def find_level(cmd: DescribeRole, reads: Reads, clock: Clock) -> FoundRole:
    """Its id needs the industry, which only the handler knows for sure."""
    chosen = (await reads.onboarding.journey(cmd.account, now=clock())).answers.role
    held = None if chosen is None else chosen.hierarchy_level
    problems = [*text_problems("/custom/title", cmd.title, TITLE), *text_problems("/custom/description", cmd.description, DESCRIPTION)]
    level = (await reads.catalogue.resolve("hierarchy_level", (cmd.hierarchy_level,))).get(cmd.hierarchy_level)
    if level is None or not (level.available or level.slug == held):
        problems.append(_unknown("/custom/hierarchy_level", "hierarchy-levels"))
    _refuse(problems)
    slug = "" if level is None else level.slug
    role = ChosenRole(id=cmd.account, title=shown(cmd.title), description=shown(cmd.description), hierarchy_level=slug)
    return FoundRole(role=role, industry=None)


@handles(DescribeRole)
async def describe_role(cmd: DescribeRole, work: Work, found: FoundRole, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    identity = own_id(cmd.account, f"role/{journey.answers.industry}", cmd.title)
    role = msgspec.structs.replace(found.role, id=identity)
    return await _kept(work, journey, journey.choose_role(role, industry=None, expected=cmd.expected, now=now), now)


@prepares(ChoosePartners)
async def find_partners(cmd: ChoosePartners, reads: Reads, clock: Clock) -> FoundPartners:
    answers = (await reads.onboarding.journey(cmd.account, now=clock())).answers
    chosen = {partner.id for partner in answers.partners}
    problems, partners = await _resolved(reads, cmd.account, "partner", "/partners", cmd.partners, chosen)
    _refuse(problems)
    return FoundPartners(tuple(ChosenPartner(id=one.id, name=one.name, description=one.description) for one in partners))


@handles(ChoosePartners)
async def choose_partners(cmd: ChoosePartners, work: Work, found: FoundPartners, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.choose_partners(found.partners, expected=cmd.expected, now=now), now)


@prepares(ChooseSituations)
async def find_situations(cmd: ChooseSituations, reads: Reads, clock: Clock) -> FoundSituations:
    answers = (await reads.onboarding.journey(cmd.account, now=clock())).answers
    chosen = {situation.id for partner in answers.partners for situation in partner.situations}
    of_catalogue = await reads.catalogue.resolve("partner", [one.partner for one in cmd.partners])
    problems: list[FieldError] = []
    found: dict[UUID, tuple[ChosenSituation, ...]] = {}
    for n, one in enumerate(cmd.partners):
        partner = of_catalogue[one.partner].id if one.partner in of_catalogue else _identity(one.partner, cmd.account)
        if partner in found:
            problems.append(FieldError(f"/partners/{n}/partner", "duplicate", "This partner is there already. Send each once."))
        pointer = f"/partners/{n}/situations" if cmd.every else "/situations"
        wrong, found[partner] = await _resolved(reads, cmd.account, "situation", pointer, one.situations, chosen)
        problems += wrong
    _refuse(problems)
    return FoundSituations(found)


@handles(ChooseSituations)
async def choose_situations(cmd: ChooseSituations, work: Work, found: FoundSituations, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    events = journey.choose_situations(found.situations, every=cmd.every, expected=cmd.expected, now=now)
    return await _kept(work, journey, events, now)


@handles(SwitchReminders)
async def switch_reminders(cmd: SwitchReminders, work: Work, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.switch_reminders(enabled=cmd.enabled, expected=cmd.expected), now)


@handles(PauseJourney)
async def pause_journey(cmd: PauseJourney, work: Work, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.pause(now=now), now)


@handles(ResetJourney)
async def reset_journey(cmd: ResetJourney, work: Work, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.reset(now=now), now)


@handles(CompleteOnboarding)
async def complete_onboarding(cmd: CompleteOnboarding, work: Work, clock: Clock) -> JourneyState:
    journey = await _begun(work, cmd.account, now := clock())
    return await _kept(work, journey, journey.complete(now=now), now)


async def _begun(work: Work, account: AccountId, now: datetime) -> Journey:
    journey, made = await work.journeys.begun(account, now=now)
    if made:
        work.record(*journey.begin())
        await work.journeys.reach(account, LADDER[0], now=now)
    return journey


async def _kept(work: Work, journey: Journey, events: Sequence[Event], now: datetime) -> JourneyState:
    """Writes down with it when the learner was where, for the funnel."""
    work.record(*events)
    await work.flush()
    state = journey.state()
    for event in events:
        if isinstance(event, StepAnswered | AnswerChanged) and event.step in LADDER and event.step in state.done:
            await work.journeys.answer(journey.account, event.step, now=now)
        elif isinstance(event, OnboardingCompleted):
            await work.journeys.answer(journey.account, "summary", now=now)
    if events:
        await work.journeys.reach(journey.account, state.current_step, now=now)
    return state


async def _resolved(
    reads: Reads, account: AccountId, kind: str, pointer: str, given: Sequence[Partner | Situation], chosen: set[UUID]
) -> tuple[list[FieldError], tuple[ChosenSituation, ...]]:
    """Everything that is wrong, and those that are not. What the catalogue has retired stays with those who had `chosen` it."""
    of_catalogue = "partner" if kind == "partner" else "situation"
    found = await reads.catalogue.resolve(of_catalogue, [one.ref for one in given if one.ref is not None])
    problems: list[FieldError] = []
    choices: list[tuple[str, ChosenSituation]] = []
    for n, one in enumerate(given):
        place = f"{pointer}/{n}"
        if (one.ref is None) == (one.name is None):
            problems.append(FieldError(f"{place}/{kind}", "one_of", f"Send either {kind} or custom, and not both."))
        elif one.name is not None:
            wrong = list(text_problems(f"{place}/custom/name", one.name, NAME))
            wrong += text_problems(f"{place}/custom/description", one.description or "", NOTE)
            problems += wrong
            if wrong:
                continue
            description = (shown(one.description) or None) if one.description else None
            identity = own_id(account, kind, one.name)
            choices.append((f"{place}/custom/name", ChosenSituation(id=identity, name=shown(one.name), description=description)))
        elif (entry := found.get(one.ref or "")) is not None and (entry.available or entry.id in chosen):
            choices.append((f"{place}/{kind}", ChosenSituation(id=entry.id)))
        else:
            problems.append(_unknown(f"{place}/{kind}", f"{kind}s"))
    problems += duplicates((place, choice.id) for place, choice in choices)
    return problems, tuple(choice for _, choice in choices)


def _identity(text: str, account: AccountId) -> UUID:
    """What is no id at all is nobody's partner; its id is one that nothing has."""
    try:
        return UUID(text)
    except ValueError:
        return own_id(account, "unknown", text)


def _unknown(pointer: str, catalogue: str) -> FieldError:
    return FieldError(pointer, "unknown", f"Send the id or the slug of an entry that GET /api/v2/{catalogue} lists as available.")


def _refuse(problems: Iterable[FieldError] | Iterator[FieldError]) -> None:
    if found := tuple(problems):
        raise Invalid(errors=found)
