"""A server that speaks the OpenAI API over real sockets: well, or badly in the way that it is told to."""

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

DIMENSIONS = 8
STALL: Final = b"(stalls)"
"""In place of an event: nothing more comes until the client has gone."""
DRIP: Final = b"(drips)"
"""The same, but that events without text keep coming."""
CUT: Final = b"(cut)"
"""In place of an event: the connection is closed in the middle of the answer."""
_DRIP: Final = 0.02
DONE: Final = b"data: [DONE]\n\n"
Body = dict[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Sent with its head saying its whole length; `cut` closes the connection after so many bytes of the body, `silent` before the head.

    With `events` it is a stream of them, a chunk for each, as they are.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    cut: int | None = None
    silent: bool = False
    events: tuple[bytes, ...] = ()


def vector_of(text: str) -> list[float]:
    """The same for the same text."""
    return [byte / 255 + 0.01 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


def embeddings(body: Body, *, packed: bool = False, backwards: bool = False) -> Body:
    """As OpenAI answers."""
    vectors = [vector_of(text) for text in body["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector} for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "model": body["model"], "data": data[::-1] if backwards else data, "usage": {}}


def chat(text: str | None, *, finish_reason: str = "stop") -> Body:
    message = {"role": "assistant", "content": text}
    return {"id": "chat-1", "model": "small-1", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


def chunk(content: str | None = None, *, finish_reason: str | None = None, **delta: Any) -> bytes:
    """One event of a stream, as OpenAI sends them."""
    choice = {"index": 0, "delta": delta if content is None else {"content": content, **delta}, "finish_reason": finish_reason}
    return event({"id": "chat-1", "object": "chat.completion.chunk", "model": "small-1", "choices": [choice], "usage": None})


def usage(tokens_in: int, tokens_out: int) -> bytes:
    """The last event before the end, for those who ask for it."""
    counted = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return event({"id": "chat-1", "object": "chat.completion.chunk", "model": "small-1", "choices": [], "usage": counted})


def event(data: Body) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def streamed(*texts: str, tokens: tuple[int, int] | None = (31, 7)) -> Answer:
    """A whole answer, well streamed."""
    counted = [usage(*tokens)] if tokens is not None else []
    return Answer(events=(chunk("", role="assistant"), *(chunk(text) for text in texts), chunk(finish_reason="stop"), *counted, DONE))


def answered(body: Body, **changes: Any) -> Answer:
    return Answer(body=msgspec.json.encode(body), **changes)


class Provider:
    """`answer` makes the answer to each request; `heard` are path, headers and body of what came.

    `left` counts the streams that their readers closed before the end.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Body], Answer] = lambda body: answered(embeddings(body))
        self.heard: list[tuple[str, dict[str, str], Body]] = []
        self.left = 0
        self.url = ""
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readline():
                headers: dict[str, str] = {}
                while (line := (await reader.readline()).decode().strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = msgspec.json.decode(await reader.readexactly(int(headers["content-length"])), type=Body)
                self.heard.append((request.decode().split(" ")[1], headers, body))
                answer = self.answer(body)
                if not await (self._stream(answer, reader, writer) if answer.events else self._send(answer, writer)):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.heard.append(("(connection lost)", {}, {}))
        finally:
            writer.close()

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        if answer.silent:
            await self._stopped.wait()
            return False
        headers = {"content-type": "application/json", "content-length": str(len(answer.body)), **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Told\r\n{head}\r\n".encode() + answer.body[: answer.cut])
        await writer.drain()
        return answer.cut is None

    async def _stream(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        headers = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Told\r\n{head}\r\n".encode())
        for sent in answer.events:
            await writer.drain()
            if sent in (STALL, DRIP, CUT):
                if sent != CUT and await self._goes(reader, writer, dripping=sent == DRIP):
                    self.left += 1
                return False
            writer.write(_chunked(sent))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _goes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, dripping: bool) -> bool:
        """Whether the client has closed the connection; False when the server stops before."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(self._stopped.wait())]
        try:
            while not (await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=_DRIP if dripping else None))[0]:
                writer.write(_chunked(chunk("")))
            return waits[0].done()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


@asynccontextmanager
async def provider() -> AsyncGenerator[Provider]:
    """Listening on a port of its own."""
    serving = Provider()
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield serving
    finally:
        serving.stop()
        server.close()
        await server.wait_closed()


def _chunked(sent: bytes) -> bytes:
    return f"{len(sent):x}\r\n".encode() + sent + b"\r\n"


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
