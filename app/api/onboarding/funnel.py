"""The funnel of onboarding, for admins: how many reach each step, how long it takes them, and where they stop."""

from datetime import date
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta as Shape

from app.api.envelope import Answer, Meta
from app.auth import admin
from app.openapi import problems
from bus.message import FieldError
from db.reads import Reads
from db.reads.funnel import Dimension, FunnelGroup, FunnelQuery
from domain.errors import Denied, Invalid, Unavailable
from domain.onboarding.steps import Step

ByIndustry = Annotated[
    str | None,
    QueryParameter(name="industry", max_length=100, description="Only who has chosen this industry: its id or its slug."),
]
From = Annotated[date | None, QueryParameter(name="from", description="Only journeys that began on this day or later, in UTC.")]
To = Annotated[date | None, QueryParameter(name="to", description="Only journeys that began on this day or earlier, in UTC.")]
By = Annotated[
    str,
    QueryParameter(
        name="by",
        pattern=r"^(|industry|week|industry,week|week,industry)$(?!\n)",
        description="Send industry, week, or both with a comma between them; without it there are no groups.",
    ),
]


class FunnelStepShown(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the ladder. Who stopped here is at this step now, and abandoned or without an answer for 24 hours."""

    step: Step
    reached: Annotated[int, Shape(examples=[120], description="How many learners have ever come to this step.")]
    answered: Annotated[int, Shape(examples=[100], description="How many have ever answered all of it.")]
    median_seconds: Annotated[
        float | None, Shape(examples=[41.5], description="From first reaching it to first answering it; null when nobody has.")
    ]
    stopped: Annotated[int, Shape(examples=[7])]


class FunnelTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A reset changes neither who has reached a step nor who has answered it: people are counted, not attempts."""

    journeys: Annotated[int, Shape(examples=[130])]
    steps: list[FunnelStepShown]


class FunnelGroupShown(FunnelTotals, frozen=True, kw_only=True):
    """What was not asked for by `by` is null."""

    industry: Annotated[str | None, Shape(examples=["banking_finance"], description="Its slug; null before one is chosen.")]
    week: Annotated[str | None, Shape(examples=["2026-W47"], description="The ISO 8601 week, in UTC, in which the journeys began.")]


class FunnelShown(msgspec.Struct, frozen=True, kw_only=True):
    totals: FunnelTotals
    groups: list[FunnelGroupShown]


@get(
    "/admin/onboarding/funnel",
    operation_id="get_onboarding_funnel",
    summary="See how far learners come, and where they stop",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def get_onboarding_funnel(
    reads: NamedDependency[Reads],
    meta: NamedDependency[Meta],
    industry: ByIndustry = None,
    since: From = None,
    until: To = None,
    by: By = "",
) -> Response[Answer[FunnelShown]]:
    wrong: list[FieldError] = []
    found = None if industry is None else (await reads.catalogue.resolve("industry", (industry,))).get(industry)
    if industry is not None and found is None:
        wrong.append(FieldError("/industry", "unknown", "Send the id or the slug of an entry of GET /api/v2/industries."))
    if since is not None and until is not None and until < since:
        wrong.append(FieldError("/to", "out_of_range", "Send a day that is not before that of from."))
    if wrong:
        raise Invalid(errors=tuple(wrong))
    query = FunnelQuery(industry=None if found is None else found.id, since=since, until=until)
    dimensions = msgspec.convert([name for name in by.split(",") if name], tuple[Dimension, ...])
    funnel = await reads.funnel.funnel(query, by=dimensions, now=meta.timestamp)
    shown = FunnelShown(
        totals=FunnelTotals(journeys=funnel.totals.journeys, steps=_steps(funnel.totals)),
        groups=[
            FunnelGroupShown(industry=group.industry, week=group.week, journeys=group.journeys, steps=_steps(group))
            for group in funnel.groups
        ],
    )
    return Response(Answer(data=shown, meta=meta), headers={"Cache-Control": "no-store"})


def _steps(group: FunnelGroup) -> list[FunnelStepShown]:
    return msgspec.convert(group.steps, list[FunnelStepShown], from_attributes=True)
