"""The unit of work on PostgreSQL: a transaction, a session over it, and one repository per aggregate."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from db.accounts import Accounts, Sessions, SigningKeys, Tickets
from db.catalogue.repositories import Entries, Roles, SeedFiles
from db.catalogue.vectors import Vectors
from db.connection import Database, Driver, Transaction, driver_of
from db.onboarding import Journeys
from db.operations import DeadLetters, Upkeep
from db.practice.folding import SNAPSHOT_EVERY
from db.practice.keys import PersonalKeys
from db.practice.repositories import Budgets, Conversations, ModelCalls
from db.practice.scenarios import Scenarios


class Work(Transaction):
    """What a handler works with. An area uses only its own repositories."""

    def __init__(self, session: AsyncSession, driver: Driver, database: Database, *, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        super().__init__(driver)
        self._session, self._database = session, database
        self.accounts = Accounts(session)
        self.sessions = Sessions(session)
        self.tickets = Tickets(session)
        self.signing_keys = SigningKeys(session)
        self.entries = Entries(session)
        self.roles = Roles(session)
        self.seed_files = SeedFiles(driver)
        self.vectors = Vectors(driver)
        self.journeys = Journeys(session, driver)
        self.dead_letters = DeadLetters(driver)
        self.upkeep = Upkeep(driver)
        self.scenarios = Scenarios(driver)
        self.conversations = Conversations(driver, snapshot_every=snapshot_every)
        self.calls = ModelCalls(driver)
        self.budgets = Budgets(driver)
        self.keys = PersonalKeys(driver)

    async def flush(self) -> None:
        with self._database.translated():
            await self._session.flush()


@asynccontextmanager
async def unit(database: Database, *, snapshot_every: int = SNAPSHOT_EVERY) -> AsyncGenerator[Work, None]:
    """Committed at the end, rolled back by any exception. A conversation is kept as a snapshot after so many events."""
    async with database.transaction() as connection:
        session = AsyncSession(bind=connection, expire_on_commit=False, autoflush=False)
        try:
            yield Work(session, driver_of(connection), database, snapshot_every=snapshot_every)
        finally:
            await session.close()
