"""The other processes: a worker whose model stamps its words, a provider that does, and a handler that is bare."""

import os
import sys
from collections.abc import AsyncGenerator

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.response import Stream

from app import logs, processes
from app.bootstrap import Ports
from app.settings import load
from tests.bench.streams.model import Stamped, pieces


class Said(msgspec.Struct, frozen=True):
    text: str


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class Asked(msgspec.Struct, frozen=True):
    messages: list[Message]
    model: str


def worker() -> None:
    settings = load(os.environ)
    logs.configure(settings, process="worker")
    uvloop.run(processes.worker(settings, crontab={}, ports=Ports(language_model=Stamped())))


@post("/", status_code=200)
async def bare(data: JSONBody[Said]) -> Stream:
    """The same events, kept nowhere."""

    async def body() -> AsyncGenerator[bytes, None]:
        async for text in pieces(data.text):
            yield b"event: practice.delta\ndata: %s\n\n" % msgspec.json.encode({"data": {"text": text}})

    return Stream(body(), media_type="text/event-stream")


@post("/v1/chat/completions", status_code=200)
async def provider(data: JSONBody[Asked]) -> Stream:
    """As OpenAI streams."""

    async def body() -> AsyncGenerator[bytes, None]:
        async for text in pieces(data.messages[-1].content):
            yield _chunk({"index": 0, "delta": {"content": text}, "finish_reason": None})
        yield _chunk({"index": 0, "delta": {}, "finish_reason": "stop"})
        yield b"data: [DONE]\n\n"

    return Stream(body(), media_type="text/event-stream")


def _chunk(choice: dict[str, object]) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "stamped", "choices": [choice]}
    return b"data: %s\n\n" % msgspec.json.encode(chunk)


def serve(port: int) -> None:
    """Both handlers, as bare as they are: the server is the one that ours runs on."""
    app = Litestar([bare, provider], openapi_config=None, logging_config=None)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, http="httptools", loop="none")  # pyright: ignore[reportArgumentType] - Litestar's and uvicorn's words for the same ASGI types
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker()
    else:
        serve(int(sys.argv[2]))
