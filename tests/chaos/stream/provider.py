"""A provider of language models that takes its time, and that nobody kills: `python -m tests.chaos.stream.provider FOLDER PORT SEED`.

Whatever it is asked, it streams an answer of pieces that no other call has, and writes down every call. It says that the prompt had as
many tokens as the call's number.
"""

import asyncio
import random
import re
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import msgspec

from tests.app.provider import DONE, chunk, usage
from tests.chaos.stream.records import PIECES, Call, pieces, write

PACE = (0.02, 0.05)
NAME = re.compile(r"\bt\d+\b")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"


class Slow:
    def __init__(self, calls: TextIO, chance: random.Random) -> None:
        self._calls, self._chance = calls, chance
        self._numbers = count(1)
        self._nth: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            body: dict[str, Any] = msgspec.json.decode(await reader.readexactly(int(headers["content-length"])))
            [*_, name] = NAME.findall(body["messages"][-1]["content"])
            caller = headers["authorization"].removeprefix("bearer ")
            if body.get("stream"):
                await self._answer(name, caller, reader, writer)
            else:
                await self._coach(name, caller, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _called(self, name: str, caller: str) -> Call:
        self._nth[name] += 1
        call = Call(at=time.time(), number=next(self._numbers), name=name, nth=self._nth[name], caller=caller)
        write(self._calls, call)
        return call

    async def _coach(self, name: str, caller: str, writer: asyncio.StreamWriter) -> None:
        """Finds nothing, and at once: nobody is to be killed for that alone."""
        call = self._called(name, caller)
        message = {"role": "assistant", "content": '{"spans": []}'}
        said = {
            "model": "slow",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": call.number, "completion_tokens": 1},
        }
        body = msgspec.json.encode(said)
        write(self._calls, msgspec.structs.replace(call, ended=True, whole=True))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()

    async def _answer(self, name: str, caller: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = self._called(name, caller)
        sent = 0
        gone = asyncio.ensure_future(reader.read(1))
        try:
            writer.write(HEAD + _framed(chunk("", role="assistant")))
            for text in pieces(name, call.nth):
                done, _ = await asyncio.wait([gone], timeout=self._chance.uniform(*PACE))
                if done:
                    return
                writer.write(_framed(chunk(text)))
                await writer.drain()
                sent += 1
            writer.write(_framed(chunk(finish_reason="stop") + usage(call.number, PIECES) + DONE) + b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            return
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            write(self._calls, msgspec.structs.replace(call, at=time.time(), ended=True, sent=sent, whole=sent == PIECES))


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def run(folder: Path, port: int, seed: int) -> None:
    with (folder / "calls.jsonl").open("a", buffering=1) as calls:
        slow = Slow(calls, random.Random(seed))  # noqa: S311 - to be repeated, not to be secret
        server = await asyncio.start_server(slow.serve, "127.0.0.1", port, backlog=1000)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
