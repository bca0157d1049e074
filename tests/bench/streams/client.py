"""The clients, in a process of their own, on bare sockets: an HTTP library would be most of what is measured.

Orders come over standard input as one JSON object; what was heard goes out as another.
"""

import asyncio
import re
import sys
import time
from typing import Literal

import msgspec
import uvloop


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, and the access token of whose it is."""

    conversation: str = ""
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """`ours`: a reader and a turn for each conversation. `bare`: as many requests to the handler that keeps nothing.

    `together`: all at once, each begun so many seconds after the one before; else one after another, `rounds` of them.
    """

    kind: Literal["ours", "bare"]
    port: int
    places: list[Place] = []
    says: str
    rounds: int = 1
    together: float | None = None
    patience: float = 60.0


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `first`: from when the turn was accepted (or asked for, of `bare`) to its first piece; `asked`: from when it was sent.

    `late`: from the instant in a piece to its arrival. `pieces` counts those that came in order, each once; `lost` those in between.
    """

    first: list[float]
    asked: list[float]
    late: list[float]
    pieces: int
    lost: int


_ID = re.compile(rb"^id: \d+\.(\d+)$")
_TEXT = re.compile(rb'"text":"(\d+) "')


class Client:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.heard = Heard(first=[], asked=[], late=[], pieces=0, lost=0)
        self.pieces = self.lost = 0

    async def run(self) -> Heard:
        orders = self._orders
        if orders.together is not None:
            await asyncio.gather(*(self._one(place, n * orders.together) for n, place in enumerate(orders.places)))
        else:
            for number in range(orders.rounds):
                await self._one(orders.places[number % len(orders.places)] if orders.places else Place(), 0)
        return msgspec.structs.replace(self.heard, pieces=self.pieces, lost=self.lost)

    async def _one(self, place: Place, wait: float) -> None:
        async with asyncio.timeout(self._orders.patience):
            await (self._bare() if self._orders.kind == "bare" else self._ours(place, wait))

    async def _bare(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._orders.port)
        try:
            asked = time.monotonic_ns()
            writer.write(request("POST", "/", "", msgspec.json.encode({"text": self._orders.says})))
            await self._listen(reader, accepted=asked, asked=asked, ends=b"0")
        finally:
            writer.close()

    async def _ours(self, place: Place, wait: float) -> None:
        """The load has a schedule, which waits for nobody: this one begins after `wait` seconds."""
        home, token = f"/api/v2/conversations/{place.conversation}", place.token
        await asyncio.sleep(wait)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._orders.port)
        other, sender = await asyncio.open_connection("127.0.0.1", self._orders.port)
        try:
            writer.write(request("GET", f"{home}/events", token))
            await answered(reader, b" 200 ")
            await reader.readuntil(b"\nretry:")
            asked = time.monotonic_ns()
            sender.write(request("POST", f"{home}/turns", token, msgspec.json.encode({"text": self._orders.says})))
            listening = asyncio.create_task(self._listen(reader, accepted=None, asked=asked, ends=b"event: practice.turn_completed"))
            try:
                await answered(other, b" 202 ")
                accepted = time.monotonic_ns()
                first = await listening
            finally:
                listening.cancel()
            self.heard.first.append(max(first - accepted, 0) / 1e9)
        finally:
            writer.close()
            sender.close()

    async def _listen(self, reader: asyncio.StreamReader, *, accepted: int | None, asked: int, ends: bytes) -> int:
        """When the first piece came. Ours ends with the event, the bare one with the body."""
        first, last = 0, 0
        async for raw in reader:
            line = raw.strip()
            if line == ends:
                break
            if (found := _ID.match(line)) is not None:
                number = int(found[1])
                if last and number != last + 1:
                    self.lost += abs(number - last - 1) or 1
                last = number
            elif line.startswith(b"data: ") and (said := _TEXT.search(line)) is not None:
                now = time.monotonic_ns()
                self.pieces += 1
                self.heard.late.append((now - int(said[1])) / 1e9)
                if not first:
                    first = now
                    self.heard.asked.append((now - asked) / 1e9)
                    if accepted is not None:
                        self.heard.first.append((now - accepted) / 1e9)
        return first


async def answered(reader: asyncio.StreamReader, status: bytes) -> None:
    line = await reader.readline()
    if status not in line:
        raise AssertionError(f"refused: {line!r} {await reader.read(2000)!r}")


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """A request of HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n").encode() + body


if __name__ == "__main__":
    found = uvloop.run(Client(msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)).run())
    sys.stdout.buffer.write(msgspec.json.encode(found))
