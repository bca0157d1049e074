"""What an owner of the database can do to the audit trail, and that it is found, from the checkpoints outside it or the table alone."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import alembic.command
import msgspec
import pytest
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from app.audit import Verdict, Verification, as_text
from app.bootstrap import House
from app.checkpoints import CheckpointFolder, public_key
from app.sealing import Sealer
from app.settings import Settings
from bus.harness import HandedOver
from bus.work import Seal
from db import migrate
from db.connection import Driver, connect
from db.ledger.evidence import opened
from db.ledger.seals import chained, digest
from db.ledger.tables import events, feed
from tests.app.client import empty_database
from tests.support import HandClock, value

SIZE, SEGMENTS = 10, 6
RECORD = """
WITH numbers AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, $1) AS n), recorded AS (
    INSERT INTO events (id, name, v, key, subject, data, meta, at, personal)
    SELECT id, 'accounts.signed_in', 1, 'k' || n, gen_random_uuid(), json_build_object('n', n),
        json_build_object(
            'actor', json_build_object('kind', 'person', 'id', gen_random_uuid()), 'trace', json_build_object('correlation_id', n)
        ),
        $2, json_build_object('text', 'c2VhbGVk')
    FROM numbers
)
INSERT INTO outbox (id, kind) SELECT id, 'event' FROM numbers ORDER BY n
"""
# Another value of the same type, for every column there is.
CHANGED = {
    "position": "-position",
    "stream": "'s'",
    "version": "7",
    "name": "'accounts.registered'",
    "v": "2",
    "key": "NULL",
    "subject": "NULL",
    "data": "(data::text || ' ')::json",
    "meta": """replace(meta::text, '"person"', '"system"')::json""",
    "at": "at + interval '1 microsecond'",
    "personal": "json_build_object('text', 'b3RoZXI=')",
    "area": "'other'",
    "actor": "NULL",
    "id": "gen_random_uuid()",
    "event": "gen_random_uuid()",
}


@pytest.fixture
async def trail(house: House, clock: HandClock) -> "Trail":
    """Six sealed segments of ten positions each, and four positions since."""
    trail = Trail(house, clock)
    await trail.grow(*[SIZE] * SEGMENTS)
    await trail.record(4)
    clock.move(minutes=5)
    return trail


class Trail:
    def __init__(self, house: House, clock: HandClock) -> None:
        self.house, self.clock = house, clock
        self.folder: Path = house.settings.checkpoint_path

    async def record(self, count: int) -> None:
        """Events with positions, not sealed."""
        relay = self.house.relay(HandedOver())
        leader = await relay.lead()
        assert leader is not None
        async with self.house.database.driver() as driver:
            await driver.execute(RECORD, count, self.clock())
        await self.house.ledger.sequence(leader, 1000)
        await self.house.ledger.leave(leader, now=self.clock())

    async def grow(self, *sizes: int) -> None:
        """A segment of each size."""
        for size in sizes:
            await self.record(size)
            relay = self.house.relay(HandedOver())
            leader = await relay.lead()
            assert leader is not None
            await relay.seal(leader)
            await self.house.ledger.leave(leader, now=self.clock())

    async def owner(self, *statements: str) -> None:
        """Whoever owns the database can do everything, also what constraints forbid."""
        async with self.house.database.transaction() as connection:
            raw: Any = await connection.get_raw_connection()
            await raw.driver_connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await raw.driver_connection.execute(statement)

    async def verdict(self, *paths: Path, keys: frozenset[str] = frozenset()) -> Verdict:
        async with opened(self.house.settings.database_url) as evidence:
            trusted = keys | {public_key(self.house.sealer)}
            verification = Verification(evidence, paths or [self.folder], trusted, now=self.clock(), progress=lambda _: None)
            return await verification.run()

    async def findings(self, *paths: Path) -> dict[str, tuple[Any, Any]]:
        """Kind -> segments and positions; each kind once."""
        verdict = await self.verdict(*paths)
        assert verdict.ok is (not verdict.findings)
        found = {finding.kind: (finding.segments, finding.positions) for finding in verdict.findings}
        assert len(found) == len(verdict.findings), verdict.findings
        return found

    @property
    def file(self) -> Path:
        (file,) = self.folder.glob("*.jsonl")
        return file

    def edit(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        self.file.write_bytes(b"".join(change(self.file.read_bytes().splitlines(keepends=True))))


DELETE = """
DELETE FROM events WHERE id IN (SELECT event FROM feed WHERE position BETWEEN {0} AND {1});
DELETE FROM feed WHERE position BETWEEN {0} AND {1}
"""
ALTER_EVENT = "UPDATE events SET {1} = {2} WHERE id = (SELECT event FROM feed WHERE position = {0})"
ALTER_ROW = "UPDATE feed SET {1} = {2} WHERE position = {0}"
COPY_EVENT = """
INSERT INTO events SELECT gen_random_uuid(), stream, version, name, v, key, subject, data, meta, at FROM events
WHERE id = (SELECT event FROM feed WHERE position = {0})
"""


async def test_what_nobody_touched_is_as_it_was(trail: Trail) -> None:
    verdict = await trail.verdict()
    assert verdict == Verdict(
        ok=True, segments=6, positions=60, unsealed=4, findings=[], notes=["Believed outside the database: checkpoints 1 to 6."]
    )
    assert as_text(verdict).splitlines()[-1].startswith("Nothing was altered, removed, added or cut off. 6 segments up to position 60")


async def test_a_trail_in_which_nothing_is_sealed_yet_is_no_finding(house: House, clock: HandClock) -> None:
    trail = Trail(house, clock)
    await trail.record(3)
    verdict = await trail.verdict()
    assert (verdict.ok, verdict.segments, verdict.unsealed, verdict.notes) == (True, 0, 3, ["Nothing is sealed yet."])


def test_every_column_is_changed_by_some_test() -> None:
    assert set(CHANGED) == {column.name for column in (*events.columns, *feed.columns)}


@pytest.mark.parametrize("column", sorted(column.name for column in events.columns if column.name != "id"))
async def test_an_event_that_was_altered_is_found(trail: Trail, column: str) -> None:
    await trail.owner(ALTER_EVENT.format(25, column, CHANGED[column]))
    assert await trail.findings() == {"altered": ((3, 3), (21, 30))}


@pytest.mark.parametrize("column", sorted(column.name for column in feed.columns if column.name not in ("position", "event")))
async def test_a_row_of_the_feed_that_was_altered_is_found(trail: Trail, column: str) -> None:
    await trail.owner(ALTER_ROW.format(25, column, CHANGED[column]))
    assert await trail.findings() == {"altered": ((3, 3), (21, 30))}


async def test_events_that_changed_places_are_found(trail: Trail) -> None:
    swap = "UPDATE feed SET position = CASE position WHEN 29 THEN -31 ELSE -29 END WHERE position IN (29, 31)"
    await trail.owner(swap, "UPDATE feed SET position = -position WHERE position < 0")
    assert await trail.findings() == {"altered": ((3, 4), (21, 40))}


async def test_what_was_removed_from_the_middle_is_found(trail: Trail) -> None:
    await trail.owner(DELETE.format(25, 25), DELETE.format(38, 42))
    verdict = await trail.verdict()
    assert [(finding.kind, finding.positions) for finding in verdict.findings] == [("missing", (25, 25)), ("missing", (38, 42))]
    assert "The feed lacks position 25." in as_text(verdict)


async def test_what_was_removed_from_the_middle_and_closed_up_is_found(trail: Trail) -> None:
    await trail.owner(DELETE.format(25, 25), "UPDATE feed SET position = -position WHERE position > 25")
    await trail.owner("UPDATE feed SET position = -position - 1 WHERE position < 0")
    assert await trail.findings() == {"altered": ((3, 6), (21, 60))}


async def test_an_event_without_its_row_is_found(trail: Trail) -> None:
    await trail.owner("DELETE FROM events WHERE id = (SELECT event FROM feed WHERE position = 25)")
    assert await trail.findings() == {"event_missing": (None, (25, 25))}


async def test_a_position_of_another_event_is_found(trail: Trail) -> None:
    other = "(SELECT event FROM feed WHERE position = 61)"
    await trail.owner("ALTER TABLE feed DROP CONSTRAINT uq_feed_event", ALTER_ROW.format(25, "event", other))
    try:
        found = await trail.findings()
    finally:
        await trail.owner(DELETE.format(1, 64), "ALTER TABLE feed ADD CONSTRAINT uq_feed_event UNIQUE (event)")
    assert found == {"altered": ((3, 3), (21, 30)), "stray_event": (None, None)}


TWICE = "INSERT INTO feed SELECT * FROM feed WHERE position = {0}"
KEYS = "ADD CONSTRAINT pk_feed PRIMARY KEY (position), ADD CONSTRAINT uq_feed_event UNIQUE (event)"


async def without_keys(trail: Trail, *then: Callable[[], Awaitable[None]]) -> dict[str, tuple[Any, Any]]:
    """What is found when `feed` has lost its keys and these things were done."""
    await trail.owner("ALTER TABLE feed DROP CONSTRAINT pk_feed, DROP CONSTRAINT uq_feed_event")
    try:
        for step in then:
            await step()
        return await trail.findings()
    finally:
        await trail.owner("DELETE FROM feed", "DELETE FROM events", f"ALTER TABLE feed {KEYS}")


async def test_a_position_that_there_is_twice_hides_nothing(trail: Trail) -> None:
    found = await without_keys(trail, lambda: trail.owner(ALTER_EVENT.format(25, "v", "2"), TWICE.format(28)))
    assert found == {"altered": ((3, 3), (21, 30))}


async def test_a_position_that_there_was_twice_when_it_was_sealed_is_found(trail: Trail) -> None:
    found = await without_keys(trail, lambda: trail.owner(TWICE.format(62)), lambda: trail.grow(2), lambda: aged(trail))
    assert found == {"altered": ((7, 7), (61, 66))}


async def aged(trail: Trail) -> None:
    trail.clock.move(minutes=5)


async def test_what_was_added_in_the_middle_is_found(trail: Trail) -> None:
    await trail.owner(
        COPY_EVENT.format(25), ALTER_ROW.format(26, "event", "(SELECT id FROM events WHERE id NOT IN (SELECT event FROM feed))")
    )
    found = await trail.findings()
    assert found == {"altered": ((3, 3), (21, 30)), "stray_event": (None, None)}


async def test_rows_before_the_first_position_are_found(trail: Trail) -> None:
    await trail.owner("UPDATE feed SET position = 0 WHERE position = 64")
    assert await trail.findings() == {"foreign": (None, None)}


async def test_a_gap_in_what_is_not_sealed_yet_is_found(trail: Trail) -> None:
    await trail.owner(DELETE.format(62, 63))
    assert await trail.findings() == {"missing": (None, (62, 63))}


async def test_an_event_that_never_got_a_position_is_found(trail: Trail) -> None:
    async with trail.house.database.driver() as driver:
        await driver.execute(RECORD, 2, trail.clock())
    assert (await trail.verdict()).ok
    await trail.owner("DELETE FROM outbox WHERE n = (SELECT max(n) FROM outbox)")
    assert await trail.findings() == {"stray_event": (None, None)}


async def cut_off(trail: Trail) -> None:
    """The last ten sealed events and what came after, with their rows of the feed, seals and checkpoints."""
    await trail.owner(DELETE.format(51, 64), "DELETE FROM seals WHERE upto > 50")


async def test_a_tail_that_was_cut_off_is_found_from_the_outside_checkpoint_alone(trail: Trail) -> None:
    await cut_off(trail)
    assert await trail.findings() == {"absent": ((6, 6), (51, 60)), "cut_off": (None, (51, 60))}
    text = as_text(await trail.verdict())
    assert "at least positions 51 to 60; checkpoint 6 of " in text
    trail.edit(lambda lines: lines[-1:])
    assert await trail.findings() == {"absent": ((6, 6), (51, 60)), "cut_off": (None, (51, 60))}


async def test_a_tail_that_was_cut_off_and_has_grown_again_is_found(trail: Trail) -> None:
    await cut_off(trail)
    with capture_logs() as logs:
        await trail.grow(SIZE)
    assert "checkpoints_not_kept" in [line["event"] for line in logs]
    assert await trail.findings() == {"altered": ((6, 6), (51, 60)), "rewritten": ((6, 6), (51, 60))}


async def rewrite(trail: Trail, first: int, secret: str) -> None:
    """One event of this segment is another, and the seals from there on are computed anew, signed with a key that the owner has."""
    forger = CheckpointFolder(trail.folder, Sealer(secret))
    await trail.owner(ALTER_EVENT.format(first * SIZE - 5, "data", "'{}'"))
    seals = await trail.house.ledger.seals(0, 100)
    before = seals[first - 2].hash
    for seal in seals[first - 1 :]:
        async with trail.house.database.transaction() as connection:
            raw: Any = await connection.get_raw_connection()
            driver: Driver = raw.driver_connection
            before = chained(before, (await digest(driver, seal.after, seal.upto)).digest)
            forged = forger.sign(msgspec.structs.replace(seal, hash=before))
            statement = "UPDATE seals SET hash = $2, key = $3, signature = $4 WHERE n = $1"
            await driver.execute(statement, forged.n, forged.hash, forged.key, forged.signature)


@pytest.mark.parametrize("whose", ["another key", "the key itself"])
async def test_a_chain_that_was_rewritten_is_found_from_the_outside_checkpoints(trail: Trail, whose: str) -> None:
    await rewrite(trail, 4, "a key of the owner" if whose == "another key" else trail.house.settings.secret_key)
    verdict = await trail.verdict()
    found = {finding.kind: (finding.segments, finding.positions) for finding in verdict.findings}
    assert found == {"altered": ((4, 4), (31, 40)), "rewritten": ((4, 6), (31, 60))}
    assert "The chain was rewritten from segment 4" in as_text(verdict)


async def test_a_chain_that_was_rewritten_is_found_from_the_last_outside_checkpoint_alone(trail: Trail) -> None:
    await rewrite(trail, 4, trail.house.settings.secret_key)
    trail.edit(lambda lines: lines[-1:])
    assert await trail.findings() == {"altered": ((6, 6), (51, 60)), "rewritten": ((6, 6), (51, 60))}


async def test_without_the_key_nobody_can_rewrite_the_table_alone(trail: Trail) -> None:
    await rewrite(trail, 4, "a key of the owner")
    trail.file.unlink()
    verdict = await trail.verdict()
    assert [finding.kind for finding in verdict.findings] == ["seal_forged"] * 3 + ["no_checkpoints"]


async def test_seals_without_their_positions_and_positions_without_their_seals_are_found(trail: Trail) -> None:
    await trail.owner("DELETE FROM seals WHERE n = 3")
    assert await trail.findings() == {"absent": ((3, 3), (21, 30))}
    trail.edit(lambda lines: lines[:2])
    assert (await trail.findings()).keys() == {"seal_missing", "unkept"}


async def test_a_seal_that_was_altered_is_found(trail: Trail) -> None:
    await trail.owner("UPDATE seals SET upto = 29 WHERE n = 3")
    assert await trail.findings() == {"rewritten": ((3, 3), (21, 30))}


def altered(line: bytes) -> bytes:
    seal = msgspec.json.decode(line, type=Seal)
    return msgspec.json.encode(msgspec.structs.replace(seal, at=seal.at + timedelta(hours=1))) + b"\n"


Lines = list[bytes]
TAMPERED: dict[str, tuple[Callable[[Lines], Lines], set[str]]] = {
    "altered": (lambda lines: [*lines[:2], altered(lines[2]), *lines[3:]], {"checkpoint_forged", "checkpoint_missing"}),
    "removed": (lambda lines: [*lines[:2], *lines[3:]], {"checkpoint_missing"}),
    "nonsense": (lambda lines: [*lines[:2], b"nonsense\n", *lines[3:]], {"checkpoint_unreadable", "checkpoint_missing"}),
    "swapped": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], {"checkpoint_misplaced", "checkpoint_missing"}),
    "repeated": (lambda lines: [*lines, lines[-1]], {"checkpoint_misplaced"}),
    "half": (lambda lines: [*lines[:5], lines[5][:50]], {"checkpoint_unreadable", "unkept"}),
    "cut off": (lambda lines: lines[:4], {"unkept"}),
    "empty": (lambda lines: lines[:0], {"no_checkpoints"}),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_a_file_that_was_tampered_with_is_found(trail: Trail, how: str) -> None:
    change, kinds = TAMPERED[how]
    trail.edit(change)
    assert (await trail.findings()).keys() == kinds


async def test_a_file_that_is_missing_is_found(trail: Trail) -> None:
    trail.file.unlink()
    (finding,) = (await trail.verdict()).findings
    assert (finding.kind, str(trail.folder) in finding.message) == ("no_checkpoints", True)


async def test_a_file_that_begins_later_proves_what_was_before(trail: Trail) -> None:
    trail.edit(lambda lines: lines[4:])
    verdict = await trail.verdict()
    assert verdict.ok
    assert "The files begin with checkpoint 5, whose hash proves seals 1 to 4 (positions 1 to 40) too." in verdict.notes
    await trail.owner(ALTER_EVENT.format(25, "v", "2"))
    assert await trail.findings() == {"altered": ((3, 3), (21, 30))}


async def test_what_was_sealed_a_moment_ago_need_not_be_in_the_file_yet(trail: Trail) -> None:
    await trail.grow(SIZE)
    trail.edit(lambda lines: lines[:6])
    verdict = await trail.verdict()
    assert verdict.ok
    assert any("seal 7 (positions 61 to 74)" in note for note in verdict.notes), verdict.notes


async def test_several_files_are_read_as_one_and_may_not_differ(trail: Trail, tmp_path: Path) -> None:
    lines = trail.file.read_bytes().splitlines(keepends=True)
    halves = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    halves[0].write_bytes(b"".join(lines[:4]))
    halves[1].write_bytes(b"".join(lines[2:]))
    assert await trail.findings(*halves) == {}
    last = CheckpointFolder(tmp_path, trail.house.sealer).sign(
        msgspec.structs.replace(msgspec.json.decode(lines[3], type=Seal), hash="0" * 64)
    )
    halves[0].write_bytes(b"".join([*lines[:3], msgspec.json.encode(last) + b"\n"]))
    assert "checkpoint_contradicted" in await trail.findings(*halves)


FIRST = "0bbe7904b936"
BEFORE = """
INSERT INTO events (id, name, v, data, meta, at) VALUES
    ('00000000-0000-0000-0000-000000000001', 'accounts.registered', 1, '{}', '{"actor":{"kind":"anonymous"},"trace":{}}', now()),
    ('00000000-0000-0000-0000-000000000002', 'accounts.signed_in', 1, '{}',
        '{"actor":{"kind":"person","id":"00000000-0000-0000-0000-000000000007"},"trace":{}}', now()),
    ('00000000-0000-0000-0000-000000000003', 'accounts.session_expired', 1, '{}',
        '{"actor":{"kind":"system","on_behalf_of":"00000000-0000-0000-0000-000000000007"},"trace":{}}', now());
INSERT INTO feed (position, event, area) SELECT row_number() OVER (ORDER BY id), id, 'accounts' FROM events
"""


async def test_what_was_in_the_feed_before_can_be_searched_after_the_migration(settings: Settings) -> None:
    async with empty_database(settings) as empty:
        await to_revision(empty, FIRST)
        connection = await connect(empty.database_url)
        await connection.execute(BEFORE)
        await migrate.upgrade(empty.database_url)
        found = await connection.fetch("SELECT name, actor FROM feed ORDER BY position")
        await connection.close()
    assert [(row["name"], row["actor"]) for row in found] == [
        ("accounts.registered", None),
        ("accounts.signed_in", UUID(int=7)),
        ("accounts.session_expired", UUID(int=7)),
    ]


async def to_revision(settings: Settings, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrate.FOLDER))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(settings.database_url))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


async def test_a_key_of_before_counts_when_it_is_given(trail: Trail, settings: Settings) -> None:
    before = public_key(trail.house.sealer)
    rotated = msgspec.structs.replace(trail.house, sealer=Sealer(uuid4().hex))
    later = Trail(rotated, trail.clock)
    await later.grow(SIZE)
    trail.clock.move(minutes=5)
    assert await value(rotated, "SELECT count(DISTINCT key) FROM seals") == 2
    verdict = await later.verdict()
    assert [finding.kind for finding in verdict.findings][:6] == ["checkpoint_forged"] * 6
    assert f"is signed with the key '{before}'" in verdict.findings[0].message
    assert (await later.verdict(keys=frozenset({before}))).ok
    assert settings.checkpoint_path == later.folder
