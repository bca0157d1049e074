"""Vectors of roles: made, kept up, and changed for those of another model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from bus.message import SYSTEM
from domain.catalogue.commands import EmbedRoles, KeepVectors
from domain.errors import Unavailable
from handlers.catalogue.vectors import EMBED_ROLES
from handlers.ports import ProviderRefused
from tests.roles import ScriptedEmbedder, add_industries, add_role
from tests.support import HandClock, harness_of, rows, value

TITLES = "SELECT r.title FROM role_vectors v JOIN roles r ON r.id = v.role WHERE v.model = $1 ORDER BY r.title"


@asynccontextmanager
async def embedding(settings: Settings, clock: HandClock, embedder: ScriptedEmbedder) -> AsyncGenerator[House]:
    async with open_house(settings, Ports(clock=clock, embedder=embedder)) as house:
        yield house


async def embed(house: House) -> None:
    """And whatever that sends."""
    await house.bus.execute(EmbedRoles(), by=SYSTEM)
    await harness_of(house).settle()


async def served(house: House) -> str | None:
    return await value(house, "SELECT model FROM embedding_models WHERE serving")


async def titles(house: House, model: str) -> list[str]:
    return [row["title"] for row in await rows(house, TITLES, model)]


async def test_every_role_that_may_be_found_gets_a_vector_and_then_the_model_serves(settings: Settings, clock: HandClock) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(settings, clock, embedder) as house:
        await add_industries(house)
        await add_role(house, "Teller")
        await add_role(house, "Banker")
        await add_role(house, "Retired", available=False)
        await embed(house)
        assert await titles(house, "scripted-1") == ["Banker", "Teller"]
        assert await served(house) == "scripted-1"
        [changed] = await rows(house, "SELECT data FROM events WHERE name = 'catalogue.embedding_model_changed'")
        assert changed["data"] == {"model": "scripted-1", "previous": None, "dimensions": 9}


async def test_only_what_changed_is_embedded_again(settings: Settings, clock: HandClock) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(settings, clock, embedder) as house:
        await add_industries(house)
        await add_role(house, "Teller")
        role = await add_role(house, "Banker")
        await embed(house)
        await embed(house)
        assert sorted(embedder.texts("scripted-1")) == ["Banker", "Teller"]
        before = await value(house, "SELECT vector::text FROM role_vectors WHERE role = $1", role)
        async with house.database.driver() as driver:
            await driver.execute("UPDATE roles SET description = 'Lends money, money, money.' WHERE id = $1", role)
        await embed(house)
        assert embedder.texts("scripted-1")[2:] == ["Banker"]
        assert await value(house, "SELECT vector::text FROM role_vectors WHERE role = $1", role) != before


async def test_a_text_is_embedded_with_its_other_names_on_the_first_line(settings: Settings, clock: HandClock) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(settings, clock, embedder) as house:
        await add_industries(house)
        await add_role(
            house, "Teller", aliases="Cashier\nClerk", keywords="cash\ncounter", duties="count cash\nserve", description="Serves."
        )
        await embed(house)
        assert embedder.asked == [("scripted-1", ("Teller | Cashier | Clerk\ncash, counter\ncount cash; serve\nServes.",))]


async def test_more_roles_than_one_batch_holds_are_all_embedded(settings: Settings, clock: HandClock) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(settings, clock, embedder) as house:
        await add_industries(house)
        for number in range(100):
            await add_role(house, f"Role {number}")
        await embed(house)
        assert await value(house, "SELECT count(*) FROM role_vectors") == 100
        assert len(embedder.asked) == 2
        assert await value(house, "SELECT count(*) FROM outbox WHERE kind = 'command'") == 0


async def test_another_model_serves_once_it_has_every_vector_and_the_old_ones_go(settings: Settings, clock: HandClock) -> None:
    async with embedding(settings, clock, ScriptedEmbedder("old")) as house:
        await add_industries(house)
        for number in range(100):
            await add_role(house, f"Role {number}")
        await embed(house)
    new = ScriptedEmbedder("new", "old")
    async with embedding(settings, clock, new) as house:
        await house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert await served(house) == "old"
        assert await value(house, "SELECT count(*) FROM role_vectors WHERE model = 'old'") == 100
        await add_role(house, "Newcomer")
        await house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert await served(house) == "new"
        assert await value(house, "SELECT count(*) FROM role_vectors WHERE model <> 'new'") == 0
        assert await value(house, "SELECT count(*) FROM role_vectors") == 101
        assert "Newcomer" in new.texts("old")
        [_, changed] = await rows(house, "SELECT data->>'previous' AS previous FROM events WHERE name LIKE '%model_changed' ORDER BY id")
        assert changed == {"previous": "old"}


async def test_a_model_that_nobody_has_any_more_does_not_hold_up_the_new_one(settings: Settings, clock: HandClock) -> None:
    async with embedding(settings, clock, ScriptedEmbedder("old")) as house:
        await add_industries(house)
        role = await add_role(house, "Teller")
        await embed(house)
        async with house.database.driver() as driver:
            await driver.execute("UPDATE roles SET title = 'Cashier' WHERE id = $1", role)
    async with embedding(settings, clock, ScriptedEmbedder("new")) as house:
        await embed(house)
        assert (await served(house), await titles(house, "new")) == ("new", ["Cashier"])


async def test_a_provider_that_is_away_leaves_everything_as_it_was(settings: Settings, clock: HandClock) -> None:
    async with embedding(settings, clock, ScriptedEmbedder("old")) as house:
        await add_industries(house)
        await add_role(house, "Teller")
        await embed(house)
    new = ScriptedEmbedder("new", "old")
    new.failures = [Unavailable(retry_after=5)]
    async with embedding(settings, clock, new) as house:
        with pytest.raises(Unavailable):
            await house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert (await served(house), await titles(house, "old")) == ("old", ["Teller"])
        await embed(house)
        assert await served(house) == "new"


async def test_a_model_whose_vectors_change_their_length_is_refused(settings: Settings, clock: HandClock) -> None:
    class Longer(ScriptedEmbedder):
        WORLD = (*ScriptedEmbedder.WORLD, "more")

    async with embedding(settings, clock, ScriptedEmbedder()) as house:
        await add_industries(house)
        await add_role(house, "Teller")
        await embed(house)
    async with embedding(settings, clock, Longer()) as house:
        await add_role(house, "Banker")
        with pytest.raises(ProviderRefused):
            await house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert await titles(house, "scripted-1") == ["Teller"]


async def test_two_workers_at_once_change_the_model_once(settings: Settings, clock: HandClock) -> None:
    async with embedding(settings, clock, ScriptedEmbedder("old")) as house:
        await add_industries(house)
        for number in range(20):
            await add_role(house, f"Role {number}")
        await embed(house)
    async with (
        embedding(settings, clock, ScriptedEmbedder("new", "old")) as one,
        embedding(settings, clock, ScriptedEmbedder("new", "old")) as other,
    ):
        await asyncio.gather(*(house.bus.execute(EmbedRoles(), by=SYSTEM) for house in (one, other) for _ in range(3)))
        assert await served(one) == "new"
        assert await value(one, "SELECT count(*) FROM role_vectors") == 20
        assert await value(one, "SELECT count(*) FROM events WHERE name LIKE '%model_changed'") == 2


async def test_a_text_that_changed_while_it_was_embedded_is_not_kept(settings: Settings, clock: HandClock) -> None:
    class Meddling(ScriptedEmbedder):
        async def embed(self, texts: object, *, model: str) -> list[tuple[float, ...]]:
            made = await super().embed(texts, model=model)  # pyright: ignore[reportArgumentType] - handed on as it came
            if len(self.asked) == 1:
                async with house.database.driver() as driver:
                    await driver.execute("UPDATE roles SET title = 'Banker'")
            return made

    async with embedding(settings, clock, Meddling()) as house:
        await add_industries(house)
        await add_role(house, "Teller")
        await house.bus.execute(EmbedRoles(), by=SYSTEM)
        assert await titles(house, "scripted-1") == []
        assert await served(house) is None
        await harness_of(house).settle()
        assert await titles(house, "scripted-1") == ["Banker"]


async def test_without_any_role_nothing_serves_and_nothing_has_happened(settings: Settings, clock: HandClock) -> None:
    async with embedding(settings, clock, ScriptedEmbedder()) as house:
        await embed(house)
        assert await served(house) is None
        assert await value(house, "SELECT count(*) FROM events") == 0


async def test_the_schedule_asks_for_one_job_however_often_it_comes_and_for_none_when_all_is_done(
    settings: Settings, clock: HandClock
) -> None:
    waiting = "SELECT count(*) FROM outbox WHERE key = $1"
    async with embedding(settings, clock, ScriptedEmbedder("one")) as house:
        await add_industries(house)
        await house.bus.execute(KeepVectors(), by=SYSTEM)
        assert await value(house, waiting, EMBED_ROLES) == 0
        await add_role(house, "Newcomer")
        for _ in range(3):
            await house.bus.execute(KeepVectors(), by=SYSTEM)
        assert await value(house, waiting, EMBED_ROLES) == 1
    async with embedding(settings, clock, ScriptedEmbedder("two", "one")) as house:
        await house.bus.execute(KeepVectors(), by=SYSTEM)
        assert await value(house, waiting, EMBED_ROLES) == 1
