"""What has happened to the catalogue. Who did it is in the envelope, which makes the event store the audit trail of its admins."""

from typing import ClassVar
from uuid import UUID

from bus.message import Event, Wire
from domain.catalogue.identity import Kind


class CatalogueSeeded(Event, frozen=True, kw_only=True):
    """The seed files of a build were applied and differed from what was there. The numbers count entries, roles among them."""

    wire: ClassVar[Wire] = Wire(name="catalogue.seeded")
    added: int
    changed: int
    retired: int


class EntryAdded(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="catalogue.entry_added", key="entry")
    kind: Kind
    entry: UUID


class EntryChanged(Event, frozen=True, kw_only=True):
    """`fields` are the names of what differs now."""

    wire: ClassVar[Wire] = Wire(name="catalogue.entry_changed", key="entry")
    kind: Kind
    entry: UUID
    fields: tuple[str, ...]


class EntryRetired(Event, frozen=True, kw_only=True):
    """No longer offered. Whoever chose it keeps it."""

    wire: ClassVar[Wire] = Wire(name="catalogue.entry_retired", key="entry")
    kind: Kind
    entry: UUID
