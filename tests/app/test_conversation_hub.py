"""The readers of one process, when nobody tells them anything."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from app.bootstrap import House
from app.conversation_stream import ConversationHub, Reader
from app.embedded import free_port
from bus.message import ANONYMOUS, SYSTEM, Actor
from db.practice.log import LogRow
from db.reads import Reads
from db.reads.practice import PracticeReads
from domain.practice.commands import SeedScenarios, StartConversation, SubmitTurn
from domain.practice.events import Settings as Wanted
from domain.types import AccountId
from tests.app.client import eventually
from tests.factories import Registrations
from tests.support import value

READERS = 50


class Counting(PracticeReads):
    """Counts how often logs are read, and how often it is asked who has missed something."""

    read = 0
    looked = 0

    async def log_after(self, conversation: UUID, n: int, limit: int) -> list[LogRow]:
        self.read += 1
        return await super().log_after(conversation, n, limit)

    async def heads(self, conversations: Sequence[UUID]) -> dict[UUID, int]:
        found = await super().heads(conversations)
        self.looked += 1
        return found


@pytest.fixture
async def account(house: House) -> AccountId:
    await house.bus.execute(SeedScenarios(), by=SYSTEM)
    return (await house.bus.execute(Registrations.build(), by=ANONYMOUS)).profile.id


async def begun(house: House, account: AccountId) -> UUID:
    command = StartConversation(account=account, scenario="real_estate_negotiations", settings=Wanted(feedback="silent"))
    return (await house.bus.execute(command, by=Actor(kind="person", id=account))).conversation


async def test_without_redis_one_question_a_second_is_asked_for_all_readers_and_only_who_missed_something_reads(
    house: House, account: AccountId
) -> None:
    quiet, busy = await begun(house, account), await begun(house, account)
    reads = Reads(house.database)
    reads.practice = counting = Counting(house.database)
    hub = ConversationHub(f"redis://127.0.0.1:{free_port()}/0", reads)
    heard: list[LogRow] = []

    async def read(reader: Reader) -> None:
        while True:
            heard.extend(await reader.rows())
            await reader.wait(60)

    async with AsyncExitStack() as stack:
        waiting = [Reader(reads, stack.enter_context(hub.listening(quiet)), quiet, 1) for _ in range(READERS)]
        reader = Reader(reads, stack.enter_context(hub.listening(busy)), busy, 1)
        await stack.enter_async_context(hub.running())
        tasks = [asyncio.create_task(read(one)) for one in (*waiting, reader)]
        try:
            await eventually(lambda: counting.looked >= 3, "it is asked again and again")
            submitted = SubmitTurn(account=account, conversation=busy, text="The price, please.")
            await house.bus.execute(submitted, by=Actor(kind="person", id=account))
            await eventually(lambda: heard, "who missed something reads")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert [row.name for row in heard] == ["practice.turn_accepted"]
    assert counting.read < 2 * READERS
    assert await value(house, "SELECT n FROM conversations WHERE id = $1", busy) == heard[-1].n
