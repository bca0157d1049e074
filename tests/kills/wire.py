"""A way to PostgreSQL or Redis on which one message can be stopped, there or on its way back, so that a process dies at a chosen point."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

_SSL_REQUEST = 80877103
_PORTS = {"redis": 6379, "postgresql": 5432}


class Held:
    """A message that goes no further, or whose answer does not, until it is released or its sender is gone."""

    def __init__(self, words: str, *, answer: bool, having: str = "") -> None:
        self.words, self.answer, self.having = words, answer, having
        self.caught = asyncio.Event()
        self.released = asyncio.Event()
        self.lost = False

    async def reached(self, seconds: float = 60) -> Self:
        async with asyncio.timeout(seconds):
            await self.caught.wait()
        return self

    def release(self) -> None:
        self.released.set()

    def lose(self) -> None:
        """An answer is never given: its connection breaks."""
        self.lost = True
        self.release()


class Statements:
    """What a client of PostgreSQL says: a prepared statement is known by its text also when it is only named."""

    def __init__(self) -> None:
        self._rest, self._begun = b"", False
        self._texts: dict[bytes, str] = {}

    def said(self, data: bytes) -> Iterator[str]:
        self._rest += data
        head = 1 if self._begun else 0
        while len(self._rest) >= head + 4:
            size = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < size:
                return
            message, self._rest = self._rest[:size], self._rest[size:]
            if self._begun:
                yield from self._read(message[:1], message[5:])
            else:
                self._begun = int.from_bytes(message[4:8]) != _SSL_REQUEST
                head = 1 if self._begun else 0

    def _read(self, kind: bytes, body: bytes) -> Iterator[str]:
        if kind == b"Q":
            yield body.rstrip(b"\0").decode()
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text.decode()
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            yield self._texts[name]


class Commands:
    """What a client of Redis says, as it is on the wire."""

    def said(self, data: bytes) -> Iterator[str]:
        yield data.decode(errors="replace")


class Wire:
    """Carries everything both ways; `hold` and `hold_answer` stop the next message that has these words in it."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._language = Commands if self._target.scheme.startswith("redis") else Statements
        self._traps: list[Held] = []
        self._running: set[asyncio.Task[None]] = set()
        self.url = ""

    def hold(self, words: str) -> Held:
        """The message does not reach its server."""
        return self._trap(Held(words, answer=False))

    def hold_answer(self, words: str, *, having: str = "") -> Held:
        """The server has done what it was told, and its client is not told so; if the answer has these words in it."""
        return self._trap(Held(words, answer=True, having=having))

    def _trap(self, held: Held) -> Held:
        self._traps.append(held)
        return held

    @asynccontextmanager
    async def laid(self) -> AsyncGenerator[Self]:
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = self._target.netloc.rpartition("@")[0]
        self.url = self._target._replace(netloc=f"{place}@127.0.0.1:{port}" if place else f"127.0.0.1:{port}").geturl()
        try:
            yield self
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            far = await asyncio.open_connection(self._target.hostname, self._target.port or _PORTS[self._target.scheme])
            try:
                await self._carry((reader, writer), far)
            finally:
                far[1].close()
        except OSError:
            return  # Either end may be killed at any time.
        finally:
            writer.close()

    async def _carry(
        self, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        """Until either end is closed."""
        line = _Line(self._language(), self._traps)
        ways = [asyncio.create_task(line.there(near[0], far[1])), asyncio.create_task(line.back(far[0], near[1]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


class _Line:
    """One connection."""

    def __init__(self, language: Statements | Commands, traps: list[Held]) -> None:
        self._language, self._traps = language, traps
        self._asked: list[str] = []

    async def there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._asked = list(self._language.said(data))
            held = self._caught(answer=False)
            if held is not None and not await _released(held, reader):
                return
            writer.write(data)
            await writer.drain()

    async def back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            held = self._caught(answer=True, data=data)
            if held is not None:
                await held.released.wait()
                if held.lost:
                    return
            self._asked = []
            writer.write(data)
            await writer.drain()

    def _caught(self, *, answer: bool, data: bytes = b"") -> Held | None:
        for trap in self._traps:
            if trap.answer == answer and any(trap.words in text for text in self._asked) and trap.having.encode() in data:
                self._traps.remove(trap)
                trap.caught.set()
                return trap
        return None


async def _released(held: Held, reader: asyncio.StreamReader) -> bool:
    """Whether it is released before its sender is gone, who says nothing while it waits for the answer."""
    waiting = asyncio.create_task(held.released.wait())
    ended = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
        return waiting.done()
    finally:
        waiting.cancel()
        ended.cancel()
        await asyncio.wait([waiting, ended])
