"""What tests put in place of ports, and how they look at what really happened."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from app.audit import Verification
from app.bootstrap import House
from app.checkpoints import public_key
from bus.harness import HandedOver, Harness
from db.connection import Row
from db.ledger.evidence import opened
from handlers.ports import Mail

TABLES = (
    "accounts, sessions, tickets, signing_keys, "
    "personal_keys, scenarios, scenario_versions, learner_scenarios, "
    "conversations, conversation_log, conversation_snapshots, model_calls, token_budgets, "
    "catalogue_entries, roles, role_vectors, embedding_models, seed_files, journeys, journey_steps, "
    "events, feed, outbox, done, deliveries, idempotency, leases, watermarks, groups, seals"
)


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class ScriptedMailer:
    """Keeps what it is given; raises the `failures` first, one for each attempt. What is to happen `next` happens once a mail was taken."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.failures: list[Exception] = []
        self.next: list[Callable[[], Awaitable[None]]] = []

    async def send(self, mail: Mail) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(mail)
        if self.next:
            await self.next.pop(0)()


def harness_of(house: House) -> Harness:
    jobs = HandedOver()
    return Harness(house.bus, house.relay(jobs), house.inbox, house.streams, jobs)


async def rows(house: House, query: str, *arguments: object) -> list[Row]:
    async with house.database.driver() as driver:
        return [dict(row) for row in await driver.fetch(query, *arguments)]


async def value(house: House, query: str, *arguments: object) -> Any:
    async with house.database.driver() as driver:
        return await driver.fetchval(query, *arguments)


async def seal(house: House) -> None:
    """All that has happened and is published."""
    relay = house.relay(HandedOver())
    leader = await relay.lead()
    assert leader is not None
    await relay.seal(leader)
    await house.ledger.leave(leader, now=house.clock())


async def audited(house: House) -> tuple[bool, int]:
    """What `fluentpro audit verify` says: whether all of it holds, and how many positions are sealed."""
    async with opened(house.settings.database_url) as evidence:
        keys = frozenset({public_key(house.sealer)})
        verification = Verification(evidence, [house.settings.checkpoint_path], keys, now=house.clock(), progress=lambda _: None)
        found = await verification.run()
    return found.ok, found.positions
