"""What a learner can choose from: languages, industries, levels, roles, partners and situations. Nobody need be signed in."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import Meta as Shape

from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit, page_of
from app.api.envelope import Answer, ListAnswer, Meta
from app.api.languages import AcceptLanguage, wanted_languages
from app.api.preconditions import etag_of, is_known
from app.auth import anyone
from app.openapi import problems
from app.tokens import TokenExpired, TokenInvalid
from bus.message import Actor, FieldError
from db.reads import Reads
from db.reads.catalogue import ENGLISH, EntryQuery, Found, ListedEntry, ListedRole, RoleQuery
from domain.accounts.errors import SessionEnded
from domain.catalogue.errors import UnknownEntry
from domain.catalogue.identity import Kind
from domain.errors import Invalid, Unavailable
from domain.types import AccountId

SEARCH_MOST = 100

Search = Annotated[
    str,
    QueryParameter(
        name="search",
        pattern=r"^[^\x00]*$",
        max_length=SEARCH_MOST,
        description="A part of a name, in any language, without control characters.",
    ),
]
RoleSearch = Annotated[
    str,
    QueryParameter(
        name="search",
        pattern=r"^[^\x00]*$",
        max_length=SEARCH_MOST,
        description="Words of the role, the last perhaps not yet whole, without control characters.",
    ),
]
Available = Annotated[bool, QueryParameter(name="available", description="False for those that are no longer offered.")]
InIndustry = Annotated[str | None, QueryParameter(name="industry", description="The id or the slug of an industry.")]
AtLevel = Annotated[str | None, QueryParameter(name="hierarchy_level", description="The id or the slug of a level.")]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match", description="The ETag of what the client has.")]
RoleRef = Annotated[str, PathParameter(description="The id of a role, or its slug.")]

Slug = Annotated[str, Shape(examples=["banking_finance"])]
Name = Annotated[str, Shape(examples=["Banking & Finance"], description="In the language of the request, where there is a label.")]
Description = Annotated[str, Shape(examples=["Banks, insurers, asset managers and the finance teams of companies."])]
Icon = Annotated[str | None, Shape(examples=["landmark"], description="The name of an icon of Lucide.")]
IsAvailable = Annotated[bool, Shape(description="Whether it can be chosen.")]

T = TypeVar("T")


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Slug
    name: Name
    description: Description
    icon: Icon
    available: IsAvailable


class CatalogueLanguage(msgspec.Struct, frozen=True, kw_only=True):
    """The slug is a BCP 47 tag."""

    id: UUID
    slug: Annotated[str, Shape(examples=["zh-Hant"])]
    name: Annotated[str, Shape(examples=["Chinese (Traditional)"], description="In the language of the request, where there is a label.")]
    autonym: Annotated[str | None, Shape(examples=["繁體中文"], description="What its speakers call it.")]
    direction: Annotated[str | None, Shape(examples=["ltr"], description="ltr or rtl: the direction in which it is written.")]
    description: Annotated[str, Shape(examples=["Written in Hong Kong, Macau and Taiwan."])]
    icon: Icon
    available: IsAvailable


class RoleIndustry(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Slug
    name: Name


class CatalogueRole(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    slug: Annotated[str | None, Shape(examples=["relationship_manager"], description="Null for a role that a learner described.")]
    title: Annotated[str, Shape(examples=["Relationship Manager"], description="In the language of the request, where there is a label.")]
    description: Annotated[str, Shape(examples=["Looks after the accounts of corporate clients and sells them the bank's services."])]
    industry: RoleIndustry
    hierarchy_level: Annotated[str, Shape(examples=["manager"], description="The slug of the level.")]
    keywords: Annotated[tuple[str, ...], Shape(examples=[["corporate banking", "client portfolio"]])]
    duties: Annotated[tuple[str, ...], Shape(examples=[["look after corporate clients"]])]
    aliases: Annotated[tuple[str, ...], Shape(examples=[["Client Manager"]], description="Other names that it goes by.")]
    available: IsAvailable

    @classmethod
    def of(cls, role: ListedRole) -> "CatalogueRole":
        industry = {"id": role.industry, "slug": role.industry_slug, "name": role.industry_name}
        return msgspec.convert(msgspec.structs.asdict(role) | {"industry": industry}, cls)


class _Placed(Protocol):
    @property
    def place(self) -> object: ...


P = TypeVar("P", bound=_Placed)


class Shelf:
    """Answers one request in its language, unless the client has the answer already."""

    def __init__(self, reads: Reads, cursors: Cursors, meta: Meta, accept_language: str | None, if_none_match: str | None) -> None:
        self._reads, self._cursors, self._meta = reads, cursors, meta
        self._if_none_match = if_none_match
        self.languages = wanted_languages(accept_language)

    async def entries(
        self, kind: Kind, shape: type[T], search: str, limit: int, cursor: str | None, *, available: bool
    ) -> Response[ListAnswer[T] | None]:
        after = None if cursor is None else self._cursors.read(kind, cursor, tuple[int, str])
        query = EntryQuery(kind=kind, available=available, search=search, after=after, limit=limit + 1)
        found, more = self._page(kind, await self._reads.catalogue.entries(query, self.languages), limit)
        return self._list([_shown(entry, shape) for entry in found], [entry.language for entry in found], limit, more)

    async def roles(
        self, viewer: UUID | None, search: str, industry: str | None, level: str | None, limit: int, cursor: str | None
    ) -> Response[ListAnswer[CatalogueRole] | None]:
        kind = f"role {search.strip()}"  # The places of one search are not those of another.
        after = None if cursor is None else self._cursors.read(kind, cursor, tuple[float, int, UUID])
        in_industry, at_level = await self._filters(industry, level)
        query = RoleQuery(
            viewer=None if viewer is None else AccountId(viewer),
            search=search,
            industry=in_industry and in_industry.id,
            hierarchy_level=at_level and at_level.slug,
            after=after,
            limit=limit + 1,
        )
        found, more = self._page(kind, await self._reads.catalogue.roles(query, self.languages), limit)
        used = [tag for role in found for tag in role.languages]
        return self._list([CatalogueRole.of(role) for role in found], used, limit, more, viewer=viewer, personal=True)

    async def role(self, ref: str, viewer: UUID | None) -> Response[Answer[CatalogueRole] | None]:
        as_viewer = None if viewer is None else AccountId(viewer)
        role = await self._reads.catalogue.listed_role(ref, viewer=as_viewer, languages=self.languages)
        data = CatalogueRole.of(role)
        tag, headers = self._headers(data, role.languages, viewer=viewer, personal=True)
        if is_known(self._if_none_match, tag):
            return Response(None, status_code=304, headers=headers)
        return Response(Answer(data=data, meta=self._meta), headers=headers)

    async def _filters(self, industry: str | None, level: str | None) -> tuple[Found | None, Found | None]:
        """Both are judged before either is refused."""
        asked: tuple[tuple[Kind, str | None], ...] = (("industry", industry), ("hierarchy_level", level))
        found = [None if ref is None else (await self._reads.catalogue.resolve(kind, [ref])).get(ref) for kind, ref in asked]
        errors = tuple(
            FieldError(f"/{kind}", "unknown", "Send the id or the slug of one that is in the catalogue.")
            for (kind, ref), one in zip(asked, found, strict=True)
            if ref is not None and one is None
        )
        if errors:
            raise Invalid(errors=errors)
        return found[0], found[1]

    def _page(self, kind: str, found: list[P], limit: int) -> tuple[list[P], str | None]:
        more = self._cursors.make(kind, found[limit - 1].place) if len(found) > limit else None
        return found[:limit], more

    def _list(
        self,
        data: list[T],
        used: Sequence[str],
        limit: int,
        more: str | None,
        *,
        viewer: UUID | None = None,
        personal: bool = False,
    ) -> Response[ListAnswer[T] | None]:
        tag, headers = self._headers([data, more], used, viewer=viewer, personal=personal)
        if is_known(self._if_none_match, tag):
            return Response(None, status_code=304, headers=headers)
        return Response(ListAnswer(data=data, meta=page_of(self._meta, limit, more)), headers=headers)

    def _headers(self, shown: object, used: Sequence[str], *, viewer: UUID | None, personal: bool) -> tuple[str, dict[str, str]]:
        """The tag is of all that is shown but `meta`, and of the languages it is in."""
        languages = ", ".join(dict.fromkeys(tag for tag in (*self.languages, ENGLISH) if tag in used)) or ENGLISH
        tag = hashlib.sha256(msgspec.json.encode([languages, shown])).hexdigest()[:32]
        headers = {
            "ETag": etag_of(tag),
            "Cache-Control": "public, max-age=300" if viewer is None else "private, no-cache",
            "Content-Language": languages,
            "Vary": "Accept-Language, Authorization" if personal else "Accept-Language",
        }
        return tag, headers


def _shown(entry: ListedEntry, shape: type[T]) -> T:
    return msgspec.convert(entry, shape, from_attributes=True)


async def provide_shelf(
    reads: NamedDependency[Reads],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    accept_language: AcceptLanguage = None,
    if_none_match: IfNoneMatch = None,
) -> Shelf:
    return Shelf(reads, cursors, meta, accept_language, if_none_match)


PUBLIC: dict[str, Any] = {
    "tags": ["catalogue"],
    "opt": {"public": True},
    "dependencies": {"shelf": Provide(provide_shelf)},
    "response_headers": [
        ResponseHeader(name="ETag", description="Of what is answered, in this language.", documentation_only=True),
        ResponseHeader(name="Content-Language", description="The languages of the labels.", documentation_only=True),
        ResponseHeader(name="Cache-Control", description="How long the answer may be kept.", documentation_only=True),
    ],
}
KNOWN = {304: ResponseSpec(None, description="The client has this already.")}
LIST: dict[str, Any] = {**PUBLIC, "responses": {**KNOWN, **problems(Unavailable)}}
PERSONAL: dict[str, Any] = {**PUBLIC, "opt": {"public": True, "token": "optional"}, "guards": [anyone]}
BAD_TOKEN = (TokenInvalid, TokenExpired, SessionEnded)


@get("/languages", operation_id="list_languages", summary="The languages that people speak at home", **LIST)
async def list_languages(
    shelf: NamedDependency[Shelf],
    search: Search = "",
    available: Available = True,  # noqa: FBT002 - a parameter of the query
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueLanguage] | None]:
    return await shelf.entries("language", CatalogueLanguage, search, limit, cursor, available=available)


@get("/industries", operation_id="list_industries", summary="The industries", **LIST)
async def list_industries(
    shelf: NamedDependency[Shelf],
    search: Search = "",
    available: Available = True,  # noqa: FBT002 - a parameter of the query
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueEntry] | None]:
    return await shelf.entries("industry", CatalogueEntry, search, limit, cursor, available=available)


@get("/hierarchy-levels", operation_id="list_hierarchy_levels", summary="The levels at which people work, the lowest first", **LIST)
async def list_hierarchy_levels(
    shelf: NamedDependency[Shelf],
    search: Search = "",
    available: Available = True,  # noqa: FBT002 - a parameter of the query
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueEntry] | None]:
    return await shelf.entries("hierarchy_level", CatalogueEntry, search, limit, cursor, available=available)


@get("/partners", operation_id="list_partners", summary="The people whom one talks to at work", **LIST)
async def list_partners(
    shelf: NamedDependency[Shelf],
    search: Search = "",
    available: Available = True,  # noqa: FBT002 - a parameter of the query
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueEntry] | None]:
    return await shelf.entries("partner", CatalogueEntry, search, limit, cursor, available=available)


@get("/situations", operation_id="list_situations", summary="The situations in which one talks to them", **LIST)
async def list_situations(
    shelf: NamedDependency[Shelf],
    search: Search = "",
    available: Available = True,  # noqa: FBT002 - a parameter of the query
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueEntry] | None]:
    return await shelf.entries("situation", CatalogueEntry, search, limit, cursor, available=available)


@get(
    "/roles",
    operation_id="list_roles",
    summary="The roles; with a token also those that one has described oneself",
    responses={**KNOWN, **problems(*BAD_TOKEN, Unavailable)},
    **PERSONAL,
)
async def list_roles(
    shelf: NamedDependency[Shelf],
    actor: NamedDependency[Actor],
    search: RoleSearch = "",
    industry: InIndustry = None,
    hierarchy_level: AtLevel = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response[ListAnswer[CatalogueRole] | None]:
    return await shelf.roles(actor.id, search, industry, hierarchy_level, limit, cursor)


@get(
    "/roles/{role:str}",
    operation_id="get_role",
    summary="Read a role",
    responses={**KNOWN, **problems(*BAD_TOKEN, UnknownEntry, Unavailable)},
    **PERSONAL,
)
async def get_role(role: RoleRef, shelf: NamedDependency[Shelf], actor: NamedDependency[Actor]) -> Response[Answer[CatalogueRole] | None]:
    return await shelf.role(role, actor.id)
