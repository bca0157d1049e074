"""What requests and answers of admins at the catalogue look like, and what their routes share."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import UNSET, UnsetType
from msgspec import Meta as Shape

from app.api.preconditions import expected_versions
from bus.message import FieldError
from bus.pipeline import Once
from db.reads import Reads
from domain.catalogue.commands import (
    EntryDetails,
    EntryValues,
    RoleDetails,
    RoleValues,
)
from domain.catalogue.identity import EntryKind
from domain.catalogue.rules import entry_problems, role_problems
from domain.errors import Invalid, Missing

S = TypeVar("S", EntryValues, RoleValues)

HOME = "/api/v2/admin/catalogue"
ROLES = "admin roles"
KINDS: Mapping[str, EntryKind] = {
    "languages": "language",
    "industries": "industry",
    "hierarchy-levels": "hierarchy_level",
    "partners": "partner",
    "situations": "situation",
}

KindName = Annotated[str, PathParameter(description=f"One of {', '.join(KINDS)}.")]
Ref = Annotated[str, PathParameter(description="The id or the slug.")]
Available = Annotated[bool | None, QueryParameter(description="Only what is offered, or only what is retired; both when it is left out.")]
Search = Annotated[str, QueryParameter(max_length=100, pattern="^[^\0]*$", description="A part of the name or of the slug.")]
ByIndustry = Annotated[str | None, QueryParameter(max_length=100, description="The id or the slug of an industry.")]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of what is to change.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
ETAG = [ResponseHeader(name="ETag", description="The version of the entry.", documentation_only=True)]
NOT_MODIFIED = {304: ResponseSpec(None, description="The client has this version.")}

Slug = Annotated[
    str,
    Shape(examples=["auditors"], description="Lower-case words joined by underscores; a language's is its BCP 47 tag. It stays for ever."),
]
Name = Annotated[str, Shape(examples=["Auditors"], description="1 to 100 characters.")]
Description = Annotated[str, Shape(examples=["They examine the accounts once a year."], description="At most 1000 characters.")]
Icon = Annotated[str | None, Shape(examples=["clipboard-check"], description="The name of an icon.")]
Autonym = Annotated[str | None, Shape(examples=[None], description="A language's name in itself; others have none.")]
Direction = Annotated[str | None, Shape(examples=[None], description="ltr or rtl, how a language is written; others have none.")]
Labels = Annotated[
    dict[str, dict[str, str]],
    Shape(
        examples=[{"zh-Hant": {"name": "核數師"}}],
        description="Name and description in other languages, by BCP 47 tag. Replaced as a whole.",
    ),
]
Position = Annotated[int, Shape(examples=[7], description="Where it stands in its list, from 0; the last one when it is left out.")]
IsAvailable = Annotated[bool, Shape(description="Whether it is offered. What is retired stays with those who chose it.")]
IsEdited = Annotated[bool, Shape(description="Whether an admin has added or changed it, after which seed files leave it alone.")]
Title = Annotated[str, Shape(examples=["Yacht Charter Broker"], description="2 to 100 characters.")]
RoleSlug = Annotated[
    str, Shape(examples=["yacht_charter_broker"], description="Lower-case words joined by underscores. It stays for ever.")
]
RoleDescription = Annotated[
    str, Shape(examples=["Finds charterers for the owners of yachts and agrees the terms."], description="10 to 1000 characters.")
]
Industry = Annotated[str, Shape(examples=["shipping_logistics"], description="The id or the slug of an industry.")]
Level = Annotated[str, Shape(examples=["associate"], description="The id or the slug of a hierarchy level.")]
Keywords = Annotated[tuple[str, ...], Shape(examples=[["yacht", "charter", "broker", "itinerary", "crew"]], description="5 to 10.")]
Duties = Annotated[tuple[str, ...], Shape(examples=[["agree the terms of a charter"]], description="At most 20.")]
Aliases = Annotated[tuple[str, ...], Shape(examples=[["Charter Agent"]], description="Other names it goes by, at most 20.")]
Instant = Annotated[datetime, Shape(tz=True)]


class AdminEntry(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Slug
    name: Name
    description: Description
    icon: Icon
    autonym: Autonym
    direction: Direction
    labels: Labels
    position: Position
    available: IsAvailable
    edited: IsEdited
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, entry: EntryDetails) -> "AdminEntry":
        return msgspec.convert(entry, cls, from_attributes=True)


class AdminRole(msgspec.Struct, frozen=True, kw_only=True):
    """`industry` and `hierarchy_level` are slugs."""

    id: UUID
    slug: RoleSlug
    title: Title
    description: RoleDescription
    industry: Annotated[str, Shape(examples=["shipping_logistics"])]
    hierarchy_level: Annotated[str, Shape(examples=["associate"])]
    keywords: Keywords
    duties: Duties
    aliases: Aliases
    labels: Labels
    position: Position
    available: IsAvailable
    edited: IsEdited
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, role: RoleDetails) -> "AdminRole":
        return msgspec.convert(role, cls, from_attributes=True)


class NewEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A language needs `autonym` and `direction`; no other has them."""

    slug: Slug
    name: Name
    description: Description = ""
    icon: Icon = None
    autonym: Autonym = None
    direction: Direction = None
    labels: Labels = {}
    position: Position | UnsetType = UNSET
    available: IsAvailable = True

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - nothing here depends on the time
        return _whatever_the_kind(values)


class EntryChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are left out stay."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    icon: Icon | UnsetType = UNSET
    autonym: Autonym | UnsetType = UNSET
    direction: Direction | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    position: Position | UnsetType = UNSET
    available: IsAvailable | UnsetType = UNSET

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - the same
        return _whatever_the_kind(values)


class NewRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slug: RoleSlug
    title: Title
    description: RoleDescription
    industry: Industry
    hierarchy_level: Level
    keywords: Keywords
    duties: Duties = ()
    aliases: Aliases = ()
    labels: Labels = {}
    position: Position | UnsetType = UNSET
    available: IsAvailable = True

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - the same
        return _whatever_there_is(values)


class RoleChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are left out stay; lists are replaced as a whole."""

    title: Title | UnsetType = UNSET
    description: RoleDescription | UnsetType = UNSET
    industry: Industry | UnsetType = UNSET
    hierarchy_level: Level | UnsetType = UNSET
    keywords: Keywords | UnsetType = UNSET
    duties: Duties | UnsetType = UNSET
    aliases: Aliases | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    position: Position | UnsetType = UNSET
    available: IsAvailable | UnsetType = UNSET

    @staticmethod
    def rules(values: Mapping[str, object], now: datetime) -> list[FieldError]:  # noqa: ARG004 - the same
        return _whatever_there_is(values)


def kind_of(name: str) -> EntryKind:
    """Raises `Missing` for what is no kind."""
    if name not in KINDS:
        raise Missing(f"The catalogue has {', '.join(KINDS)} and roles.")
    return KINDS[name]


def expected(if_match: str | None) -> tuple[int, ...] | None:
    return None if if_match is None else expected_versions(if_match)


def said(data: msgspec.Struct, shape: type[S]) -> S:
    """The fields that the two share; msgspec's own conversion does not carry over what is unset."""
    return shape(**{field.name: getattr(data, field.name) for field in msgspec.structs.fields(shape)})


def replayed(once: Once | None) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if once is not None and once.replayed else {}


async def known_industry(reads: Reads, industry: str | None) -> str | None:
    """The slug of the industry that is asked for. Raises `Invalid` naming `/industry` when there is none like it."""
    if industry is None:
        return None
    found = await reads.catalogue.resolve("industry", [industry])
    if industry not in found:
        raise Invalid(errors=(FieldError("/industry", "unknown", "Send the id or the slug of an industry of the catalogue."),))
    return found[industry].slug


def _whatever_the_kind(values: Mapping[str, Any]) -> list[FieldError]:
    """The rules that hold for all of them; those of a kind are judged with the entry, for the kind is in the path."""
    common = {name: value for name, value in values.items() if name not in ("slug", "autonym", "direction")}
    return entry_problems("situation", common)


def _whatever_there_is(values: Mapping[str, Any]) -> list[FieldError]:
    """The rules that hold whatever industries and levels there are."""
    own = {name: value for name, value in values.items() if name not in ("industry", "hierarchy_level")}
    return role_problems(own, industries=(), levels=())
