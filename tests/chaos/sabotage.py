"""What chaos must notice: the shipped code with one promise taken out, in a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import app.bootstrap
from bus.message import Envelope
from bus.relay import BATCH, Relay
from bus.work import Commit, Leader, UnitOfWork
from db.ledger import PostgresLedger


class Forgetful(PostgresLedger):
    """Does not look whether a reaction has had an event, and keeps no mark that would refuse the second time."""

    async def is_known(self, reaction: str, envelope: Envelope) -> bool:  # noqa: ARG002 - that is the sabotage
        return False

    async def is_done(self, reaction: str, envelope: Envelope) -> bool:  # noqa: ARG002 - that is the sabotage
        return False

    async def write(self, work: UnitOfWork, commit: Commit) -> None:
        if commit.done is not None and not commit.done.owed:
            commit.done = None
        await super().write(work, commit)


class Hasty(Relay):
    """Moves the watermark before it publishes, and believes it: where a stream really ends is not compared with it.

    What it has taken and cannot publish in the same step, because Redis is away, is forgotten.
    """

    _taken: Sequence[Envelope] = ()

    async def step(self, leader: Leader) -> int:
        await self._ledger.sequence(leader, BATCH)
        self._taken = await self._ledger.unpublished(BATCH)
        if self._taken:
            await self._ledger.advance(leader, self._ends())
        return await super().step(leader) + len(self._taken)

    async def publish(self, leader: Leader) -> int:  # noqa: ARG002 - that is the sabotage
        if self._taken:
            await self._streams.append(await self._streams.ends(list(self._ends())), self._taken)
        return 0

    async def repair(self, leader: Leader) -> None:
        """It believes."""

    def _ends(self) -> dict[str, int]:
        return {envelope.area: envelope.position or 0 for envelope in self._taken}


def _replace(name: str, broken: type[Any]) -> Callable[[], None]:
    return lambda: setattr(app.bootstrap, name, broken)


KINDS: Mapping[str, Callable[[], None]] = {
    "inbox": _replace("PostgresLedger", Forgetful),
    "watermark": _replace("Relay", Hasty),
}
