"""What those who operate the house have done to it."""

from typing import ClassVar
from uuid import UUID

from bus.message import Event, Wire


class DeadLetterReplayed(Event, frozen=True, kw_only=True):
    """`letter` is the id of the dead letter; `message` of the event or command that `reaction`, or its own handler, is to have again."""

    wire: ClassVar[Wire] = Wire(name="operations.dead_letter_replayed", key="letter")
    letter: UUID
    reaction: str
    message: UUID
    name: str


class DeadLetterDropped(Event, frozen=True, kw_only=True):
    """As `operations.dead_letter_replayed`; after `tries` tries nobody will have it again."""

    wire: ClassVar[Wire] = Wire(name="operations.dead_letter_dropped", key="letter")
    letter: UUID
    reaction: str
    message: UUID
    name: str
    tries: int
