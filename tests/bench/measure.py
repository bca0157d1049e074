"""The four measurements. Both sides of a ratio take turns, so that a noisy machine is noisy for both; the median counts."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.bootstrap import House, utc_now, uuid7
from bus.message import Actor, Trace
from bus.transport import PREFIX
from db.connection import asyncpg_url
from db.ledger import statements
from domain.types import AccountId
from tests.app.client import Person, environment, eventually
from tests.app.processes import REPOSITORY
from tests.bench.area import Rename, bare, event_rows
from tests.bench.listen import Heard, Orders
from tests.bench.report import Figures, percentiles

CONNECTIONS = 8
AREA = "accounts"
CHANNEL = "bench"
PIPELINE = 500
COMMANDS_PER_S = 200
PROBES_PER_S = 50
HEARD_SECONDS = 30


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    execute_seconds: float
    backlog: int
    delay_seconds: float
    warm_up: int
    commands: int

    @classmethod
    def of(cls, factor: float) -> "Scale":
        """`1` is what the targets are for."""
        return cls(
            rounds=max(1, round(5 * factor)),
            execute_seconds=2 * min(1, factor * 10),
            backlog=round(20_000 * factor),
            delay_seconds=15 * factor,
            warm_up=round(10_000 * factor),
            commands=round(50_000 * factor),
        )


# ------------------------------------------------------------------ execute


async def add_accounts(house: House, count: int) -> list[UUID]:
    accounts = [uuid7() for _ in range(count)]
    async with house.database.driver() as driver:
        await driver.execute(_ADD_ACCOUNTS, accounts, [f"{account}@example.com" for account in accounts])
    return accounts


_ADD_ACCOUNTS = """
INSERT INTO accounts (id, email, password_hash, full_name, date_of_birth, locale, timezone, admin, created_at, updated_at, version)
SELECT id, email, '', 'Ada', '1990-12-10', 'en', 'UTC', false, now(), now(), 1 FROM unnest($1::uuid[], $2::text[]) AS a(id, email)
"""


async def rename(house: House, account: UUID, name: str) -> None:
    await house.bus.execute(
        Rename(account=AccountId(account), name=name), by=Actor(kind="person", id=account), trace=Trace(correlation_id=name)
    )


async def _busy(work: Callable[[UUID, str], Awaitable[None]], accounts: Sequence[UUID], until: Callable[[int], bool]) -> int:
    """How many were done by as many workers as there are connections, each with accounts of its own."""
    done = 0

    async def worker(own: Sequence[UUID]) -> None:
        nonlocal done
        for account in itertools.cycle(own):
            if until(done):
                return
            done += 1
            await work(account, f"Ada {done}")

    await asyncio.gather(*(worker(accounts[start::CONNECTIONS]) for start in range(CONNECTIONS)))
    return done


async def execute(house: House, accounts: Sequence[UUID], scale: Scale) -> Figures:
    driver: Any = asyncpg
    pool: Any = await driver.create_pool(asyncpg_url(house.settings.database_url), min_size=CONNECTIONS, max_size=CONNECTIONS)

    async def by_bus(account: UUID, name: str) -> None:
        await rename(house, account, name)

    async def by_hand(account: UUID, name: str) -> None:
        async with pool.acquire() as connection:
            await bare(connection, account, name)

    sides = {"execute": by_bus, "bare": by_hand}
    rates: dict[str, list[float]] = {side: [] for side in sides}
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    for seconds in [0.3, *[scale.execute_seconds] * scale.rounds]:  # The first is to prepare statements.
        for side, work in sides.items():
            began, used = time.perf_counter(), time.process_time()
            ends = began + seconds
            count = await _busy(work, accounts, lambda _, ends=ends: time.perf_counter() >= ends)
            rates[side].append(count / (time.perf_counter() - began))
            cpu[side].append((time.process_time() - used) / count)
    await pool.close()
    ratios = [one / other for one, other in zip(rates["execute"][1:], rates["bare"][1:], strict=True)]
    spent = {side: median(values[1:]) * 1e6 for side, values in cpu.items()}
    return {
        "execute_per_s": round(median(rates["execute"][1:])),
        "bare_per_s": round(median(rates["bare"][1:])),
        "execute_ratio": round(median(ratios), 3),
        "execute_cpu_us": round(spent["execute"]),
        "bare_cpu_us": round(spent["bare"]),
        "bus_cpu_us": round(spent["execute"] - spent["bare"]),
    }


# ------------------------------------------------------------------ relay


async def published(house: House) -> int:
    async with house.database.driver() as driver:
        return await driver.fetchval("SELECT coalesce(max(position), 0) FROM watermarks")


async def _published_past(house: House, position: int) -> int:
    while (at := await published(house)) <= position:  # noqa: ASYNC110 - the relay is another process
        await asyncio.sleep(0.02)
    return at


async def everything_published(house: House, seconds: float = 120) -> None:
    async def nothing_waits() -> bool:
        return not (await house.ledger.lag())[0]

    await eventually(nothing_waits, "the relay has published everything", seconds)


async def relay(house: House, accounts: Sequence[UUID], scale: Scale) -> Figures:
    """A backlog is committed at once; the time counts from its first entry in the stream until the watermark has passed its last."""
    redis: Any = await house.streams.redis()
    rates: list[float] = []
    bare_rates: list[float] = []
    for _ in range(scale.rounds):
        before = await published(house)
        await _backlog(house, accounts, scale.backlog)
        began = await _published_past(house, before)
        started = time.perf_counter()
        await _published_past(house, before + scale.backlog - 1)
        rates.append((before + scale.backlog - began) / max(time.perf_counter() - started, 1e-9))
        entries = await redis.xrange(PREFIX + AREA, min=f"({before}-0", count=scale.backlog)
        started = time.perf_counter()
        for first in range(0, len(entries), PIPELINE):
            async with redis.pipeline(transaction=False) as pipeline:
                for entry, fields in entries[first : first + PIPELINE]:
                    pipeline.xadd("bench.bare", fields, id=entry)
                await pipeline.execute()
        bare_rates.append(len(entries) / (time.perf_counter() - started))
        await redis.delete("bench.bare")
    return {
        "relay_events_per_s": round(median(rates)),
        "xadd_events_per_s": round(median(bare_rates)),
        "relay_ratio": round(median(one / other for one, other in zip(rates, bare_rates, strict=True)), 3),
    }


async def _backlog(house: House, accounts: Sequence[UUID], count: int) -> None:
    subjects = list(itertools.islice(itertools.cycle(accounts), count))
    async with house.database.driver() as driver, driver.transaction():
        for first in range(0, count, PIPELINE):
            await driver.execute(statements.RECORD, *event_rows(subjects[first : first + PIPELINE], utc_now()))


# ------------------------------------------------------------------ delay


async def delay(house: House, port: int, people: Sequence[Person], scale: Scale) -> Figures:
    """From the instant in the event, which is taken just before it is written and committed, to whoever listens."""
    count = round(COMMANDS_PER_S * scale.delay_seconds)
    tokens = [person.token for person in people]
    turns = [asyncio.Lock() for _ in people]  # Nobody changes their account twice at once, however slow the machine is.

    async def one(number: int) -> None:
        async with turns[number % len(people)]:
            await rename(house, people[number % len(people)].id, f"Ada {number}")

    async with _listener(house) as (orders, answers):
        orders.write(
            msgspec.json.encode(
                Orders(port=port, tokens=tokens, redis_url=house.settings.redis_url, area=AREA, channel=CHANNEL, events=2 * count)
            )
        )
        orders.write_eof()
        if (said := await answers.readline()) != b"listening\n":
            raise AssertionError(f"the listener did not come to listen, but said {said!r}")
        probing = asyncio.create_task(_probe(house))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(began + number / COMMANDS_PER_S - time.perf_counter())
                group.create_task(one(number))
        took = time.perf_counter() - began
        async with asyncio.timeout(HEARD_SECONDS):
            heard = msgspec.json.decode(await answers.readline(), type=Heard)
        probing.cancel()
    return {
        "delay_commands_per_s": round(count / took, 1),
        **percentiles("stream", heard.stream),
        **percentiles("sse", heard.sse),
        **percentiles("pubsub", heard.pubsub),
    }


async def _probe(house: House) -> None:
    redis: Any = await house.streams.redis()
    while True:
        await redis.publish(CHANNEL, repr(time.time()))
        await asyncio.sleep(1 / PROBES_PER_S)


@asynccontextmanager
async def _listener(house: House) -> AsyncGenerator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.listen",
        cwd=REPOSITORY,
        env=environment(house.settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=2**26,
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    try:
        yield process.stdin, process.stdout
    except BaseException:
        process.kill()
        raise
    finally:
        await process.wait()


# ------------------------------------------------------------------ memory


def resident(pid: int) -> int:
    """In KiB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True).stdout)


async def memory(house: House, accounts: Sequence[UUID], pids: Mapping[str, int], scale: Scale) -> Figures:
    """The largest deviation from what each process had after the warm-up, and how much that was."""
    first: dict[str, int] = {}
    drift = dict.fromkeys(pids, 0.0)
    began = time.perf_counter()
    portion = scale.commands // 10
    for count in (scale.warm_up, *[portion] * 10):
        await _busy(lambda account, name: rename(house, account, name), accounts, lambda done, count=count: done >= count)
        await everything_published(house)
        now = {name: resident(pid) for name, pid in pids.items()}
        first = first or now
        drift = {name: max(drift[name], abs(now[name] / first[name] - 1)) for name in pids}
    return {
        "memory_commands": scale.warm_up + portion * 10,
        "memory_s": round(time.perf_counter() - began, 1),
        **{f"memory_{name}_mib": round(kib / 1024, 1) for name, kib in first.items()},
        **{f"memory_{name}_drift": round(share, 3) for name, share in drift.items()},
    }
