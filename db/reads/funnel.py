"""How far learners come in onboarding. People are counted, not attempts: a reset takes nobody back here."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from db.connection import Database, Row
from domain.onboarding.model import IDLE
from domain.onboarding.steps import LADDER, Step

Dimension = Literal["industry", "week"]


class FunnelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which journeys count. `since` and `until` are the first and the last day, in UTC, on which they were begun."""

    industry: UUID | None = None
    since: date | None = None
    until: date | None = None


class FunnelStep(msgspec.Struct, frozen=True, kw_only=True):
    """`median_seconds` is from reaching to answering, of those who did both; None when nobody did."""

    step: Step
    reached: int
    answered: int
    median_seconds: float | None
    stopped: int


class FunnelGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`industry` is a slug, None before one is chosen; `week` is of ISO 8601, such as 2026-W47. What was not asked for is None too."""

    industry: str | None = None
    week: str | None = None
    journeys: int
    steps: tuple[FunnelStep, ...]


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    totals: FunnelGroup
    groups: tuple[FunnelGroup, ...]


class FunnelReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def funnel(self, query: FunnelQuery, *, by: Sequence[Dimension], now: datetime) -> Funnel:
        """There are no groups unless `by` names what they are by. The latest week comes first, and what has no industry yet last."""
        async with self._database.driver() as driver:
            rows = await driver.fetch(
                _FUNNEL, query.industry, query.since, query.until, now - IDLE, list(STEPS), "industry" in by, "week" in by
            )
        totals = [row for row in rows if row["total"]]
        grouped: dict[tuple[str | None, str | None], list[Row]] = {}
        for row in rows:
            if by and not row["total"]:
                grouped.setdefault((row["industry"], row["week"]), []).append(row)
        return Funnel(
            totals=_group(None, None, totals) if totals else _NOBODY,
            groups=tuple(_group(industry, week, found) for (industry, week), found in grouped.items()),
        )


def _group(industry: str | None, week: str | None, rows: Sequence[Row]) -> FunnelGroup:
    steps = tuple(
        FunnelStep(
            step=row["step"],
            reached=row["reached"],
            answered=row["answered"],
            median_seconds=row["median_seconds"],
            stopped=row["stopped"],
        )
        for row in rows
    )
    return FunnelGroup(industry=industry, week=week, journeys=rows[0]["journeys"], steps=steps)


STEPS = LADDER[:-1]
_NOBODY = FunnelGroup(
    journeys=0, steps=tuple(FunnelStep(step=step, reached=0, answered=0, median_seconds=None, stopped=0) for step in STEPS)
)


# `step` of a journey is what `Journey.state` calls the current one, of those that are not completed.
_FUNNEL = """
WITH chosen AS (
    SELECT j.account,
        CASE WHEN $6 THEN e.slug END AS industry,
        CASE WHEN $7 THEN to_char(j.created_at AT TIME ZONE 'UTC', 'IYYY-"W"IW') END AS week,
        j.completed_at IS NULL AND (j.abandoned_at IS NOT NULL OR coalesce(j.active_at, j.created_at) <= $4) AS stopped,
        CASE
            WHEN NOT j.answers ? 'native_language' THEN 'native_language'
            WHEN NOT j.answers ? 'industry' THEN 'industry'
            WHEN NOT j.answers ? 'role' THEN 'role'
            WHEN NOT j.answers ? 'partners' THEN 'partners'
            WHEN EXISTS (SELECT FROM jsonb_array_elements(j.answers->'partners') AS partner WHERE NOT partner ? 'situations')
                THEN 'situations'
            ELSE 'summary'
        END AS current
    FROM journeys j LEFT JOIN catalogue_entries e ON e.id = (j.answers->>'industry')::uuid
    WHERE ($1::uuid IS NULL OR e.id = $1)
      AND ($2::date IS NULL OR j.created_at >= $2::date::timestamp AT TIME ZONE 'UTC')
      AND ($3::date IS NULL OR j.created_at < ($3::date + 1)::timestamp AT TIME ZONE 'UTC')
)
SELECT step, industry, week, grouping(industry) = 1 AS total, count(*) AS journeys,
    count(s.reached_at) AS reached, count(s.answered_at) AS answered,
    count(*) FILTER (WHERE stopped AND current = step) AS stopped,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.answered_at - s.reached_at)) AS median_seconds
FROM chosen CROSS JOIN unnest($5::text[]) WITH ORDINALITY AS ladder (step, place) LEFT JOIN journey_steps s USING (account, step)
GROUP BY GROUPING SETS ((place, step), (place, step, industry, week))
ORDER BY total DESC, week DESC, industry NULLS LAST, place
"""
