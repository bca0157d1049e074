"""What admins do to the catalogue: one entry at a time, or a file of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from bus.message import Event, FieldError
from domain.catalogue.commands import EntryDetails, EntryRow, EntryValues, RoleDetails, RoleRow, RoleValues, RowError
from domain.catalogue.errors import SlugTaken
from domain.catalogue.events import EntryAdded
from domain.catalogue.identity import EntryKind, Kind, entry_id, identity_of
from domain.catalogue.model import Entry, Offered, Role
from domain.catalogue.rules import entry_problems, role_problems, tidy
from domain.errors import Invalid, Stale

ENTRY_REQUIRED = ("name",)
ROLE_REQUIRED = ("title", "description", "industry", "hierarchy_level", "keywords")
POSITION_MOST = 1_000_000
ERRORS_MOST = 100
REPORTED_MOST = 1000


def given(values: EntryValues | RoleValues) -> dict[str, Any]:
    """Those that were said."""
    return {name: value for name, value in msgspec.structs.asdict(values).items() if value is not msgspec.UNSET}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The industries (slug -> id) and the slugs of the levels that a role may name, retired ones too."""

    industries: Mapping[str, UUID]
    levels: Mapping[str, UUID]

    def slug_of(self, kind: EntryKind, ref: str) -> str:
        """The slug that an id or a slug means; as it was given when there is none."""
        known, wanted = (self.industries if kind == "industry" else self.levels), identity_of(kind, ref)
        return next((slug for slug, identity in known.items() if identity == wanted), ref)

    def resolved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same with slugs for references."""
        kinds: tuple[Literal["industry", "hierarchy_level"], ...] = ("industry", "hierarchy_level")
        return {**values, **{kind: self.slug_of(kind, values[kind]) for kind in kinds if kind in values}}

    def industry_of(self, role: Role) -> str:
        return next(slug for slug, identity in self.industries.items() if identity == role.industry)


def entry_errors(kind: Kind, values: Mapping[str, Any]) -> list[FieldError]:
    return [*entry_problems(kind, values), *_position_problems(values)]


def role_errors(values: Mapping[str, Any], known: Known) -> list[FieldError]:
    """`values` have been resolved."""
    return [*role_problems(values, industries=known.industries, levels=known.levels), *_position_problems(values)]


def add_entry(kind: EntryKind, slug: str, values: EntryValues, *, taken: bool, last: int, now: datetime) -> tuple[Entry, tuple[Event, ...]]:
    """Raises `Invalid`, then `SlugTaken`. `last` is the position of one that says none."""
    said = new_entry_values(kind, given(values))
    if problems := entry_errors(kind, {"slug": slug, **said}) + _missing(said, ENTRY_REQUIRED):
        raise Invalid(errors=tuple(problems))
    if taken:
        raise SlugTaken
    return made_entry(kind, slug, {"position": last, **kept(said)}, now=now)


def new_entry_values(kind: EntryKind, values: Mapping[str, Any]) -> dict[str, Any]:
    """With what a new entry has when nothing is said; None where a language lacks what it needs, for the rules to name."""
    return {**({"autonym": None, "direction": None} if kind == "language" else {}), "description": "", **values}


def made_entry(kind: EntryKind, slug: str, values: Mapping[str, Any], *, now: datetime) -> tuple[Entry, tuple[Event, ...]]:
    """`values` have been judged. It is marked as edited: seed files leave it alone."""
    entry = Entry(id=entry_id(kind, slug), kind=kind, slug=slug, **values, edited=True, created_at=now, updated_at=now)
    return entry, (EntryAdded(kind=kind, entry=entry.id),)


def add_role(slug: str, values: RoleValues, *, known: Known, taken: bool, last: int, now: datetime) -> tuple[Role, tuple[Event, ...]]:
    """Raises `Invalid`, then `SlugTaken`."""
    said = known.resolved(given(values))
    if problems := role_errors({"slug": slug, **said}, known) + _missing(said, ROLE_REQUIRED):
        raise Invalid(errors=tuple(problems))
    if taken:
        raise SlugTaken
    return made_role(slug, {"position": last, **kept_role(said, known)}, now=now)


def made_role(slug: str, values: Mapping[str, Any], *, now: datetime) -> tuple[Role, tuple[Event, ...]]:
    """`values` have been judged."""
    role = Role(id=entry_id("role", slug), slug=slug, **values, edited=True, created_at=now, updated_at=now)
    return role, (EntryAdded(kind="role", entry=role.id),)


def change_entry(entry: Entry, values: EntryValues, *, expected: tuple[int, ...] | None, now: datetime) -> tuple[Event, ...]:
    """Raises `Invalid`, then `Stale`: a precondition counts only for a request that would otherwise succeed (RFC 9110, 13.2.1)."""
    said = given(values)
    if problems := entry_errors(entry.kind, said):
        raise Invalid(errors=tuple(problems))
    check_version(entry, expected)
    return apply(entry, kept(said), now=now)


def change_role(role: Role, values: RoleValues, *, known: Known, expected: tuple[int, ...] | None, now: datetime) -> tuple[Event, ...]:
    """Raises `Invalid`, then `Stale`."""
    said = known.resolved(given(values))
    if problems := role_errors(said, known):
        raise Invalid(errors=tuple(problems))
    check_version(role, expected)
    return apply(role, kept_role(said, known), now=now)


def check_version(offered: Offered, expected: tuple[int, ...] | None) -> None:
    if expected is not None and offered.version not in expected:
        raise Stale


def apply(offered: Offered, values: Mapping[str, Any], *, now: datetime) -> tuple[Event, ...]:
    """`values` have been judged. What is no longer available after this has been retired, as if that had been asked for."""
    retires = values.get("available") is False
    others = {name: value for name, value in values.items() if not (retires and name == "available")}
    changed = offered.change(others, now=now)
    return (*changed, *(offered.retire(now=now) if retires else ()))


def kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it is stored: tidy, and without labels that say nothing."""
    tidied = tidy(values)
    if "labels" in tidied:
        tidied["labels"] = {tag: label for tag, label in tidied["labels"].items() if label}
    return tidied


def kept_role(values: Mapping[str, Any], known: Known) -> dict[str, Any]:
    tidied = kept(values)
    if "industry" in tidied:
        tidied["industry"] = known.industries[tidied["industry"]]
    return tidied


def entry_details(entry: Entry) -> EntryDetails:
    return msgspec.convert(entry, EntryDetails, from_attributes=True)


def role_details(role: Role, known: Known) -> RoleDetails:
    fields = [field.name for field in msgspec.structs.fields(RoleDetails)]
    return msgspec.convert({**{name: getattr(role, name) for name in fields}, "industry": known.industry_of(role)}, RoleDetails)


def judge_entry_row(kind: EntryKind, row: EntryRow, *, first: bool, new: bool) -> list[RowError]:
    """`first` says that no row above has its slug."""
    values = given(row.values)
    said = new_entry_values(kind, values) if new else values
    return _row_errors(row, said, entry_errors(kind, {"slug": row.slug, **said}), ENTRY_REQUIRED if new else (), first=first)


def judge_role_row(row: RoleRow, known: Known, *, first: bool, new: bool) -> list[RowError]:
    said = known.resolved(given(row.values))
    return _row_errors(row, said, role_errors({"slug": row.slug, **said}, known), ROLE_REQUIRED if new else (), first=first)


def _row_errors(
    row: EntryRow | RoleRow, values: Mapping[str, Any], problems: Iterable[FieldError], required: Iterable[str], *, first: bool
) -> list[RowError]:
    """What could not be read, and of the rest what breaks a rule."""
    slug = {} if row.slug is msgspec.UNSET else {"slug": row.slug}
    found = [*problems, *_missing({**slug, **values}, ("slug", *required))]
    if not first:
        found.append(FieldError("/slug", "duplicate", "A row above has this slug."))
    unread = {_field_of(error) for error in row.wrong}
    errors = [*row.wrong, *(error for error in found if unread.isdisjoint({_field_of(error), ""}))]
    return [RowError(row=row.number, field=error.field, code=error.code, message=error.message) for error in errors]


def _field_of(error: FieldError) -> str:
    """The field of the row; empty when the row as a whole is meant."""
    return error.field.split("/")[1] if error.field else ""


def refuse_rows(errors: Iterable[RowError]) -> None:
    """Raises `Invalid` when there are any, which names the first hundred by pointers such as `/rows/3/title`."""
    found = tuple(FieldError(f"/rows/{error.row}{error.field}", error.code, error.message) for error in errors)
    if found:
        raise Invalid(errors=found[:ERRORS_MOST])


def _position_problems(values: Mapping[str, Any]) -> list[FieldError]:
    position = values.get("position")
    if isinstance(position, int) and not 0 <= position <= POSITION_MOST:
        return [FieldError("/position", "out_of_range", f"Send a number from 0 to {POSITION_MOST}.")]
    return []


def _missing(values: Mapping[str, Any], names: Iterable[str]) -> list[FieldError]:
    return [FieldError(f"/{name}", "missing", "This field is required.") for name in names if name not in values]
