"""One journey for each learner, and the steps that answer it."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Response, get, post, put
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody, PathParameter

from app.api.accounts import own
from app.api.envelope import Answer, Meta
from app.api.languages import AcceptLanguage
from app.api.onboarding.screen import Screen
from app.api.onboarding.shapes import (
    AllSituationsRequest,
    CustomName,
    IndustryRequest,
    LearningGoalsRequest,
    NativeLanguageRequest,
    Onboarding,
    PartnersRequest,
    RemindersRequest,
    RoleRequest,
    SituationRequest,
    SituationsRequest,
)
from app.api.preconditions import expected_versions, is_known
from app.auth import signed_in
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, Command, FieldError, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from domain.errors import DomainError, Invalid, Stale, Unavailable
from domain.onboarding.commands import (
    ChooseIndustry,
    ChooseNativeLanguage,
    ChoosePartners,
    ChooseRole,
    ChooseSituations,
    CompleteOnboarding,
    DescribeRole,
    JourneyState,
    Partner,
    PauseJourney,
    ResetJourney,
    SetLearningGoals,
    Situation,
    SituationsOf,
    SwitchReminders,
)
from domain.onboarding.errors import AlreadyCompleted, Incomplete, StepNotReached, UnknownPartner
from domain.types import AccountId

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of the journey that is to change.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
ETAG = [ResponseHeader(name="ETag", description="The version of the journey, and the language of its labels.", documentation_only=True)]

_LANGUAGES = re.compile(r'(?<=[0-9])\.[A-Za-z][A-Za-z0-9.-]*(?=")')


def expected(if_match: str | None) -> tuple[int, ...] | None:
    """The versions that `If-Match` names, whatever language they were read in; None for any."""
    return None if if_match is None else expected_versions(_LANGUAGES.sub("", if_match))


class Steps:
    """What a request that answers a step needs: it executes the command, and shows the journey."""

    def __init__(self, bus: Bus, actor: Actor, trace: Trace, screen: Screen) -> None:
        self._bus, self._actor, self._trace, self._screen = bus, actor, trace, screen

    @property
    def account(self) -> AccountId:
        return own(self._actor)

    async def take(self, command: Command[JourneyState], once: Once | None = None) -> Response[Answer[Onboarding]]:
        return await self._screen.answer(await self._bus.execute(command, by=self._actor, trace=self._trace, once=once), once)


async def provide_screen(reads: NamedDependency[Reads], meta: NamedDependency[Meta], accept_language: AcceptLanguage = None) -> Screen:
    return Screen(reads, meta, accept_language)


async def provide_steps(
    bus: NamedDependency[Bus], actor: NamedDependency[Actor], trace: NamedDependency[Trace], screen: NamedDependency[Screen]
) -> Steps:
    return Steps(bus, actor, trace, screen)


def answering(*refusals: type[DomainError], acts: bool = False) -> dict[str, Any]:
    """What the routes have in common."""
    own_code: dict[str, Any] = {"status_code": 200} if acts else {}
    return {
        "tags": ["onboarding"],
        "guards": [signed_in],
        "responses": problems(*refusals, Unavailable),
        "response_headers": ETAG,
        **own_code,
    }


STEP = answering(StepNotReached, Stale)


@get(
    "/onboarding",
    operation_id="get_onboarding",
    summary="Where you are, and what you have answered",
    tags=["onboarding"],
    guards=[signed_in],
    responses={304: ResponseSpec(None, description="The client has this version."), **problems(Unavailable)},
    response_headers=ETAG,
)
async def get_onboarding(
    actor: NamedDependency[Actor],
    reads: NamedDependency[Reads],
    meta: NamedDependency[Meta],
    screen: NamedDependency[Screen],
    if_none_match: IfNoneMatch = None,
) -> Response[Answer[Onboarding]] | Response[None]:
    state = await reads.onboarding.state(own(actor), now=meta.timestamp)
    if is_known(if_none_match, screen.tag(state.version)):
        return Response(None, status_code=304, headers=screen.headers(state.version))
    return await screen.answer(state)


@put(
    "/onboarding/native-language",
    operation_id="choose_native_language",
    summary="Say which language you speak at home",
    **STEP,
)
async def choose_native_language(
    data: JSONBody[NativeLanguageRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    command = ChooseNativeLanguage(
        account=steps.account,
        expected=expected(if_match),
        language=data.language,
        proficiency=data.proficiency,
        target_language=data.target_language,
        explanation_language=data.explanation_language,
    )
    return await steps.take(command)


@put(
    "/onboarding/learning-goals",
    operation_id="set_learning_goals",
    summary="Say what you want to reach; nobody must",
    **STEP,
)
async def set_learning_goals(
    data: JSONBody[LearningGoalsRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    command = SetLearningGoals(
        account=steps.account,
        expected=expected(if_match),
        goals=data.goals,
        minutes_a_day=data.minutes_a_day,
        timeline=data.timeline,
    )
    return await steps.take(command)


@put("/onboarding/industry", operation_id="choose_industry", summary="Say where you work", **STEP)
async def choose_industry(
    data: JSONBody[IndustryRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    return await steps.take(ChooseIndustry(account=steps.account, expected=expected(if_match), industry=data.industry))


@put("/onboarding/role", operation_id="choose_role", summary="Say what you do", **STEP)
async def choose_role(data: JSONBody[RoleRequest], steps: NamedDependency[Steps], if_match: IfMatch = None) -> Response[Answer[Onboarding]]:
    versions = expected(if_match)
    if data.custom is not None and data.role is None:
        custom = data.custom
        return await steps.take(
            DescribeRole(
                account=steps.account,
                expected=versions,
                title=custom.title,
                description=custom.description,
                hierarchy_level=custom.hierarchy_level,
            )
        )
    if data.role is None or data.custom is not None:
        raise Invalid(errors=(FieldError("/role", "one_of", "Send either role or custom, and not both."),))
    return await steps.take(ChooseRole(account=steps.account, expected=versions, role=data.role))


@put("/onboarding/partners", operation_id="choose_partners", summary="Say whom you talk to", **STEP)
async def choose_partners(
    data: JSONBody[PartnersRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    """Replaces all of them. Those who stay keep their situations."""
    partners = tuple(Partner(**_chosen(one.partner, one.custom)) for one in data.partners)
    return await steps.take(ChoosePartners(account=steps.account, expected=expected(if_match), partners=partners))


@put(
    "/onboarding/partners/{partner:str}/situations",
    operation_id="choose_situations",
    summary="Say in which situations you meet a partner",
    **answering(StepNotReached, UnknownPartner, Stale),
)
async def choose_situations(
    partner: Annotated[str, PathParameter(description="The id of one of your partners, or the slug of one of the catalogue.")],
    data: JSONBody[SituationsRequest],
    steps: NamedDependency[Steps],
    if_match: IfMatch = None,
) -> Response[Answer[Onboarding]]:
    """Replaces all of this partner's."""
    chosen = (SituationsOf(partner=partner, situations=_situations(data.situations)),)
    return await steps.take(ChooseSituations(account=steps.account, expected=expected(if_match), partners=chosen, every=False))


@put(
    "/onboarding/situations",
    operation_id="choose_all_situations",
    summary="The same for all partners at once",
    **STEP,
)
async def choose_all_situations(
    data: JSONBody[AllSituationsRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    chosen = tuple(SituationsOf(partner=one.partner, situations=_situations(one.situations)) for one in data.partners)
    return await steps.take(ChooseSituations(account=steps.account, expected=expected(if_match), partners=chosen, every=True))


@put("/onboarding/reminders", operation_id="switch_reminders", summary="Switch reminders on or off", **STEP)
async def switch_reminders(
    data: JSONBody[RemindersRequest], steps: NamedDependency[Steps], if_match: IfMatch = None
) -> Response[Answer[Onboarding]]:
    return await steps.take(SwitchReminders(account=steps.account, expected=expected(if_match), enabled=data.enabled))


@post(
    "/onboarding/pause",
    operation_id="pause_onboarding",
    summary="Pause; the next answer goes on",
    **answering(AlreadyCompleted, Mismatch, InProgress, acts=True),
)
async def pause_onboarding(steps: NamedDependency[Steps], once: NamedDependency[Once | None]) -> Response[Answer[Onboarding]]:
    return await steps.take(PauseJourney(account=steps.account), once)


@post(
    "/onboarding/reset",
    operation_id="reset_onboarding",
    summary="Take back every answer",
    **answering(Mismatch, InProgress, acts=True),
)
async def reset_onboarding(steps: NamedDependency[Steps], once: NamedDependency[Once | None]) -> Response[Answer[Onboarding]]:
    return await steps.take(ResetJourney(account=steps.account), once)


@post(
    "/onboarding/complete",
    operation_id="complete_onboarding",
    summary="Complete, when nothing is missing",
    **answering(Incomplete, Mismatch, InProgress, acts=True),
)
async def complete_onboarding(steps: NamedDependency[Steps], once: NamedDependency[Once | None]) -> Response[Answer[Onboarding]]:
    return await steps.take(CompleteOnboarding(account=steps.account), once)


def _situations(given: Sequence[SituationRequest]) -> tuple[Situation, ...]:
    return tuple(Situation(**_chosen(one.situation, one.custom)) for one in given)


def _chosen(ref: str | None, custom: CustomName | None) -> dict[str, str | None]:
    return {"ref": ref, "name": custom and custom.name, "description": custom and custom.description}
