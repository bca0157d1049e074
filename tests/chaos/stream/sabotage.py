"""What the checker must notice, in the shipped processes: `python -m tests.chaos.stream.sabotage hasty|unfenced web|relay|worker`."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import uvloop

import app.bootstrap
import db.practice.log
from app import logs, processes, settings
from app.announcing import Announcer
from app.stream_log import StreamWriter
from bus.work import Notice
from db.practice.log import DELTA, Appended, Batch, LogAppender, LogRow, News, noticed
from handlers.ports import Clock

# Seconds between what readers are told and what is written.
LATE = 1.0
ENDS = "SELECT id, n FROM conversations WHERE id = ANY($1::uuid[])"
# A writer who has lost its turn must learn so neither when it writes nor when it renews its lease, whichever comes first after a pause.
STATEMENTS = ("_APPEND", "_RENEW")
# Where those compare the fence of a writer with that of the conversation, or take the one for the other.
FENCES = {" AND g.fence = c.fence": "", " AND c.fence = g.fence": "", "c.id, c.fence": "c.id, g.fence"}
# Also what holds up whoever has another number of pieces in mind than were written under the fence.
PIECES = " AND c.pieces = g.had"


class Hasty(LogAppender):
    """Tells readers of every piece, with the number that it will have, and writes it then."""

    announce: Callable[[Sequence[Notice]], None]

    async def append(self, batches: Sequence[Batch], *, now: datetime) -> Appended:
        async with self._database.driver() as driver:
            rows = await driver.fetch(ENDS, [batch.conversation for batch in batches])
        ends = {row["id"]: row["n"] for row in rows}
        self.announce([noticed(*(_told(batch, ends[batch.conversation], now) for batch in batches))])
        await asyncio.sleep(LATE)
        return await super().append(batches, now=now)


class HastyWriter(StreamWriter):
    """Leaves the telling to the appender."""

    def __init__(self, appender: Hasty, announce: Announcer, *, clock: Clock, lease: timedelta) -> None:
        super().__init__(appender, cast("Announcer", _unsaid), clock=clock, lease=lease)
        appender.announce = announce


def _unsaid(notices: Sequence[Notice]) -> None:
    """It is said already."""


def _told(batch: Batch, end: int, now: datetime) -> News:
    rows = [LogRow(end + n, now, DELTA, None, batch.turn, batch.attempt, piece) for n, piece in enumerate(batch.pieces, 1)]
    return News(batch.conversation, rows)


def _hasty() -> None:
    bootstrap: Any = app.bootstrap
    bootstrap.LogAppender, bootstrap.StreamWriter = Hasty, HastyWriter


def _unfenced() -> None:
    """Whoever has had a turn writes, whoever has it now."""
    for name in STATEMENTS:
        statement: str = getattr(db.practice.log, name)
        for fence, none in FENCES.items():
            if fence not in statement:
                raise AssertionError(f"{name} has no {fence!r} to take out")
            statement = statement.replace(fence, none)
        setattr(db.practice.log, name, statement.replace(PIECES, ""))


KINDS: Mapping[str, Callable[[], None]] = {"hasty": _hasty, "unfenced": _unfenced}


def main(broken: str, name: str) -> None:
    KINDS[broken]()
    own = settings.load(os.environ)
    logs.configure(own, process=name)
    work = {"web": processes.web, "relay": processes.relay, "worker": processes.worker}[name](own)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
