"""A process that only listens: to the streams of server-sent events, to the Redis stream, and to a bare channel.

It reads its orders from standard input, says `listening`, and when it has heard everything prints how late it came.
"""

import asyncio
import sys
import time
from datetime import datetime
from typing import Any, cast

import msgspec
import uvloop
from redis.asyncio import Redis

from bus.transport import PREFIX
from tests.app.client import FEED


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    port: int
    tokens: list[str]
    redis_url: str
    area: str
    channel: str
    events: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Delays in seconds, each from the instant that the sender wrote into what it sent."""

    sse: list[float]
    stream: list[float]
    pubsub: list[float]


class _Happened(msgspec.Struct, frozen=True):
    occurred_at: datetime


async def _sse(orders: Orders, token: str, delays: list[float], ready: asyncio.Event) -> None:
    """Without an HTTP library, which would be most of what is measured. Every event is in one piece: its lines are not split."""
    reader, writer = await asyncio.open_connection("127.0.0.1", orders.port)
    request = f"GET {FEED} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    decoder = msgspec.json.Decoder(_Happened)
    try:
        async for line in reader:
            if line.startswith(b"data: {"):
                delays.append(time.time() - decoder.decode(line[6:]).occurred_at.timestamp())
            elif line.startswith(b"retry: "):
                ready.set()
    finally:
        writer.close()


async def _stream(redis: Any, area: str, delays: list[float]) -> None:
    last = "$"
    while True:
        for _, entries in await redis.xread({PREFIX + area: last}, block=1000):
            now = time.time()
            delays += [now - datetime.fromisoformat(fields[b"occurred_at"].decode()).timestamp() for _, fields in entries]
            last = entries[-1][0]


async def _channel(redis: Any, channel: str, delays: list[float], ready: asyncio.Event) -> None:
    async with redis.pubsub() as subscription:
        await subscription.subscribe(channel)
        async for message in subscription.listen():
            if message["type"] == "message":
                delays.append(time.time() - float(message["data"]))
            else:
                ready.set()


async def main(orders: Orders) -> None:
    redis: Any = cast("Any", Redis).from_url(orders.redis_url)
    heard = Heard(sse=[], stream=[], pubsub=[])
    *streams, channel = ready = [asyncio.Event() for _ in (*orders.tokens, orders.channel)]
    running = [
        asyncio.create_task(_stream(redis, orders.area, heard.stream)),
        asyncio.create_task(_channel(redis, orders.channel, heard.pubsub, channel)),
        *(asyncio.create_task(_sse(orders, token, heard.sse, one)) for token, one in zip(orders.tokens, streams, strict=True)),
    ]
    hearing = asyncio.create_task(_hear(orders, heard, ready))
    await asyncio.wait([hearing, *running], return_when=asyncio.FIRST_COMPLETED)
    for task in (hearing, *running):
        task.cancel()
    for failure in await asyncio.gather(hearing, *running, return_exceptions=True):
        if isinstance(failure, Exception):
            raise failure
    await redis.aclose()
    sys.stdout.buffer.write(msgspec.json.encode(heard) + b"\n")


async def _hear(orders: Orders, heard: Heard, ready: list[asyncio.Event]) -> None:
    for one in ready:
        await one.wait()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    while min(len(heard.sse), len(heard.stream)) < orders.events:  # noqa: ASYNC110 - three kinds of listeners add to it
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.stdin.readline(), type=Orders)))
