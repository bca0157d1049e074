"""Finding one's role by one's own words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta as Shape

from app.api.accounts import own
from app.api.envelope import Answer, Meta
from app.auth import signed_in
from app.openapi import problems
from bus.dispatch import Bus
from bus.message import Actor, FieldError, Trace
from bus.pipeline import InProgress, Mismatch, Once
from domain.errors import Unavailable
from domain.onboarding.errors import StepNotReached
from domain.onboarding.matching import MatchedRole, MatchRoles, RoleMatches, match_problems

Confidence = Annotated[float, Shape(examples=[0.87], description="The probability, 0 to 1, that this is the person's role.")]
Slug = Annotated[str | None, Shape(examples=["relationship_manager"], description="Null for a role that its owner described.")]


class RoleMatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hierarchy_level` is the id or the slug of a level; without one, the words of the title decide."""

    job_title: Annotated[str, Shape(examples=["Snr RM, corporate clients"], description="2 to 200 characters.")]
    job_description: Annotated[
        str, Shape(examples=["I look after corporate clients of the bank and sell them loans."], description="10 to 1000 characters.")
    ]
    hierarchy_level: Annotated[str, Shape(examples=["manager"])] | None = None

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - nothing here depends on the time
        return match_problems(values)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Slug
    title: Annotated[str, Shape(examples=["Relationship Manager"])]
    description: Annotated[str, Shape(examples=["Looks after the accounts of corporate clients and sells them the bank's services."])]
    hierarchy_level: Annotated[str, Shape(examples=["manager"], description="The slug of the level.")]


class Reasons(msgspec.Struct, frozen=True, kw_only=True):
    words: Annotated[tuple[str, ...], Shape(examples=[["relationship", "corporate"]], description="Words of the person that the role has.")]
    duties: Annotated[
        tuple[str, ...], Shape(examples=[["look after corporate clients"]], description="Duties of the role that they speak of.")
    ]


class RoleMatch(msgspec.Struct, frozen=True, kw_only=True):
    role: Role
    industry: Annotated[UUID, Shape(description="That of the journey.")]
    confidence: Confidence
    reasons: Reasons


class RoleMatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The best first. With `none_fits` none of them is likely: describe a custom role instead.

    `degraded` says that only words were compared, not meanings, and `degraded_reason` why.
    """

    matches: list[RoleMatch]
    none_fits: bool
    degraded: bool
    degraded_reason: Literal["provider_unavailable", "model_changing"] | None


@post(
    "/onboarding/role-matches",
    operation_id="match_roles",
    summary="Find one's role by one's own words",
    tags=["onboarding"],
    guards=[signed_in],
    status_code=200,
    responses=problems(StepNotReached, Mismatch, InProgress, Unavailable),
)
async def match_roles(
    data: JSONBody[RoleMatchRequest],
    bus: NamedDependency[Bus],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
    meta: NamedDependency[Meta],
    once: NamedDependency[Once | None],
) -> Response[Answer[RoleMatchAnswer]]:
    command = MatchRoles(
        account=own(actor), job_title=data.job_title, job_description=data.job_description, hierarchy_level=data.hierarchy_level
    )
    found = await bus.execute(command, by=actor, trace=trace, once=once)
    headers = {"Idempotent-Replayed": "true"} if once is not None and once.replayed else {}
    return Response(Answer(data=_answer(found), meta=meta), headers=headers)


def _answer(found: RoleMatches) -> RoleMatchAnswer:
    return RoleMatchAnswer(
        matches=[_match(found.industry, match) for match in found.matches],
        none_fits=found.none_fits,
        degraded=found.degraded is not None,
        degraded_reason=found.degraded,
    )


def _match(industry: UUID, match: MatchedRole) -> RoleMatch:
    return RoleMatch(
        role=msgspec.convert(match, Role, from_attributes=True),
        industry=industry,
        confidence=match.confidence,
        reasons=Reasons(words=match.words, duties=match.duties),
    )
