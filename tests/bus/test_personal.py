"""What is personal stays beside its event; what is numbered is recorded once; what is announced is said once it is so."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app import asyncapi
from app.announcing import MOST, Announcer
from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from app.streaming import frame
from bus.harness import Harness
from bus.message import WITHHELD, TryAgain
from bus.work import Dead, Notice
from db.connection import connect
from tests.bus import diary, sample
from tests.bus.diary import CHANNEL, OWNER, Write, Written, sealed
from tests.bus.sample import Script
from tests.bus.support import PERSON, Wire, until
from tests.support import HandClock, ScriptedMailer, audited, rows, seal, value

TEXT = "Dear diary"


@pytest.fixture
async def house(settings: Settings, clock: HandClock, mailer: ScriptedMailer, script: Script) -> AsyncGenerator[House]:  # noqa: ARG001 - cleared first
    connection = await connect(settings.database_url)
    await connection.execute(sample.TABLES)
    await connection.close()
    async with open_house(settings, Ports(clock=clock, mailer=mailer), modules=(diary,)) as house:
        yield house


def tells(what: object, text: str) -> bool:
    """Whether the text is in it: plain, as it is sealed, or as that is written in JSON."""
    secret = sealed(text).sealed
    return any(trace in str(what) for trace in (text, secret.decode(), base64.b64encode(secret).decode(), secret.hex()))


class TestWhatIsPersonal:
    async def test_it_is_kept_beside_the_data_of_its_event_and_found_there_again(self, harness: Harness, house: House) -> None:
        await harness.execute(Write(text=TEXT), by=PERSON)
        [kept] = await rows(house, "SELECT data, personal FROM events")
        assert kept["data"] == {"diary": "blue", "owner": str(OWNER), "page": 1}
        assert base64.b64decode(kept["personal"]["text"]) == sealed(TEXT).sealed

    async def test_it_is_in_no_stream_and_in_no_feed(self, harness: Harness, house: House) -> None:
        await harness.execute(Write(text=TEXT), by=PERSON)
        await harness.settle()
        redis: Any = await house.streams.redis()
        [(_, entry)] = await redis.xrange("events.diary")
        assert entry[b"type"] == b"diary.written"
        assert not tells(entry, TEXT)
        since = house.clock() - timedelta(days=1)
        [told] = await house.reads.feed.after(OWNER, 0, names=house.bus.catalog.seen, since=since, limit=10)
        assert (told.name, told.personal) == ("diary.written", None)
        shown = frame(told).decode()
        assert "event: diary.written" in shown
        assert not tells(shown, TEXT)

    async def test_what_reads_its_event_from_a_stream_finds_the_default(self, harness: Harness, script: Script) -> None:
        await harness.execute(Write(text=TEXT), by=PERSON)
        await harness.settle()
        assert script.ran("read") == [WITHHELD.sealed.decode()] == [""]

    async def test_it_is_in_no_dead_letter(self, harness: Harness, house: House, script: Script) -> None:
        script.failures["read"] = [Dead("never")]
        await harness.execute(Write(text=TEXT), by=PERSON)
        await harness.settle()
        [letter] = await rows(house, "SELECT state, row_to_json(d)::text AS whole FROM deliveries d")
        assert letter["state"] == "dead"
        assert "diary.written" in letter["whole"]
        assert not tells(letter["whole"], TEXT)

    def test_others_are_not_told_that_there_is_such_a_field(self) -> None:
        document = asyncapi.document([Written])
        described = document["components"]["schemas"]["Written"]
        assert list(described["properties"]) == ["diary", "owner", "page"]
        assert "diary.written.v1" in document["components"]["messages"]
        assert "text" not in described.get("required", [])

    async def test_an_altered_one_is_found_by_the_audit(self, harness: Harness, house: House) -> None:
        await harness.execute(Write(text=TEXT), by=PERSON)
        await harness.settle()
        await seal(house)
        assert await audited(house) == (True, 1)
        async with house.database.driver() as driver:
            await driver.execute("UPDATE events SET personal = json_build_object('text', 'b3RoZXI=')")
        assert await audited(house) == (False, 1)

    async def test_one_that_was_taken_away_is_found_by_the_audit(self, harness: Harness, house: House) -> None:
        await harness.execute(Write(text=TEXT), by=PERSON)
        await harness.settle()
        await seal(house)
        async with house.database.driver() as driver:
            await driver.execute("UPDATE events SET personal = NULL")
        assert await audited(house) == (False, 1)


class TestNumbers:
    async def test_the_number_of_an_event_is_its_version_in_the_stream_of_its_key(self, harness: Harness, house: House) -> None:
        for page in (1, 2):
            await harness.execute(Write(text=f"page {page}", page=page), by=PERSON)
        await harness.execute(Write(text="another", diary="red"), by=PERSON)
        kept = await rows(house, "SELECT stream, version FROM events ORDER BY stream, version")
        assert [(row["stream"], row["version"]) for row in kept] == [("diary-blue", 1), ("diary-blue", 2), ("diary-red", 1)]

    async def test_two_of_the_same_number_are_never_both_recorded(self, house: House) -> None:
        both = [Write(text="mine"), Write(text="theirs")]
        done = await asyncio.gather(*(house.bus.execute(one, by=PERSON) for one in both), return_exceptions=True)
        assert sorted(type(one).__name__ for one in done) == ["NoneType", "UniqueViolationError"]
        assert await value(house, "SELECT count(*) FROM events") == 1
        assert await value(house, "SELECT count(*) FROM sample_unique") == 1


class Listener:
    """Hears what is said on the channel, from when it listens."""

    def __init__(self, redis: Any) -> None:
        self._subscription: Any = redis.pubsub(ignore_subscribe_messages=True)

    async def listens(self) -> None:
        await self._subscription.subscribe(CHANNEL)
        await self._subscription.get_message(timeout=5)

    async def heard(self, count: int) -> list[str]:
        """The next so many."""
        found: list[str] = []
        async with asyncio.timeout(15):
            while len(found) < count:
                message = await self._subscription.get_message(timeout=1)
                found += [message["data"].decode()] if message is not None else []
        return found

    async def hears_nothing_more(self, announcer: Announcer) -> bool:
        """What is said on one connection is heard in its order: nothing comes before what is said now."""
        announcer([Notice(CHANNEL, b"the end")])
        return await self.heard(1) == ["the end"]

    async def close(self) -> None:
        await self._subscription.aclose()


@pytest.fixture
async def listener(settings: Settings) -> AsyncGenerator[Listener]:
    redis: Any = Redis
    async with redis.from_url(settings.redis_url) as connection:
        listener = Listener(connection)
        await listener.listens()
        yield listener
        await listener.close()


class TestWhatIsAnnounced:
    async def test_it_is_said_once_it_is_committed(self, house: House, script: Script, listener: Listener) -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reached.set()
            await go_on.wait()

        script.gates["write"] = wait
        writing = asyncio.create_task(house.bus.execute(Write(text="slow", diary="red"), by=PERSON))
        await reached.wait()
        del script.gates["write"]
        await house.bus.execute(Write(text="quick"), by=PERSON)
        heard = await listener.heard(1)
        go_on.set()
        assert heard + await listener.heard(1) == ["quick", "slow"]
        assert await value(house, "SELECT count(*) FROM events") == 2
        await writing

    async def test_it_is_not_said_when_the_command_or_its_commit_fails(self, house: House, script: Script, listener: Listener) -> None:
        await house.bus.execute(Write(text="first"), by=PERSON)
        script.failures["write"] = [ZeroDivisionError("a mistake")]
        with pytest.raises(ZeroDivisionError):
            await house.bus.execute(Write(text="second", page=2), by=PERSON)
        # Its text is there already, which is noticed no earlier than at the commit.
        with pytest.raises(Exception, match="sample_unique"):
            await house.bus.execute(Write(text="first", page=3), by=PERSON)
        await house.bus.execute(Write(text="last", page=4), by=PERSON)
        assert await listener.heard(2) == ["first", "last"]

    async def test_it_is_said_once_though_its_command_ran_three_times(self, house: House, script: Script, listener: Listener) -> None:
        script.failures["write"] = [TryAgain(), TryAgain()]
        await house.bus.execute(Write(text="raced"), by=PERSON)
        await house.bus.execute(Write(text="next", page=2), by=PERSON)
        assert await listener.heard(2) == ["raced", "next"]

    async def test_what_cannot_be_said_is_dropped_and_what_follows_is_heard(self, settings: Settings, listener: Listener) -> None:
        wire = Wire(settings.redis_url)
        async with AsyncExitStack() as stack:
            announcer = Announcer(await wire.open(stack))
            await stack.enter_async_context(announcer.running())
            announcer([Notice(CHANNEL, b"before")])
            assert await listener.heard(1) == ["before"]
            wire.cut()
            with capture_logs() as logs:
                announcer([Notice(CHANNEL, b"lost"), Notice(CHANNEL, b"lost too")])

                async def dropped() -> bool:
                    return any(one["event"] == "not_announced" and one["notices"] == 2 for one in logs)

                await until(dropped)
            wire.mend()
            announcer([Notice(CHANNEL, b"after")])
            assert await listener.heard(1) == ["after"]
            assert await listener.hears_nothing_more(announcer)

    async def test_while_nothing_can_be_said_only_the_latest_wait(self, settings: Settings, listener: Listener) -> None:
        announcer = Announcer(settings.redis_url)
        announcer([Notice(CHANNEL, str(n).encode()) for n in range(MOST + 2)])
        async with announcer.running():
            assert (await listener.heard(1)) == ["2"]

    async def test_what_waits_at_the_end_is_said(self, settings: Settings, listener: Listener) -> None:
        announcer = Announcer(settings.redis_url)
        async with announcer.running():
            announcer([Notice(CHANNEL, b"at last")])
        assert await listener.heard(1) == ["at last"]
