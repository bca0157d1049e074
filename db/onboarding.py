"""The journeys of learners, and when they took each step."""

from datetime import datetime

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.ext.asyncio import AsyncSession

from db.connection import Driver
from db.metadata import IDENTITY, INSTANT, Kept, mapping, metadata
from db.repository import Repository
from domain.errors import Missing
from domain.onboarding.commands import Answers, Void
from domain.onboarding.model import Journey
from domain.onboarding.steps import Step
from domain.types import AccountId

journeys = Table(
    "journeys",
    metadata,
    Column("account", IDENTITY, ForeignKey("accounts.id"), primary_key=True),
    Column("answers", Kept(Answers), nullable=False),
    Column("void", Kept(tuple[Void, ...]), nullable=False),
    Column("reminders", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("started_at", INSTANT),
    Column("active_at", INSTANT),
    Column("reminded_at", INSTANT),
    Column("paused_at", INSTANT),
    Column("abandoned_at", INSTANT),
    Column("completed_at", INSTANT),
    Column("version", Integer, nullable=False),
)

journey_steps = Table(
    "journey_steps",
    metadata,
    Column("account", IDENTITY, ForeignKey("accounts.id"), primary_key=True),
    Column("step", Text, primary_key=True),
    Column("reached_at", INSTANT, nullable=False),
    Column("answered_at", INSTANT),
    Index(None, "step"),
    comment="When each learner first reached and first answered each step. A reset leaves it: the funnel counts people, not attempts.",
)

mapping.map_imperatively(Journey, journeys, version_id_col=journeys.c.version)


class Journeys(Repository[Journey]):
    aggregate = Journey
    missing = Missing

    def __init__(self, session: AsyncSession, driver: Driver) -> None:
        super().__init__(session)
        self._driver = driver

    async def begun(self, account: AccountId, *, now: datetime) -> tuple[Journey, bool]:
        """The learner's journey, and whether it was made just now."""
        made = await self._driver.fetchval(_BEGIN, account, now)
        return await self.get(account), made is not None

    async def reach(self, account: AccountId, step: Step, *, now: datetime) -> None:
        await self._driver.execute(_REACH, account, step, now)

    async def answer(self, account: AccountId, step: Step, *, now: datetime) -> None:
        await self._driver.execute(_ANSWER, account, step, now)


_BEGIN = """
INSERT INTO journeys (account, answers, void, reminders, created_at, version) VALUES ($1, '{}', '[]', true, $2, 1)
ON CONFLICT (account) DO NOTHING RETURNING account
"""

_REACH = "INSERT INTO journey_steps (account, step, reached_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

_ANSWER = """
INSERT INTO journey_steps (account, step, reached_at, answered_at) VALUES ($1, $2, $3, $3)
ON CONFLICT (account, step) DO UPDATE SET answered_at = coalesce(journey_steps.answered_at, excluded.answered_at)
"""
