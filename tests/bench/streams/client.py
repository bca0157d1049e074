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


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """`ours`: a reader and a turn for each conversation. `bare`: as many requests to the handler that keeps nothing.

    `together`: all at once, each begun a little after the other; else one after another. `rounds` of them.
    """

    kind: Literal["ours", "bare"]
    port: int
    token: str = ""
    conversations: list[str] = []
    says: str
    rounds: int = 1
    together: bool = False
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
        if orders.together:
            count = max(len(orders.conversations), 1)
            places = orders.conversations or [""]
            await asyncio.gather(*(self._one(place, n / count) for n, place in enumerate(places)))
        else:
            for number in range(orders.rounds):
                await self._one(orders.conversations[number % len(orders.conversations)] if orders.conversations else "", 0)
        return msgspec.structs.replace(self.heard, pieces=self.pieces, lost=self.lost)

    async def _one(self, conversation: str, wait: float) -> None:
        async with asyncio.timeout(self._orders.patience):
            await (self._bare() if self._orders.kind == "bare" else self._ours(conversation, wait))

    async def _bare(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._orders.port)
        try:
            asked = time.monotonic_ns()
            writer.write(request("POST", "/", "", msgspec.json.encode({"text": self._orders.says})))
            await self._listen(reader, accepted=asked, asked=asked, ends=b"0")
        finally:
            writer.close()

    async def _ours(self, conversation: str, wait: float) -> None:
        home, token = f"/api/v2/conversations/{conversation}", self._orders.token
        reader, writer = await asyncio.open_connection("127.0.0.1", self._orders.port)
        other, sender = await asyncio.open_connection("127.0.0.1", self._orders.port)
        try:
            writer.write(request("GET", f"{home}/events", token))
            while not (await reader.readline()).startswith(b"retry:"):
                pass
            await asyncio.sleep(wait)
            asked = time.monotonic_ns()
            sender.write(request("POST", f"{home}/turns", token, msgspec.json.encode({"text": self._orders.says})))
            listening = asyncio.create_task(self._listen(reader, accepted=None, asked=asked, ends=b"event: practice.turn_completed"))
            status = await other.readline()
            accepted = time.monotonic_ns()
            if b" 202 " not in status:
                listening.cancel()
                raise AssertionError(f"a turn was refused: {status!r} {await other.read(2000)!r}")
            first = await listening
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


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n").encode() + body


if __name__ == "__main__":
    found = uvloop.run(Client(msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)).run())
    sys.stdout.buffer.write(msgspec.json.encode(found))
