"""Operations: what keeps the house in order, and what becomes of dead letters."""

from datetime import timedelta

from bus.registry import handles
from db.session import Work
from domain.operations.commands import DropDeadLetter, PruneLedger, ReplayDeadLetter
from handlers.ports import Clock, InboxWindow

ANSWERS_KEPT = timedelta(hours=24)


@handles(PruneLedger)
async def prune_ledger(cmd: PruneLedger, work: Work, clock: Clock, window: InboxWindow) -> None:  # noqa: ARG001 - it asks for nothing in particular
    now = clock()
    await work.upkeep.prune_answers(before=now - ANSWERS_KEPT)
    await work.upkeep.prune_tickets(before=now)
    await work.upkeep.keep_weeks(of=now, oldest=now - window)


@handles(ReplayDeadLetter)
async def replay_dead_letter(cmd: ReplayDeadLetter, work: Work, clock: Clock) -> None:
    letter = await work.dead_letters.get(cmd.id)
    replayed = letter.replay()
    await work.dead_letters.revive(letter, now=clock())
    work.record(*replayed)


@handles(DropDeadLetter)
async def drop_dead_letter(cmd: DropDeadLetter, work: Work, clock: Clock) -> None:
    letter = await work.dead_letters.get(cmd.id)
    dropped = letter.drop()
    await work.dead_letters.remove(letter, now=clock())
    work.record(*dropped)
