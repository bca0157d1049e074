"""`make bench-stream`: answers as they reach their readers, beside a handler that streams the same and keeps nothing.

Exit status 1 when a target is missed. The last line is one flat JSON object.
"""

import argparse
import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stderr
from typing import Any

import msgspec
import uvloop

from app import logs
from app.bootstrap import open_house
from app.embedded import free_port, serving
from app.processes import keep_what_is_loaded
from app.settings import Settings
from bus.message import SYSTEM
from db import migrate
from domain.accounts.commands import EnsureSigningKey
from domain.practice.commands import SeedScenarios
from tests.app.client import Person, Process, Web, environment, eventually, running, sign_up, web
from tests.app.processes import REPOSITORY, room
from tests.bench.measure import resident
from tests.bench.report import Figures, Target, changed, missed, percentiles, table
from tests.bench.streams.client import Heard, Orders, Place, request
from tests.bench.streams.model import INSTANT, PIECES

SCENARIO = "real_estate_negotiations"
TARGETS: Mapping[str, Target] = {
    "first_over_bare_p95_ms": Target("<=", 40),
    "many_lost": Target("<=", 0),
    "many_added_p99_ms": Target("<=", 150),
    "provider_lost": Target("<=", 0),
    "idle_answering": Target(">=", 1),
    "stalled_growth_mib": Target("<=", 40),
}
PACE = 0.05
# Seconds between two beginnings. Two hundred streams of twenty seconds each are ten beginnings a second; these are twice as many.
APART = 1 / 20
STALLED = 100
# Turns, between which the bare handler has as many.
PART = 20


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    people: int
    turns: int
    streams: int
    pieces: int
    idle: int
    stalled: int

    @classmethod
    def of(cls, part: float) -> "Scale":
        return cls(
            people=max(2, round(50 * part)),
            turns=max(10, round(200 * part)),
            streams=max(4, round(200 * part)),
            pieces=max(20, round(400 * part)),
            idle=max(20, round(2000 * part)),
            stalled=max(4, round(STALLED * part)),
        )


async def client(settings: Settings, orders: Orders) -> Heard:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.streams.client",
        cwd=REPOSITORY,
        env=environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(msgspec.json.encode(orders))
    if process.returncode:
        raise AssertionError(f"the client failed:\n{err.decode()[-3000:]}")
    return msgspec.json.decode(out, type=Heard)


async def begun(server: Web, people: Sequence[Person], count: int) -> list[Place]:
    """So many conversations, dealt out among the people."""
    async with server.client() as http:
        found: list[Place] = []
        for number in range(count):
            person = people[number % len(people)]
            answer = await http.post(
                "/api/v2/conversations", json={"scenario": SCENARIO, "settings": {"feedback": "silent"}}, headers=person.headers
            )
            found.append(Place(conversation=answer.json()["data"]["conversation"], token=person.token))
    return found


@asynccontextmanager
async def bare(settings: Settings) -> AsyncGenerator[int]:
    """The port of a server that keeps nothing."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.streams.process", "serve", str(port), cwd=REPOSITORY, env=environment(settings)
    )

    async def up() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(up, "the bare handler answers")
        yield port
    finally:
        process.terminate()
        await process.wait()


async def first_tokens(settings: Settings, server: Web, people: Sequence[Person], port: int, scale: Scale) -> Figures:
    """One turn after another, each in a conversation of its own; the bare handler in between, on the same machine at the same time."""
    places = await begun(server, people, scale.turns)
    ours = Orders(kind="ours", port=port_of(server), says=INSTANT)
    plain = Orders(kind="bare", port=port, says=INSTANT)
    first: list[float] = []
    asked: list[float] = []
    bare_first: list[float] = []
    pieces = 0
    for begin in range(0, len(places), PART):
        some = places[begin : begin + PART]
        found = await client(settings, msgspec.structs.replace(ours, places=some, rounds=len(some)))
        first, asked, pieces = first + found.first, asked + found.asked, pieces + found.pieces
        bare_first += (await client(settings, msgspec.structs.replace(plain, rounds=len(some)))).first
    if len(first) != len(places) or pieces != PIECES * len(places):
        raise AssertionError(f"{len(first)} of {len(places)} turns were answered")
    figures = {**percentiles("first", first), **percentiles("first_of_asked", asked), **percentiles("bare_first", bare_first)}
    over = {
        f"first_over_bare_p{share}_ms": round(figures[f"first_p{share}_ms"] - figures[f"bare_first_p{share}_ms"], 2) for share in (50, 95)
    }
    return {**figures, **over, "first_ratio": round(figures["first_p50_ms"] / figures["bare_first_p50_ms"], 2)}


async def many(settings: Settings, server: Web, people: Sequence[Person], scale: Scale, name: str) -> Figures:
    """All at once, at twenty pieces a second each."""
    says = f"paced {scale.pieces} {PACE}"
    places = await begun(server, people, scale.streams)
    orders = Orders(kind="ours", port=port_of(server), places=places, says=says, together=APART, patience=180)
    began = time.monotonic()
    heard = await client(settings, orders)
    took = time.monotonic() - began
    expected = scale.streams * scale.pieces
    return {
        f"{name}_streams": scale.streams,
        f"{name}_pieces": heard.pieces,
        f"{name}_pieces_per_s": round(heard.pieces / took),
        f"{name}_lost": heard.lost + abs(expected - heard.pieces),
        **percentiles(f"{name}_added", heard.late),
    }


async def readers(server: Web, places: Sequence[Place], *, read: bool) -> list[asyncio.StreamWriter]:
    """Open streams; those that do not `read` leave their sockets full."""
    opened: list[asyncio.StreamWriter] = []
    for number, place in enumerate(places):
        # A receive buffer as small as the kernel allows, and segments as small, by which it measures the buffer of the server: some
        # 900 pieces still wait in the kernel before whoever does not read holds up the server.
        wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        wire.setblocking(False)
        await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", port_of(server)))
        reader, writer = await asyncio.open_connection(sock=wire, limit=2**12)
        writer.write(request("GET", f"/api/v2/conversations/{place.conversation}/events", place.token))
        opened.append(writer)
        if read or number == len(places) - 1:
            await reader.readline()
    return opened


async def idle(server: Web, places: Sequence[Place], scale: Scale) -> Figures:
    """Many who wait, and one who asks meanwhile."""
    before = resident(server.pid)
    opened = await readers(server, [places[number % len(places)] for number in range(scale.idle)], read=True)
    await asyncio.sleep(2)
    grown = resident(server.pid) - before
    began = time.monotonic()
    async with server.client() as http:
        answering = (await http.get("/health/live")).status_code == 200
    took = time.monotonic() - began
    for writer in opened:
        writer.close()
    return {
        "idle_readers": len(opened),
        "idle_bytes_per_reader": round(1024 * grown / len(opened)),
        "idle_answering": float(answering),
        "idle_answer_ms": round(1000 * took, 1),
    }


async def stalled(server: Web, people: Sequence[Person], scale: Scale) -> Figures:
    """Readers who take nothing of long answers, while others are answered."""
    places = await begun(server, people, scale.stalled)
    async with server.client() as http:
        opened = await readers(server, places, read=False)
        before = resident(server.pid)
        says = f"paced {scale.pieces * 6} 0.02"
        for place in places:
            answer = await http.post(f"/api/v2/conversations/{place.conversation}/turns", json={"text": says}, headers=place.headers)
            if answer.status_code != 202:
                raise AssertionError(answer.text)

        async def answered() -> bool:
            found = await http.get(f"/api/v2/conversations/{places[-1].conversation}", headers=places[-1].headers)
            return found.json()["data"]["turns"][-1]["status"] == "answered"

        await eventually(answered, "the stalled readers' turns are answered", 120)
        grown = resident(server.pid) - before
    for writer in opened:
        writer.close()
    return {
        "stalled_readers": len(opened),
        "stalled_pieces": scale.stalled * scale.pieces * 6,
        "stalled_growth_mib": round(grown / 1024, 1),
    }


async def bench(settings: Settings, scale: Scale) -> Figures:
    await migrate.upgrade(settings.database_url)
    async with open_house(settings) as house:
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        await house.bus.execute(SeedScenarios(), by=SYSTEM)
    keep_what_is_loaded()
    figures: Figures = {}
    async with bare(settings) as port, running(settings) as start, web(settings) as server:
        start("relay")
        stamped = Process("worker", settings, settings.data_path / "logs" / "stamped.log", module="tests.bench.streams.process")
        try:
            await stamped.says("reading")
            async with server.client() as http:
                people = [await sign_up(http, email=f"{number}@fluentpro.example") for number in range(scale.people)]
            await first_tokens(settings, server, people, port, msgspec.structs.replace(scale, turns=10))
            figures |= said(await first_tokens(settings, server, people, port, scale))
            figures |= said(await many(settings, server, people, scale, "many"))
            figures |= said(await stalled(server, people, scale))
            figures |= said(await idle(server, await begun(server, people, 20), scale))
        finally:
            await stamped.stop()
        asking = start("worker", llm_url=f"http://127.0.0.1:{port}/v1", llm_model="stamped")
        await asking.says("reading")
        figures |= said(await many(settings, server, people, scale, "provider"))
    return figures


def said(figures: Figures) -> Figures:
    """At once, on the terminal's error stream: a whole run takes minutes."""
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"  {json.dumps(figures)}\n")
        sys.__stderr__.flush()
    return figures


def port_of(server: Web) -> int:
    return int(server.base.rpartition(":")[2])


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-stream", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="measure this part of what the targets are for")
    parser.add_argument("--target", action="append", default=[], metavar="NAME=VALUE", help="another value for a target")
    options = parser.parse_args()
    scale = Scale.of(options.scale)
    promised = changed(TARGETS, options.target)
    began = time.monotonic()
    with room() as folder, serving(folder / "data") as given:
        settings: Any = Settings(
            env="production",
            public_url="https://fluentpro.example",
            data_dir=str(folder / "data"),
            database_url=given.database_url,
            redis_url=given.redis_url,
            secret_key=secrets.token_urlsafe(32),
            access_token_seconds=3600,
            auth_rate_burst=1000,
            tokens_per_day=10**9,
            tokens_per_conversation=10**9,
            tokens_per_answer=10**4,
            scripted_pace=0.0,
        )
        with (folder / "bench.log").open("w", buffering=1) as log, redirect_stderr(log):
            logs.configure(settings, process="bench")
            figures = uvloop.run(bench(settings, scale))
    figures["seconds"] = round(time.monotonic() - began, 1)
    sys.stdout.write(f"{table(figures, promised)}\n{json.dumps(figures)}\n")
    sys.exit(1 if missed(figures, promised) else 0)


if __name__ == "__main__":
    main()
