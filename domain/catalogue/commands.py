"""What may be asked of the catalogue, and what is answered."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from bus.message import Command, FieldError
from domain.catalogue.identity import EntryKind


class Seeded(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries and roles a seeding touched."""

    added: int = 0
    changed: int = 0
    retired: int = 0


class SeedCatalogue(Command[Seeded], frozen=True, kw_only=True):
    """Apply the seed files of this build; what an admin has edited, and what a newer build has brought, stays as it is."""


class KeepVectors(Command[None], frozen=True, kw_only=True):
    """On a schedule: have roles embedded when some lack a vector of the configured model, as all do after it was changed."""


class EmbedRoles(Command[None], frozen=True, kw_only=True):
    """Give every role whose text changed a vector of the configured model, a batch at a time.

    While another model serves, its vectors are kept up as well where it can still be asked; once every role has one of the configured
    model, that serves and the others go. Quiet when there is nothing to do, so it may be sent at any time and run by two workers at once.
    """


Labels = dict[str, dict[str, str]]
"""Language tag -> {"name": …, "description": …} in that language; for a role `name` is its title."""


class EntryValues(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin may say of an entry; what is left out stays, or is as usual for a new one, which comes last in its list."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    icon: str | UnsetType | None = UNSET
    autonym: str | UnsetType | None = UNSET
    direction: str | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET
    position: int | UnsetType = UNSET
    available: bool | UnsetType = UNSET


class RoleValues(msgspec.Struct, frozen=True, kw_only=True):
    """The same of a role. `industry` and `hierarchy_level` are ids or slugs."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    industry: str | UnsetType = UNSET
    hierarchy_level: str | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    duties: tuple[str, ...] | UnsetType = UNSET
    aliases: tuple[str, ...] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    position: int | UnsetType = UNSET
    available: bool | UnsetType = UNSET


class EntryDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as admins see it, retired or not."""

    id: UUID
    slug: str
    name: str
    description: str
    icon: str | None
    autonym: str | None
    direction: str | None
    labels: Labels
    position: int
    available: bool
    edited: bool
    created_at: datetime
    updated_at: datetime
    version: int


class RoleDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One of the catalogue's own roles as admins see it; `industry` and `hierarchy_level` are slugs."""

    id: UUID
    slug: str
    title: str
    description: str
    industry: str
    hierarchy_level: str
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    aliases: tuple[str, ...]
    labels: Labels
    position: int
    available: bool
    edited: bool
    created_at: datetime
    updated_at: datetime
    version: int


class AddEntry(Command[EntryDetails], frozen=True, kw_only=True):
    kind: EntryKind
    slug: str
    values: EntryValues


class ChangeEntry(Command[EntryDetails], frozen=True, kw_only=True):
    """`entry` is an id or a slug; `expected` are the versions that the client would change, None is any."""

    kind: EntryKind
    entry: str
    expected: tuple[int, ...] | None
    values: EntryValues


class RetireEntry(Command[None], frozen=True, kw_only=True):
    """Offer it no longer; quiet when that is so already. `entry` and `expected` are as in `ChangeEntry`."""

    kind: EntryKind
    entry: str
    expected: tuple[int, ...] | None


class AddRole(Command[RoleDetails], frozen=True, kw_only=True):
    slug: str
    values: RoleValues


class ChangeRole(Command[RoleDetails], frozen=True, kw_only=True):
    """One of the catalogue's own, by its id or slug; those that learners described are decided as submissions."""

    role: str
    expected: tuple[int, ...] | None
    values: RoleValues


class RetireRole(Command[None], frozen=True, kw_only=True):
    role: str
    expected: tuple[int, ...] | None


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a file. `wrong` is what could not be read, by its place in the row (`/name`); `slug` and `values` are what could."""

    number: int
    slug: str | UnsetType
    values: EntryValues
    wrong: tuple[FieldError, ...] = ()


class RoleRow(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    slug: str | UnsetType
    values: RoleValues
    wrong: tuple[FieldError, ...] = ()


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a row; rows are counted from 1, without the header. `field` is a JSON pointer into the row."""

    row: int
    field: str
    code: str
    message: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were added, changed something, changed nothing, and were refused; `errors` has the first thousand of what was wrong."""

    added: int
    changed: int
    unchanged: int
    refused: int
    errors: tuple[RowError, ...]


class ImportEntries(Command[Imported], frozen=True, kw_only=True):
    """Add those whose slug is new, and change the others. When a row is wrong nothing is imported, unless `partial`."""

    kind: EntryKind
    rows: tuple[EntryRow, ...]
    partial: bool = False


class ImportRoles(Command[Imported], frozen=True, kw_only=True):
    rows: tuple[RoleRow, ...]
    partial: bool = False
