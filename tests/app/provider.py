"""A server that speaks the OpenAI API over real sockets: well, or badly in the way that it is told to."""

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

DIMENSIONS = 8
Body = dict[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Sent with its head saying its whole length; `cut` closes the connection after so many bytes of the body, `silent` before the head."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    cut: int | None = None
    silent: bool = False


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


def answered(body: Body, **changes: Any) -> Answer:
    return Answer(body=msgspec.json.encode(body), **changes)


class Provider:
    """`answer` makes the answer to each request; `heard` are path, headers and body of what came."""

    def __init__(self) -> None:
        self.answer: Callable[[Body], Answer] = lambda body: answered(embeddings(body))
        self.heard: list[tuple[str, dict[str, str], Body]] = []
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
                if not await self._send(self.answer(body), writer):
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


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
