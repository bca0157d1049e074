"""A learner who talks to a partner over the shipped bus, and what is kept of that."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar
from uuid import UUID

import pytest

from app.bootstrap import House, Ports, open_house
from app.ports.scripted_model import ScriptedModel
from app.settings import Settings
from app.state.verification import Verification
from bus.harness import Harness
from bus.message import ANONYMOUS, Actor, Command
from db.connection import Row
from db.session import unit
from domain.practice.commands import (
    Accepted,
    AnswerTurn,
    EndScene,
    ForkConversation,
    Moved,
    RedoAction,
    RetryTurn,
    StartConversation,
    Started,
    StopAnswer,
    SubmitTurn,
    UndoAction,
)
from domain.practice.events import Settings as PracticeSettings
from domain.practice.prompt import Scene
from domain.practice.views import ConversationView, viewed
from domain.types import AccountId
from handlers.ports import Ended, PersonKey, Piece
from tests.bus.support import until
from tests.conftest import Seed
from tests.factories import Registrations
from tests.scenes import SCENARIO
from tests.support import HandClock, harness_of, rows, value

R = TypeVar("R")
# Every beat of the script, answered to the point; the last takes leave.
GOOD = [*(beat.example for beat in SCENARIO.script.beats), SCENARIO.script.closing.example] if SCENARIO.script is not None else []
TERSE, ASTRAY = "Yes, ok.", "She go to the the cinema yesterday and she have a lot of informations about the weather."


class HaltingModel(ScriptedModel):
    """Plays by the script. After `halt` pieces an answer waits for its gate. Of `failures` each call raises the next, after a piece."""

    def __init__(self) -> None:
        super().__init__()
        self.halt: int | None = None
        self.failures: list[Exception] = []
        self.gates: list[asyncio.Event] = []
        self.calls = 0

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        self.calls += 1
        halt, failure = self.halt, self.failures.pop(0) if self.failures else None
        gate = asyncio.Event()
        if halt is not None:
            self.gates.append(gate)
        number = 0
        async with aclosing(super().stream(scene, model=model)) as answer:
            async for part in answer:
                if number == halt:
                    await gate.wait()
                if number == 1 and failure is not None:
                    raise failure
                yield part
                number += 1


class Learner:
    """Somebody who has signed up, and what they do."""

    def __init__(self, house: House, model: HaltingModel, account: AccountId, key: PersonKey) -> None:
        self.house, self.model, self.account, self.key = house, model, account, key
        self.harness: Harness = harness_of(house)
        self.by = Actor(kind="person", id=account)

    async def asks(self, command: Command[R]) -> R:
        return await self.harness.execute(command, by=self.by)

    async def starts(self, **settings: Any) -> UUID:
        command = StartConversation(account=self.account, scenario=SCENARIO.slug, settings=PracticeSettings(**settings))
        return (await self.asks(command)).conversation

    async def says(self, conversation: UUID, text: str = GOOD[0]) -> Accepted:
        return await self.asks(SubmitTurn(account=self.account, conversation=conversation, text=text))

    async def stops(self, conversation: UUID) -> Moved:
        return await self.asks(StopAnswer(account=self.account, conversation=conversation))

    async def retries(self, conversation: UUID) -> Accepted:
        return await self.asks(RetryTurn(account=self.account, conversation=conversation))

    async def ends(self, conversation: UUID) -> Moved:
        return await self.asks(EndScene(account=self.account, conversation=conversation))

    async def undoes(self, conversation: UUID) -> Moved:
        return await self.asks(UndoAction(account=self.account, conversation=conversation))

    async def redoes(self, conversation: UUID) -> Moved:
        return await self.asks(RedoAction(account=self.account, conversation=conversation))

    async def forks(self, conversation: UUID, at: int) -> Started:
        return await self.asks(ForkConversation(account=self.account, conversation=conversation, at_version=at))

    async def is_answered(self, conversation: UUID) -> None:
        """A worker answers whatever waits."""
        await self.harness.execute(AnswerTurn(conversation=conversation))

    async def talks(self, conversation: UUID, *texts: str) -> None:
        for text in texts:
            await self.says(conversation, text)
            await self.is_answered(conversation)

    async def is_being_answered(self, conversation: UUID, pieces: int = 3) -> asyncio.Task[None]:
        """A worker that has said so many words, and holds its breath until `model.gates[-1]` is set."""
        before = await self.deltas(conversation)
        self.model.halt = pieces
        worker = asyncio.create_task(self.is_answered(conversation))

        async def said() -> bool:
            return await self.deltas(conversation) == before + pieces

        await until(said)
        self.model.halt = None
        return worker

    async def deltas(self, conversation: UUID) -> int:
        return await value(
            self.house, "SELECT count(*) FROM conversation_log WHERE conversation = $1 AND name = 'practice.delta'", conversation
        )

    async def sees(self, conversation: UUID, at: int | None = None) -> ConversationView:
        return viewed(await self.house.reads.practice.conversation(conversation, self.account, at=at), self.key.open)

    async def calls(self, conversation: UUID) -> list[tuple[int, str]]:
        """Attempt and outcome of every row in the ledger."""
        found = await rows(
            self.house, "SELECT attempt, outcome FROM model_calls WHERE conversation = $1 ORDER BY begun_at, attempt", conversation
        )
        return [(row["attempt"], row["outcome"]) for row in found]


async def signed_up(house: House, model: HaltingModel) -> Learner:
    """Whose key there is already, as for everybody who has begun a scene."""
    account = (await harness_of(house).execute(Registrations.build(), by=ANONYMOUS)).profile.id
    async with unit(house.database) as work:
        wrapped = await work.keys.of(account, house.vault.wrapped_key, now=house.clock())
    return Learner(house, model, account, house.vault.opened(wrapped))


SCENE = ("turns", "ended", "met", "mistakes", "score", "report", "recommended", "summary")


def scene_of(view: ConversationView) -> dict[str, Any]:
    """What undo and redo move."""
    return {name: getattr(view, name) for name in SCENE}


LEDGER = """
SELECT b.scope, b.reserved, b.spent, coalesce(c.open, 0) AS open, coalesce(c.ended, 0) AS ended
FROM token_budgets b FULL JOIN (
    SELECT s.scope, sum(reserved) FILTER (WHERE ended_at IS NULL) AS open, sum(tokens_in + tokens_out) AS ended
    FROM model_calls, LATERAL (
        VALUES ('conversation:' || conversation), ('day:' || account || ':' || to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'))
    ) AS s(scope)
    GROUP BY s.scope
) c ON c.scope = b.scope
WHERE b.reserved IS DISTINCT FROM coalesce(c.open, 0) OR b.spent IS DISTINCT FROM coalesce(c.ended, 0)
"""


async def unsettled(house: House) -> list[Row]:
    """Budgets that do not say what the ledger of calls says: reserved for those that are open, spent by those that have ended."""
    return await rows(house, LEDGER)


@pytest.fixture
def model() -> HaltingModel:
    return HaltingModel()


@pytest.fixture
async def house(settings: Settings, clock: HandClock, model: HaltingModel, seed: Seed) -> AsyncGenerator[House]:
    async with open_house(settings, Ports(clock=clock, language_model=model)) as house:
        await seed(house)
        yield house


@pytest.fixture
async def learner(house: House, model: HaltingModel) -> AsyncGenerator[Learner]:
    """Whatever becomes of them, the ledger of calls, the budgets and the events agree afterwards."""
    learner = await signed_up(house, model)
    yield learner
    assert await unsettled(house) == []
    verification = Verification(house.reads.conversations_admin, kept=house.limits.kept, now=house.clock())
    assert (await verification.everything()).findings == []
