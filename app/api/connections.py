"""Who is connected at the moment. For admins."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from msgspec import Meta as Shape

from app.api.cursors import DEFAULT_LIMIT, Cursors, CursorText, Limit
from app.api.envelope import ListMeta, Meta, Page
from app.auth import admin
from app.connections import Connected, Connections, Kind
from app.openapi import problems
from domain.errors import Denied, Unavailable

KIND = "connections"

Instant = Annotated[datetime, Shape(tz=True)]


class ConnectionItem(msgspec.Struct, frozen=True, kw_only=True):
    """`last_activity` is when something was last sent over it by its person; it is known to a few seconds."""

    id: UUID
    kind: Kind
    conversation: UUID | None
    process: Annotated[str, Shape(examples=["web-1:4711"], description="The host and the number of the process that holds it.")]
    connected_at: Instant
    last_activity: Instant

    @classmethod
    def of(cls, one: Connected) -> "ConnectionItem":
        return cls(
            id=one.id,
            kind=one.kind,
            conversation=one.conversation,
            process=one.process,
            connected_at=one.connected_at,
            last_activity=one.last_activity,
        )


class PersonItem(msgspec.Struct, frozen=True, kw_only=True):
    account: UUID
    count: Annotated[int, Shape(examples=[2])]
    last_activity: Instant
    connections: list[ConnectionItem]


class CensusMeta(ListMeta, frozen=True, kw_only=True):
    """Over all pages: how many connections there are, of how many people, and how many of one."""

    total: Annotated[int, Shape(examples=[3])]
    people: Annotated[int, Shape(examples=[2])]
    average: Annotated[float, Shape(examples=[1.5])]
    most: Annotated[int, Shape(examples=[2])]


class CensusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the people who are connected."""

    data: list[PersonItem]
    meta: CensusMeta


@get(
    "/admin/connections",
    operation_id="list_connections",
    summary="Who is connected at the moment, over all processes",
    tags=["admin"],
    guards=[admin],
    responses=problems(Denied, Unavailable),
)
async def list_connections(
    connections: NamedDependency[Connections],
    cursors: NamedDependency[Cursors],
    meta: NamedDependency[Meta],
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> CensusAnswer:
    after = cursors.read(KIND, cursor, UUID) if cursor is not None else None
    census = await connections.registry.everyone()
    rest = [pair for pair in census.people.items() if after is None or pair[0] > after]
    shown = rest[:limit]
    return CensusAnswer(
        data=[
            PersonItem(
                account=account,
                count=len(found),
                last_activity=max(one.last_activity for one in found),
                connections=[ConnectionItem.of(one) for one in found],
            )
            for account, found in shown
        ],
        meta=CensusMeta(
            request_id=meta.request_id,
            timestamp=meta.timestamp,
            version=meta.version,
            page=Page(limit=limit, next_cursor=cursors.make(KIND, shown[-1][0]) if len(rest) > limit else None),
            total=census.total,
            people=len(census.people),
            average=census.average,
            most=census.most,
        ),
    )
