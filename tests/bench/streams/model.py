"""Models whose every piece is the instant at which it was said, on the clock that all processes of a machine share.

What the learner says is how: `instant` (nothing waits), or `paced <pieces> <seconds between two>`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from app.ports.scripted_model import ScriptedModel
from domain.practice.prompt import Scene
from handlers.ports import Ended, Piece

INSTANT = "instant"
PIECES = 20


def stamp() -> str:
    """Nanoseconds, and a space, as words have one."""
    return f"{time.monotonic_ns()} "


async def pieces(said: str) -> AsyncIterator[str]:
    if said == INSTANT:
        for _ in range(PIECES):
            yield stamp()
        return
    _, count, pause = said.split()
    begins = time.monotonic()
    for number in range(int(count)):
        await asyncio.sleep(begins + number * float(pause) - time.monotonic())
        yield stamp()


class Stamped(ScriptedModel):
    """The scripted model, each of its words replaced."""

    async def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        async for text in pieces(scene.exchanges[-1].said):
            yield Piece(text)
        yield Ended(model=model, tokens_in=100, tokens_out=100, counted=True)
