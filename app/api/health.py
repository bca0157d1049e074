"""Health, for whoever starts, restarts and routes. Only what makes an answer impossible is a 503."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal

import msgspec
import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from app.auth import Authentication
from app.bootstrap import House
from app.sealing import SealBrokenError
from bus.message import Refusal
from db.migrate import lacks, revision

log = structlog.get_logger("health")

PATIENCE = 2.0
LATE = 5.0
UNKEPT = timedelta(minutes=1)

Status = Literal["ok", "degraded", "unavailable"]
ORDER: tuple[Status, ...] = ("ok", "degraded", "unavailable")


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: Status
    detail: Annotated[str, msgspec.Meta(examples=["3 events wait for the relay"])] = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`unavailable` is answered with 503, `degraded` with 200: requests are served, deliveries are late."""

    status: Status
    checks: Annotated[dict[str, Check], msgspec.Meta(examples=[{"database": {"status": "ok"}}])]


EXAMPLE = Example(value={"status": "unavailable", "checks": {"database": {"status": "unavailable", "detail": "no answer within 2 s"}}})


@get("/health/live", operation_id="get_liveness", summary="Whether the process runs", tags=["health"], opt={"public": True})
async def get_liveness() -> Health:
    return Health(status="ok", checks={})


SICK = {
    503: ResponseSpec(Health, generate_examples=False, description="Requests cannot be served; the checks say why.", examples=[EXAMPLE])
}


@get(
    "/health/startup",
    operation_id="get_startup",
    summary="Whether the process has started",
    tags=["health"],
    opt={"public": True},
    responses=SICK,
)
async def get_startup(house: NamedDependency[House], authentication: NamedDependency[Authentication]) -> Response[Health]:
    database = await _bounded(lambda: _migrated(house))
    return _answer({"database": database, "keys": await _behind(database, lambda: _keys(authentication), otherwise="degraded")})


@get(
    "/health/ready",
    operation_id="get_readiness",
    summary="Whether requests can be served",
    tags=["health"],
    opt={"public": True},
    responses=SICK,
)
async def get_readiness(house: NamedDependency[House]) -> Response[Health]:
    database, redis = await asyncio.gather(_bounded(lambda: _migrated(house)), _bounded(lambda: _redis(house), otherwise="degraded"))
    relay = await _behind(database, lambda: _relay(house), otherwise="degraded")
    return _answer({"database": database, "redis": redis, "relay": relay})


def _answer(checks: dict[str, Check]) -> Response[Health]:
    worst: Status = "ok"
    for status in ORDER:
        if any(check.status == status for check in checks.values()):
            worst = status
    return Response(Health(status=worst, checks=checks), status_code=503 if worst == "unavailable" else 200)


async def _bounded(check: Callable[[], Awaitable[Check]], *, otherwise: Status = "unavailable") -> Check:
    try:
        async with asyncio.timeout(PATIENCE):
            return await check()
    except TimeoutError:
        return Check(status=otherwise, detail=f"no answer within {PATIENCE:g} s")
    except Refusal as refusal:
        return Check(status=otherwise, detail=refusal.title)
    except Exception as error:  # noqa: BLE001 - whoever asks is owed an answer, also about a database that turns us away; the log has the cause
        log.warning("check_failed", error=f"{type(error).__name__}: {error}")
        return Check(status=otherwise, detail="the check failed; the log says why")


async def _behind(database: Check, check: Callable[[], Awaitable[Check]], *, otherwise: Status = "unavailable") -> Check:
    """A check that asks tables of this build, so only where they are."""
    if database.status == "ok":
        return await _bounded(check, otherwise=otherwise)
    return Check(status=otherwise, detail="cannot be seen without the database")


async def _migrated(house: House) -> Check:
    found = await revision(house.database)
    if not lacks(found):
        return Check(status="ok")
    return Check(status="unavailable", detail="the database lacks a migration of this build: run `fluentpro migrate`")


async def _keys(authentication: Authentication) -> Check:
    try:
        await authentication.tokens()
    except SealBrokenError as error:
        return Check(status="degraded", detail=str(error))
    return Check(status="ok")


async def _redis(house: House) -> Check:
    await house.streams.ends(house.bus.catalog.areas)
    return Check(status="ok")


async def _relay(house: House) -> Check:
    now = house.clock()
    unkept = await house.reads.audit.unkept(than=now - UNKEPT)
    waiting, since = await house.ledger.lag()
    late = since is not None and (now - since).total_seconds() > LATE
    said: list[str] = []
    if unkept:
        said.append(f"{unkept} checkpoints are in the database only: let the relay write to its checkpoint folder")
    if since is not None:
        said.append(f"{waiting} events wait for the relay, the oldest since {since.isoformat()}")
    return Check(status="degraded" if unkept or late else "ok", detail="; ".join(said))
