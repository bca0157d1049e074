"""What keeps the house in order, and what those who operate it may ask for."""

from uuid import UUID

from bus.message import Command


class PruneLedger(Command[None], frozen=True, kw_only=True):
    """Forget answers, tickets and inbox marks that have outlived their window, and make room for the coming weeks."""


class ReplayDeadLetter(Command[None], frozen=True, kw_only=True):
    """Try once more what was given up, with all its tries before it; what is parked behind it follows when it succeeds."""

    id: UUID


class DropDeadLetter(Command[None], frozen=True, kw_only=True):
    """Give up for good, and let what is parked behind it go on."""

    id: UUID
