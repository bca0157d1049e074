"""Bringing a database to the schema of this build, and telling how far it is from it."""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import alembic.command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

import db
from db.connection import Database, connect
from db.metadata import COMPARISON, metadata

R = TypeVar("R")
FOLDER = Path(__file__).parent / "migrations"
_MIGRATIONS = "db.migrations"
_LOCK = 7_022_026


def every_table() -> MetaData:
    """The tables of the code: a module brings its own into the one collection when it is imported."""
    for module in pkgutil.walk_packages(db.__path__, "db."):
        if not module.name.startswith(_MIGRATIONS):
            importlib.import_module(module.name)
    return metadata


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("file_template", "%%(year)d%%(month).2d%%(day).2d_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def heads() -> list[str]:
    """The newest revisions of this build; there must be exactly one."""
    return list(ScriptDirectory.from_config(_config()).get_heads())


def lacks(found: str | None) -> bool:
    """Whether a database at this revision lacks a migration of this build. A revision unknown here is a newer build's, and lacks none."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return found is None or (found in known and found not in heads())


async def _in_transaction(url: str, work: Callable[[Connection], R]) -> R:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(url, command_timeout=None))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def upgrade(url: str) -> None:
    """To the newest revision, in one transaction; a second one at the same time waits for the first."""

    def run(connection: Connection) -> None:
        alembic.command.upgrade(_config(connection), "head")

    await _in_transaction(url, run)


async def revise(url: str, message: str) -> None:
    """Write a new revision with what differs between the tables of the code and this database."""

    def run(connection: Connection) -> None:
        alembic.command.revision(_config(connection), message, autogenerate=True)

    await _in_transaction(url, run)


async def drift(url: str) -> list[str]:
    """What autogenerate would still change, in words; empty when code and database agree."""

    def compare(connection: Connection) -> list[str]:
        found = compare_metadata(MigrationContext.configure(connection, opts=dict(COMPARISON)), every_table())
        return [str(difference) for difference in found]

    return await _in_transaction(url, compare)


async def revision(database: Database) -> str | None:
    """The revision that a database is at; None when it was never migrated."""
    async with database.driver() as driver:
        if await driver.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        return await driver.fetchval("SELECT version_num FROM alembic_version")
