"""What is read of journeys. Whatever belongs to somebody takes its owner as a parameter."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from db.connection import Database
from domain.onboarding.commands import Answers, ChosenPartner, JourneyState, LearningGoals, NativeLanguage, Void
from domain.onboarding.model import ABANDONED, IDLE, Journey
from domain.onboarding.rules import may_disturb
from domain.types import AccountId


class CustomRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role as its learner described it."""

    title: str
    description: str
    hierarchy_level: str
    industry: UUID


class WorkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What practice needs to know of somebody. Ids are of the catalogue, but for roles, partners and situations that have a name here."""

    native_language: NativeLanguage
    learning_goals: LearningGoals | None
    industry: UUID
    role: UUID
    custom_role: CustomRole | None
    partners: tuple[ChosenPartner, ...]
    completed_at: datetime


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    remind: tuple[AccountId, ...]
    abandon: tuple[AccountId, ...]


class OnboardingReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def journey(self, account: AccountId, *, now: datetime) -> Journey:
        """As it is kept, or as it begins."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow(_JOURNEY, account)
        if row is None:
            return Journey(account=account, created_at=now)
        kept: dict[str, Any] = dict(row)
        kept["answers"] = msgspec.convert(row["answers"], Answers)
        kept["void"] = msgspec.convert(row["void"], tuple[Void, ...])
        return Journey(**kept)

    async def state(self, account: AccountId, *, now: datetime) -> JourneyState:
        return (await self.journey(account, now=now)).state()

    async def idle(self, *, now: datetime) -> Idle:
        """Who has stopped for a day, is not reminded yet and may be disturbed now, and who has for two weeks; a thousand of each.

        Not whose reminder is on its way already, which sending it again would rob of its backoff; nor whose is a dead letter, until an
        operator has replayed or dropped it.
        """
        async with self._database.driver() as driver:
            zones = await driver.fetch(_ZONES, now - IDLE, now - ABANDONED)
            awake = [row["timezone"] for row in zones if may_disturb(now, row["timezone"])]
            remind = await driver.fetch(_REMIND, now - IDLE, now - ABANDONED, awake)
            abandon = await driver.fetch(_ABANDON, now - ABANDONED)
        return Idle(remind=tuple(row["account"] for row in remind), abandon=tuple(row["account"] for row in abandon))

    async def industry_of(self, account: AccountId) -> UUID | None:
        async with self._database.driver() as driver:
            return await driver.fetchval("SELECT (answers->>'industry')::uuid FROM journeys WHERE account = $1", account)

    async def custom_role(self, account: AccountId, role: UUID) -> CustomRole | None:
        """None for a role that was not described by this learner, or is not theirs any more."""
        async with self._database.driver() as driver:
            answers = await driver.fetchval("SELECT answers FROM journeys WHERE account = $1", account)
        return None if answers is None else _custom_role(msgspec.convert(answers, Answers), role)

    async def work_profile(self, account: AccountId) -> WorkProfile | None:
        """None until it is complete, and while an answer that was made void is not given again."""
        async with self._database.driver() as driver:
            row = await driver.fetchrow("SELECT answers, completed_at FROM journeys WHERE account = $1", account)
        if row is None or row["completed_at"] is None:
            return None
        answers = msgspec.convert(row["answers"], Answers)
        if answers.native_language is None or answers.industry is None or answers.role is None:
            return None
        if not all(partner.situations for partner in answers.partners):
            return None
        return WorkProfile(
            native_language=answers.native_language,
            learning_goals=answers.learning_goals,
            industry=answers.industry,
            role=answers.role.id,
            custom_role=_custom_role(answers, answers.role.id),
            partners=answers.partners,
            completed_at=row["completed_at"],
        )


def _custom_role(answers: Answers, role: UUID) -> CustomRole | None:
    found = answers.role
    if found is None or found.id != role or found.title is None or answers.industry is None:
        return None
    return CustomRole(
        title=found.title, description=found.description or "", hierarchy_level=found.hierarchy_level or "", industry=answers.industry
    )


_JOURNEY = """
SELECT account, answers, void, reminders, created_at, started_at, active_at, reminded_at, paused_at, abandoned_at, completed_at, version
FROM journeys WHERE account = $1
"""

_WAITING = """
FROM journeys j JOIN accounts a ON a.id = j.account
WHERE j.completed_at IS NULL AND j.abandoned_at IS NULL AND j.paused_at IS NULL AND j.reminded_at IS NULL AND j.reminders
  AND coalesce(j.active_at, j.created_at) <= $1 AND coalesce(j.active_at, j.created_at) > $2
"""

# PostgreSQL has a copy of its own of the time zones, and one that it lacks would end the statement for everybody.
_ZONES = f"SELECT DISTINCT a.timezone {_WAITING}"

_REMIND = f"""
SELECT j.account {_WAITING}
  AND a.timezone = ANY($3::text[])
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.kind = 'command' AND o.key = 'onboarding.remind:' || j.account)
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.reaction = 'onboarding.remind_learner' AND d.key = 'onboarding.remind:' || j.account)
ORDER BY coalesce(j.active_at, j.created_at) LIMIT 1000
"""

_ABANDON = """
SELECT account FROM journeys
WHERE completed_at IS NULL AND abandoned_at IS NULL AND coalesce(active_at, created_at) <= $1
ORDER BY coalesce(active_at, created_at) LIMIT 1000
"""
