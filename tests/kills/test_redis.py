"""Redis is never the record: whatever it loses, every reaction and every group of others gets what it had not confirmed."""

from collections.abc import AsyncGenerator, Callable, Generator

import msgspec
import pytest

from app.bootstrap import House
from app.settings import Settings
from tests.app.processes import room, until
from tests.kills.conftest import prepare
from tests.kills.servers import Servers, own_servers
from tests.kills.support import SHORT, Stranger, Target, at_rest, eventually, notes, plan, reported_once, target, tell
from tests.support import value

STREAM = "events.kills"


@pytest.fixture(scope="module")
def servers() -> Generator[Servers]:
    with room() as folder, own_servers(folder / "servers", postgres=False) as servers:
        yield servers


@pytest.fixture(scope="module")
async def town(place: Settings, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With a Redis that only these tests use."""
    town = msgspec.structs.replace(place, **SHORT, data_dir=str(tmp_path_factory.mktemp("town")), redis_url=servers.url("valkey"))
    await prepare(town)
    return town


@pytest.fixture(scope="module")
async def relay(town: Settings) -> AsyncGenerator[Target]:
    async with target("relay", town) as relay:
        yield await relay.ready()


@pytest.fixture(scope="module")
async def worker(town: Settings) -> AsyncGenerator[Target]:
    async with target("worker", town) as worker:
        yield worker


def flushed(servers: Servers, stranger: Stranger) -> None:  # noqa: ARG001 - every loss is told of both
    stranger.redis.flushall()


def killed(servers: Servers, stranger: Stranger) -> None:  # noqa: ARG001 - every loss is told of both
    """With all that it held: it keeps nothing on disk."""
    servers.kill("valkey")
    servers.start("valkey")


def trimmed(servers: Servers, stranger: Stranger) -> None:  # noqa: ARG001 - every loss is told of both
    stranger.redis.xtrim(STREAM, maxlen=0, approximate=False)


def evicted(servers: Servers, stranger: Stranger) -> None:  # noqa: ARG001 - every loss is told of both
    """By Redis itself, which somebody set up as a cache."""
    stranger.redis.config_set("maxmemory-policy", "allkeys-lru")
    stranger.redis.config_set("maxmemory", 1)
    try:
        until(lambda: not stranger.redis.exists(STREAM), "the stream is evicted")
    finally:
        stranger.redis.config_set("maxmemory", 0)


def deleted(servers: Servers, stranger: Stranger) -> None:  # noqa: ARG001 - every loss is told of both
    stranger.redis.delete(STREAM)


LOSSES: list[Callable[[Servers, Stranger], None]] = [flushed, killed, trimmed, deleted, evicted]


def read(stranger: Stranger, group: str) -> list[tuple[str, str]]:
    """Ids of entries and what they say, as a group of somebody else reads them."""
    answer = stranger.redis.xreadgroup(group, "partner", {STREAM: ">"})
    return [(entry, fields["data"].split('"text":"')[1].split('"')[0]) for _, found in answer for entry, fields in found]


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("lose", LOSSES)
async def test_whatever_redis_loses_every_group_goes_on_where_it_had_confirmed(
    servers: Servers, worker: Target, house: House, stranger: Stranger, lose: Callable[[Servers, Stranger], None]
) -> None:
    topic = group = lose.__name__
    await worker.ready()
    await tell(house, topic, "a", "b", "c")
    await at_rest(house, stranger)
    stranger.redis.xgroup_create(STREAM, group, id=before(stranger, topic))
    first, second, _ = read(stranger, group)
    stranger.redis.xack(STREAM, group, first[0], second[0])
    confirmed = "SELECT count(*) = 1 FROM groups WHERE name = $1 AND position = $2"
    await eventually(lambda: value(house, confirmed, group, int(second[0].partition("-")[0])), "its confirmed position is on record")

    found: list[str] = []

    def has_had(*texts: str) -> bool:
        """The group, by now."""
        if stranger.redis.exists(STREAM) and any(known["name"] == group for known in stranger.redis.xinfo_groups(STREAM)):
            for entry, text in read(stranger, group):
                stranger.redis.xack(STREAM, group, entry)
                found.append(text)
        return found[-len(texts) :] == list(texts)

    lose(servers, stranger)
    if lose is not trimmed:
        await eventually(lambda: has_had("c"), "the loss is noticed, although nothing new is published")
    await tell(house, topic, "d", "e")
    await eventually(lambda: has_had("c", "d", "e"), "the group has had what it had not confirmed")
    # One that reads on before the relay has noticed that the stream was trimmed gets what it missed after that, and the rest again.
    assert found == ["c", "d", "e"] or (lose is trimmed and set(found) == {"c", "d", "e"})
    await at_rest(house, stranger)
    await reported_once(house, stranger, topic, ["a", "b", "c", "d", "e"])


def before(stranger: Stranger, topic: str) -> str:
    """The id just before the first entry of a topic."""
    first = next(entry for entry, fields in stranger.entries(STREAM) if fields["key"] == topic)
    return f"{int(first.partition('-')[0]) - 1}-0"


@pytest.mark.usefixtures("relay")
async def test_a_command_whose_job_redis_lost_runs_after_its_lease(worker: Target, house: House, stranger: Stranger) -> None:
    await worker.kill()
    await plan(house, "lost job", "a")
    await eventually(lambda: value(house, "SELECT count(*) = 1 FROM outbox WHERE fence > 0"), "it is handed over")
    stranger.redis.flushall()
    await worker.start_again()
    await eventually(lambda: notes(house, "lost job"), "it has run")
    await at_rest(house, stranger)
    await reported_once(house, stranger, "lost job", ["a"])
