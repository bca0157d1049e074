"""Connections to PostgreSQL: one pool in autocommit, transactions begun and ended on the driver's connection, errors in our words.

In autocommit SQLAlchemy never begins a transaction behind our back, reads cost one round trip, and `transaction` is the only place
that begins or commits.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol, cast

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm.exc import StaleDataError

from bus.message import Refusal, TryAgain, Unavailable
from bus.work import UnitOfWork

Row = Mapping[str, Any]


class Driver(Protocol):
    """What is used of asyncpg's connection, with types."""

    async def execute(self, query: str, *arguments: object) -> str: ...
    async def executemany(self, query: str, rows: Sequence[Sequence[object]]) -> None: ...
    async def fetch(self, query: str, *arguments: object) -> list[Row]: ...
    async def fetchrow(self, query: str, *arguments: object) -> Row | None: ...
    async def fetchval(self, query: str, *arguments: object) -> Any: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def transaction(self) -> AbstractAsyncContextManager[None]: ...


CONNECT_TIMEOUT = 3
COMMAND_TIMEOUT = 30
POOL_TIMEOUT = 3
# A connection that is gone; the second is what a statement meets after the server has said on it that it shuts down.
LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_SERIALIZATION = ("40001", "40P01")
_SCHEMA = ("42P01", "42703")
_CONNECTION_CLASSES = ("08", "57P", "53", "28", "3D")


class DatabaseBehind(Unavailable):
    code = "service.database_behind"
    title = "The database lacks a migration of this build: run `fluentpro migrate`."


class DatabaseDown(Unavailable):
    code = "service.database_unavailable"
    title = "The database does not answer at the moment. Try again shortly."


def asyncpg_url(url: str) -> str:
    """The URL as asyncpg takes it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


async def connect(url: str, *, command_timeout: float | None = COMMAND_TIMEOUT) -> Any:
    """A connection of the driver, outside the pool."""
    driver: Any = asyncpg
    return await driver.connect(asyncpg_url(url), timeout=CONNECT_TIMEOUT, command_timeout=command_timeout)


class Transaction(UnitOfWork):
    """A unit of work with the driver's connection on which it was begun."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver


class Database:
    """The pool. `constraints` says which refusal a broken unique constraint is."""

    def __init__(self, url: str, *, direct_url: str = "", pool: int = 10, constraints: Mapping[str, type[Refusal]] | None = None) -> None:
        self.direct_url = direct_url or url
        self._constraints = constraints or {}
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(url),
            isolation_level="AUTOCOMMIT",
            pool_size=pool,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            hide_parameters=True,
        )

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection in autocommit."""
        with self.translated():
            connection = await self._living()
            try:
                driver = driver_of(connection)
                try:
                    yield connection
                finally:
                    # Lost, or left in a transaction by a second cancellation during its rollback: not for the next one.
                    if driver.is_closed() or driver.is_in_transaction():
                        await asyncio.shield(connection.invalidate())
            finally:
                # Says nothing to PostgreSQL, so it waits for nothing and needs no task of its own, as `async with` would give it.
                await connection.close()

    async def _living(self) -> AsyncConnection:
        """Not one that died in the pool, as all of them do when PostgreSQL is restarted: the driver has noticed, and need not ask."""
        while True:
            connection = await self.engine.connect()
            if not driver_of(connection).is_closed():
                return connection
            await connection.invalidate()
            await connection.close()

    @asynccontextmanager
    async def driver(self) -> AsyncGenerator[Driver, None]:
        """The driver's connection, in autocommit."""
        async with self.connection() as connection:
            yield driver_of(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        """Committed at the end, rolled back by any exception."""
        async with self.connection() as connection, driver_of(connection).transaction():
            yield connection

    @contextmanager
    def translated(self) -> Generator[None, None, None]:
        """Errors of the database as refusals: lost races may be tried again, a lost connection or an older schema is an outage."""
        try:
            yield
        except StaleDataError as error:
            raise TryAgain from error
        except IntegrityError as error:
            constraint = cast("str | None", getattr(getattr(error.orig, "__cause__", None), "constraint_name", None))
            refusal = self._constraints.get(constraint or "")
            if refusal is None:
                raise
            raise refusal from error
        except (DBAPIError, asyncpg.PostgresError) as error:
            state = cast("str | None", getattr(getattr(error, "orig", error), "sqlstate", None)) or ""
            if state in _SERIALIZATION:
                raise TryAgain from error
            if state in _SCHEMA:
                raise DatabaseBehind(retry_after=5) from error
            if (
                state.startswith(_CONNECTION_CLASSES)
                or isinstance(error, InterfaceError)
                or getattr(error, "connection_invalidated", False)
            ):
                raise DatabaseDown(retry_after=1) from error
            raise
        except (TimeoutError, *LOST, PoolTimeoutError) as error:
            raise DatabaseDown(retry_after=1) from error

    async def close(self) -> None:
        await self.engine.dispose()


def driver_of(connection: AsyncConnection) -> Driver:
    raw: Any = connection.sync_connection
    return cast("Driver", raw.connection.driver_connection)
