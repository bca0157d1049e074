"""What a learner can practise: scenarios that were chosen for them, all the others, and those they write themselves."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post, put
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, PathParameter, QueryParameter

from app.api.accounts import own
from app.api.catalogue_admin.shapes import expected, replayed
from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.practice.scenario_shapes import (
    ScenarioDetail,
    ScenarioItem,
    ScenarioRequest,
    ScenariosRequest,
    ScenariosRequested,
    ScenarioWrittenShape,
)
from app.api.preconditions import etag_of, is_known
from app.auth import signed_in
from app.bootstrap import House
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Personal, Trace
from bus.pipeline import InProgress, Mismatch, Once
from db.reads import Reads
from db.reads.scenarios import ListedScenario, Place, ScenarioQuery
from domain.errors import Invalid, Stale, Unavailable
from domain.practice.commands import RequestScenarios, WriteScenario, Written
from domain.practice.errors import ProfileMissing, UnknownScenario
from domain.practice.scenario import LEVELS, Level, Scenario
from domain.practice.seeds import PLACES
from handlers.ports import PersonKey

HOME = "/api/v2/scenarios"
STREAM = "/api/v2/events"
LIST = "scenarios"
AT_ONCE = 100

InIndustry = Annotated[str | None, QueryParameter(name="industry", max_length=100, description="The id or the slug of an industry.")]
InSituation = Annotated[str | None, QueryParameter(name="situation", max_length=100, description="The id or the slug of a situation.")]
WithPartner = Annotated[str | None, QueryParameter(name="partner", max_length=100, description="The id or the slug of a partner.")]
AtLevel = Annotated[Level | None, QueryParameter(name="level", description="Only what fits this CEFR level.")]
IsGiven = Annotated[bool | None, QueryParameter(name="given", description="Only those that were chosen for you, or only the others.")]
IsOwn = Annotated[bool | None, QueryParameter(name="own", description="Only those that you wrote, or only the others.")]
Search = Annotated[str, QueryParameter(name="q", max_length=100, description="A part of the title, in any case.")]
Ref = Annotated[str, PathParameter(description="The id of a scenario, or its slug.")]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of what is to change.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
ETAG = [ResponseHeader(name="ETag", description="The version of the scenario.", documentation_only=True)]
LOCATION = [ResponseHeader(name="Location", description="Where it is.", documentation_only=True)]


class Bookcase:
    """Opens the scenarios of one learner, and filters by what only an open one shows."""

    def __init__(self, house: House, actor: Actor) -> None:
        self._reads, self._vault = house.reads, house.vault
        self.account = own(actor)
        self._key: PersonKey | None = None

    async def open(self, found: ListedScenario) -> Scenario:
        if found.body is not None:
            return found.body
        if self._key is None:
            self._key = await self._own_key()
        return msgspec.json.decode(self._key.open(Personal(found.sealed or b"")), type=Scenario)

    async def listed(self, query: ScenarioQuery, *, level: Level | None, search: str) -> list[tuple[ListedScenario, Scenario]]:
        """As many as the query asks for, or all there are."""
        whole = level is None and not search
        found: list[tuple[ListedScenario, Scenario]] = []
        after, most = query.after, query.limit if whole else AT_ONCE
        while True:
            rows = await self._reads.scenarios.listed(msgspec.structs.replace(query, after=after, limit=most))
            opened = [(row, await self.open(row)) for row in rows]
            found += [(row, scenario) for row, scenario in opened if _is_wanted(scenario, level, search)]
            if len(rows) < most or len(found) >= query.limit:
                return found[: query.limit]
            after = rows[-1].place

    async def _own_key(self) -> PersonKey:
        wrapped = await self._reads.practice.wrapped_key(self.account)
        if wrapped is None:  # What it sealed was erased with it.
            raise UnknownScenario
        return self._vault.opened(wrapped)


async def provide_bookcase(house: NamedDependency[House], actor: NamedDependency[Actor]) -> Bookcase:
    return Bookcase(house, actor)


PRACTICE: dict[str, Any] = {"tags": ["practice"], "guards": [signed_in]}
OPENING: dict[str, Any] = {**PRACTICE, "dependencies": {"bookcase": Provide(provide_bookcase)}}


@get(
    "/scenarios",
    operation_id="list_scenarios",
    summary="What you can practise: what was chosen for you, in its order, then the rest, then what you wrote",
    responses=problems(Unavailable),
    **OPENING,
)
async def list_scenarios(
    reads: NamedDependency[Reads],
    bookcase: NamedDependency[Bookcase],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    industry: InIndustry = None,
    situation: InSituation = None,
    partner: WithPartner = None,
    level: AtLevel = None,
    given: IsGiven = None,
    own: IsOwn = None,
    q: Search = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> ListAnswer[ScenarioItem]:
    after = None if cursor is None else cursors.read(LIST, cursor, Place)
    places = await _places(reads, {"industry": industry, "situation": situation, "partner": partner})
    query = ScenarioQuery(account=bookcase.account, given=given, own=own, after=after, limit=limit + 1, **places)
    found = await bookcase.listed(query, level=level, search=q.strip())
    more = cursors.make(LIST, found[limit - 1][0].place) if len(found) > limit else None
    return ListAnswer(data=[ScenarioItem.of(*one) for one in found[:limit]], meta=page_of(meta, limit, more))


@get(
    "/scenarios/{scenario:str}",
    operation_id="get_scenario",
    summary="Read a scenario",
    responses={304: ResponseSpec(None, description="The client has this version."), **problems(UnknownScenario, Unavailable)},
    response_headers=ETAG,
    **OPENING,
)
async def get_scenario(
    scenario: Ref,
    reads: NamedDependency[Reads],
    bookcase: NamedDependency[Bookcase],
    meta: NamedDependency[Meta],
    if_none_match: IfNoneMatch = None,
) -> Response[Answer[ScenarioDetail] | None]:
    found = await reads.scenarios.named(scenario, account=bookcase.account)
    headers = {"ETag": etag_of(found.version), "Cache-Control": "private, no-cache"}
    if is_known(if_none_match, found.version):
        return Response(None, status_code=304, headers=headers)
    return Response(Answer(data=ScenarioDetail.of(found, await bookcase.open(found)), meta=meta), headers=headers)


@post(
    "/scenarios",
    operation_id="write_scenario",
    summary="Write a scenario of your own; nobody else sees it",
    responses=problems(Mismatch, InProgress, Unavailable),
    response_headers=[*ETAG, *LOCATION],
    **PRACTICE,
)
async def write_scenario(
    data: JSONBody[ScenarioRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[ScenarioWrittenShape]]:
    command = WriteScenario(account=own(actor), scenario=None, expected=None, written=data.scenario())
    written = await bus.execute(command, by=actor, trace=trace, once=once)
    headers = {"Location": f"{HOME}/{written.scenario}", **replayed(once)}
    return _answered(written, meta, status_code=201, headers=headers)


@put(
    "/scenarios/{scenario:uuid}",
    operation_id="rewrite_scenario",
    summary="Write a scenario of your own anew",
    responses=problems(UnknownScenario, Stale, Unavailable),
    response_headers=ETAG,
    **PRACTICE,
)
async def rewrite_scenario(
    scenario: FromPath[UUID],
    data: JSONBody[ScenarioRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    if_match: IfMatch = None,
) -> Response[Answer[ScenarioWrittenShape]]:
    """Replaces all of it."""
    command = WriteScenario(account=own(actor), scenario=scenario, expected=expected(if_match), written=data.scenario())
    return _answered(await bus.execute(command, by=actor, trace=trace), meta)


@post(
    "/scenario-requests",
    operation_id="request_scenarios",
    summary="Ask for more scenarios that fit you; they are told of on your event stream",
    status_code=202,
    responses=problems(ProfileMissing, Mismatch, InProgress, Unavailable),
    **PRACTICE,
)
async def request_scenarios(
    data: JSONBody[ScenariosRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[ScenariosRequested]]:
    requested = await bus.execute(RequestScenarios(account=own(actor), count=data.count), by=actor, trace=trace, once=once)
    told = ScenariosRequested(request=requested.request, count=requested.count, stream=STREAM)
    return Response(Answer(data=told, meta=meta), status_code=202, headers=replayed(once))


def _answered(
    written: Written, meta: Meta, *, status_code: int = 200, headers: dict[str, str] | None = None
) -> Response[Answer[ScenarioWrittenShape]]:
    told = ScenarioWrittenShape(id=written.scenario, version=written.version, created_at=written.created_at, updated_at=written.updated_at)
    tag = {"ETag": etag_of(written.version)}
    return Response(Answer(data=told, meta=meta), status_code=status_code, headers={**tag, **(headers or {})})


async def _places(reads: Reads, asked: dict[str, str | None]) -> dict[str, str | None]:
    """The slugs that are meant. All are judged before any is refused."""
    slugs: dict[str, str | None] = {}
    errors: list[FieldError] = []
    for place in PLACES:
        ref = asked[place]
        found = None if ref is None else (await reads.catalogue.resolve(place, [ref])).get(ref)
        slugs[place] = found and found.slug
        if ref is not None and found is None:
            errors.append(FieldError(f"/{place}", "unknown", "Send the id or the slug of one that is in the catalogue."))
    if errors:
        raise Invalid(errors=tuple(errors))
    return slugs


def _is_wanted(scenario: Scenario, level: Level | None, search: str) -> bool:
    cefr = scenario.cefr
    in_range = level is None or LEVELS.index(cefr.lowest) <= LEVELS.index(level) <= LEVELS.index(cefr.highest)
    return in_range and search.casefold() in scenario.title.casefold()
