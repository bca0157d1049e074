"""Whether conversations are answered: who waits, whose worker is silent, whether there is room, and whether anybody works."""

import asyncio
from datetime import datetime
from typing import Any, Literal

import msgspec

from app.bootstrap import House
from app.connections import Registry
from bus.message import Unavailable
from bus.transport import AWAY
from db.reads.conversations_admin import Condition
from tasks.queue import close_queue, make_queue

WAITS_LONG = 10.0
"""Seconds after which a turn without a worker should long have one: it is taken over within these."""
PATIENCE = 3.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    status: Literal["ok", "wrong"]
    detail: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    checks: list[Check]


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """Who is connected to any web process; `average` and `most` are connections of one person."""

    connections: int
    people: int
    average: float
    most: int


async def connected(house: House) -> Connected | None:
    """None while Redis, which alone knows it, does not answer."""
    registry = Registry(house.settings.redis_url, house.settings.connection_ttl)
    try:
        census = await registry.everyone()
    except Unavailable:
        return None
    finally:
        await registry.close()
    return Connected(connections=census.total, people=len(census.people), average=census.average, most=census.most)


async def checked(house: House) -> Health:
    now = house.clock()
    found = await house.reads.conversations_admin.condition(now=now)
    checks = [_waiting(found, now), _leases(found, now), _room(found), await _workers(house)]
    return Health(ok=all(check.status == "ok" for check in checks), checks=checks)


def _waiting(found: Condition, now: datetime) -> Check:
    if found.waiting_since is None:
        return Check(name="turns", status="ok", detail=f"no turn waits for a worker, {found.running} are being answered")
    seconds = (now - found.waiting_since).total_seconds()
    detail = f"{found.waiting} turns wait for a worker, the oldest for {seconds:.0f} s; {found.running} are being answered"
    if seconds <= WAITS_LONG:
        return Check(name="turns", status="ok", detail=detail)
    return Check(name="turns", status="wrong", detail=f"{detail}: start workers (`fluentpro worker`), or look at what they log")


def _leases(found: Condition, now: datetime) -> Check:
    if found.expired_since is None:
        return Check(name="leases", status="ok", detail="every answer that is being given has a worker")
    seconds = (now - found.expired_since).total_seconds()
    detail = f"{found.leases_expired} answers have lost their worker, the first {seconds:.0f} s ago"
    if seconds <= WAITS_LONG:
        return Check(name="leases", status="ok", detail=f"{detail}; another takes them over")
    return Check(name="leases", status="wrong", detail=f"{detail}, and no other has taken them over: start workers")


def _room(found: Condition) -> Check:
    if found.days_missing:
        days = ", ".join(found.days_missing)
        text = f"there are no partitions for {days}: a worker makes them every hour; until then rows go to conversation_log_other"
        return Check(name="log", status="wrong", detail=text)
    if found.strays:
        text = f"{found.strays} rows came before the partition of their day; they are moved when it is made, or go when they are old"
        return Check(name="log", status="ok", detail=text)
    return Check(name="log", status="ok", detail="there are partitions for today and the next two days")


async def _workers(house: House) -> Check:
    """As they say themselves in Redis, every few seconds."""
    queue = make_queue(house.settings.redis_url)
    try:
        async with asyncio.timeout(PATIENCE):
            info: Any = await queue.info()
    except AWAY:
        text = "Redis does not answer, so workers cannot be counted: look at FLUENTPRO_REDIS_URL; turns are answered all the same"
        return Check(name="workers", status="wrong", detail=text)
    finally:
        await close_queue(queue)
    workers = len(info["workers"])
    if not workers:
        return Check(name="workers", status="wrong", detail="no worker is seen: start one with `fluentpro worker`")
    return Check(name="workers", status="ok", detail=f"{workers} workers are seen")
