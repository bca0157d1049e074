"""What was given up, and what may be done about it."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from bus.message import Event
from domain.operations.errors import NotDead
from domain.operations.events import DeadLetterDropped, DeadLetterReplayed


@dataclass(eq=False, repr=False, kw_only=True)
class DeadLetter:
    """What a reaction, or the handler of a sent command, did not get done. It may be decided while its state is `dead`."""

    id: UUID
    reaction: str
    message: UUID
    name: str
    key: str | None
    state: Literal["waiting", "parked", "dead"]
    tries: int

    @property
    def is_command(self) -> bool:
        """A sent command is owed to nobody but its handler, and stands under its own name."""
        return self.reaction == self.name

    def replay(self) -> tuple[Event, ...]:
        self._decided()
        return (DeadLetterReplayed(letter=self.id, reaction=self.reaction, message=self.message, name=self.name),)

    def drop(self) -> tuple[Event, ...]:
        self._decided()
        return (DeadLetterDropped(letter=self.id, reaction=self.reaction, message=self.message, name=self.name, tries=self.tries),)

    def _decided(self) -> None:
        if self.state != "dead":
            raise NotDead
