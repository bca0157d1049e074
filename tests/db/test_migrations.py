"""Migrations on databases that really begin empty: they arrive, agree with the code, and leave nothing behind when they fail."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from app.settings import Settings, as_environ
from db import migrate
from db.connection import Database, connect
from tests.house.copies import Copy

HALF_A_MIGRATION = '''"""Makes a table and then fails."""

from alembic import op

revision = "20991231"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("CREATE TABLE half_made (id integer)")
    op.execute("ALTER TABLE nowhere ADD COLUMN id integer")
'''

# As the relay and the inbox of the build before wrote.
AS_BEFORE = """
INSERT INTO events (id, name, v, data, meta, at) VALUES (gen_random_uuid(), 'accounts.registered', 1, '{}', '{}', now());
INSERT INTO feed (position, event, area) SELECT 1, id, 'accounts' FROM events;
INSERT INTO deliveries (reaction, message, state, tries, envelope)
SELECT 'accounts.send_welcome', gen_random_uuid(), 'waiting', 1, '{}' FROM generate_series(1, 2);
INSERT INTO model_calls (id, conversation, account, turn, attempt, fence, model, outcome, reserved, begun_at)
VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 0, '', 'reserved', 1, now())
"""


@pytest.fixture
async def empty(place: Settings) -> AsyncGenerator[Settings, None]:
    """Settings of a database without anything in it."""
    name = f"fluentpro_empty_{uuid4().hex[:8]}"
    await _execute(place.database_url, f"CREATE DATABASE {name}")
    yield _at(place, name)
    await _execute(place.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def _at(settings: Settings, database: str) -> Settings:
    return Settings(
        env="testing",
        data_dir=settings.data_dir,
        database_url=urlunsplit(urlsplit(settings.database_url)._replace(path=f"/{database}")),
        redis_url=settings.redis_url,
        secret_key=settings.secret_key,
    )


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _revision(settings: Settings) -> str | None:
    database = Database(settings.database_url)
    try:
        return await migrate.revision(database)
    finally:
        await database.close()


async def _tables(settings: Settings) -> set[str]:
    connection = await connect(settings.database_url)
    try:
        return {
            row["name"]
            for row in await connection.fetch("SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        }
    finally:
        await connection.close()


def _fluentpro(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("fluentpro")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLUENTPRO_")}
    return subprocess.run(
        [program, *arguments], env={**environ, **as_environ(settings)}, capture_output=True, text=True, check=False, timeout=60
    )


def test_there_is_one_head() -> None:
    assert len(migrate.heads()) == 1


async def test_an_empty_database_is_upgraded_to_what_the_code_says(empty: Settings) -> None:
    assert await _revision(empty) is None
    assert migrate.lacks(None)
    await migrate.upgrade(empty.database_url)
    assert await _revision(empty) == migrate.heads()[0]
    assert not migrate.lacks(await _revision(empty))
    assert await migrate.drift(empty.database_url) == []


async def test_a_second_upgrade_changes_nothing(empty: Settings) -> None:
    await migrate.upgrade(empty.database_url)
    before = await _tables(empty)
    await migrate.upgrade(empty.database_url)
    assert await _tables(empty) == before


async def test_two_upgrades_at_once_both_arrive(empty: Settings) -> None:
    await asyncio.gather(*(migrate.upgrade(empty.database_url) for _ in range(2)))
    assert await migrate.drift(empty.database_url) == []


def test_a_revision_that_this_build_does_not_know_is_a_newer_builds() -> None:
    assert not migrate.lacks("20991231")


async def test_processes_of_the_build_before_go_on_while_a_release_goes_out(empty: Settings) -> None:
    await migrate.upgrade(empty.database_url)
    connection = await connect(empty.database_url)
    try:
        await connection.execute(AS_BEFORE)
        letters = await connection.fetch("SELECT id, at FROM deliveries")
        named = await connection.fetch("SELECT name, actor FROM feed")
        purpose = await connection.fetchval("SELECT purpose FROM model_calls")
    finally:
        await connection.close()
    assert len({letter["id"] for letter in letters}) == 2
    assert all(letter["at"] for letter in letters)
    assert [tuple(row) for row in named] == [(None, None)]
    assert purpose == "partner"


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("SELECT count(*) FROM seals WHERE NOT kept AND at < now()", "ix_seals_n"),
        ("SELECT id FROM deliveries WHERE state = 'dead' ORDER BY at DESC, id DESC LIMIT 20", "ix_deliveries_at_id"),
    ],
)
async def test_what_operators_ask_often_is_indexed(empty: Settings, question: str, index: str) -> None:
    await migrate.upgrade(empty.database_url)
    connection = await connect(empty.database_url)
    try:
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        plan = "".join(row[0] for row in await connection.fetch(f"EXPLAIN {question}"))
    finally:
        await connection.close()
    assert index in plan, plan


async def test_the_command_upgrades_and_checks(empty: Settings) -> None:
    unmigrated = _fluentpro(empty, "migrate", "--check")
    assert unmigrated.returncode == 1
    assert "accounts" in unmigrated.stderr
    assert _fluentpro(empty, "migrate").returncode == 0
    assert _fluentpro(empty, "migrate", "--check").returncode == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE accounts DROP COLUMN timezone", ["accounts", "timezone"]),
        ("ALTER TABLE sessions ALTER COLUMN ended_at TYPE text", ["sessions", "ended_at"]),
        ("ALTER TABLE accounts DROP CONSTRAINT uq_accounts_email", ["accounts", "email"]),
        ("ALTER TABLE accounts ALTER COLUMN locale DROP NOT NULL", ["accounts", "locale"]),
        ("CREATE TABLE forgotten (id integer)", ["forgotten"]),
    ],
)
async def test_what_differs_is_named(empty: Settings, change: str, named: list[str]) -> None:
    await migrate.upgrade(empty.database_url)
    await _execute(empty.database_url, change)
    check = _fluentpro(empty, "migrate", "--check")
    assert check.returncode == 1
    assert [name for name in named if name not in check.stderr] == [], check.stderr


async def test_a_migration_that_fails_leaves_nothing(empty: Settings, tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.add("db/migrations/versions/20991231_half.py", HALF_A_MIGRATION.format(head=migrate.heads()[0]))
    run = copy.run("-m", "app.cli", "migrate", **as_environ(empty))
    assert run.returncode == 1
    assert "nowhere" in run.stderr
    assert await _tables(empty) == set()
    assert await _revision(empty) is None


async def test_two_heads_are_refused(empty: Settings, tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.add("db/migrations/versions/20991231_half.py", HALF_A_MIGRATION.replace('"{head}"', "None"))
    run = copy.run("-m", "app.cli", "migrate", **as_environ(empty))
    assert run.returncode == 1
    assert "Multiple head revisions" in run.stderr


async def test_a_difference_becomes_a_new_migration(empty: Settings, tmp_path: Path) -> None:
    await migrate.upgrade(empty.database_url)
    copy = Copy(tmp_path)
    copy.replace(
        "db/accounts.py",
        '    Column("timezone", Text, nullable=False),\n',
        '    Column("timezone", Text, nullable=False),\n    Column("city", Text),\n',
    )
    revised = copy.run("-m", "app.cli", "migrate", "--revise", "cities of accounts", **as_environ(empty))
    assert revised.returncode == 0, revised.stderr
    written = list((copy.folder / "db" / "migrations" / "versions").glob("*cities_of_accounts.py"))
    assert len(written) == 1
    assert 'add_column("accounts", sa.Column("city"' in written[0].read_text().replace("'", '"')
    assert copy.run("-m", "app.cli", "migrate", **as_environ(empty)).returncode == 0
    assert copy.run("-m", "app.cli", "migrate", "--check", **as_environ(empty)).returncode == 0
