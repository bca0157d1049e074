"""The load, over HTTP: `python -m tests.chaos.load FOLDER SECONDS RATE SEED URL…`.

Lanes ask one thing after the other and repeat what was not answered, under the same key and at another address, until it is. Every attempt
is in `attempts.jsonl` before it is made, and what came of it in `answers.jsonl`, with the status 0 where there was no answer.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, cast
from uuid import UUID

import httpx

LANES = 24
# Two lanes on each, so that requests of one key also meet.
KEYS = 12
KINDS = {"say": 80, "ask": 15, "doom": 5}
# Shorter than a pause, so that what a paused process does not answer is asked elsewhere meanwhile.
TIMEOUT = 1.5
GIVE_UP = 60.0


class Load:
    def __init__(self, attempts: TextIO, answers: TextIO, client: httpx.AsyncClient, urls: Sequence[str], chance: random.Random) -> None:
        self._attempts, self._answers, self._client, self._urls, self._chance = attempts, answers, client, urls, chance

    async def lane(self, lane: int, *, until: float, every: float) -> None:
        await asyncio.sleep(every * self._chance.random())
        number = 0
        while (began := time.time()) < until:
            kind = self._chance.choices(list(KINDS), list(KINDS.values()))[0]
            request = str(UUID(int=self._chance.getrandbits(128), version=4))
            await self._ask({"request": request, "kind": kind, "key": f"key-{lane % KEYS}"}, lane, number, give_up=until + GIVE_UP)
            number += 1
            await asyncio.sleep(max(0.0, began + every - time.time()))

    async def _ask(self, body: dict[str, str], lane: int, number: int, *, give_up: float) -> None:
        request, turn = body["request"], lane
        while time.time() < give_up:
            self._write(self._attempts, **body, lane=lane, number=number)
            try:
                answer = await self._client.post(
                    f"{self._urls[turn % len(self._urls)]}/probe", json=body, headers={"Idempotency-Key": request}
                )
                status, found = answer.status_code, cast("dict[str, Any]", answer.json())
            except httpx.TransportError as error:
                status, found = 0, {"code": type(error).__name__}
            self._write(self._answers, request=request, status=status, row=found.get("row"), code=found.get("code"))
            if status == 201 or found.get("code") == "probe.doomed":
                return
            turn += 1
            await asyncio.sleep(0.05 + 0.2 * self._chance.random())

    def _write(self, file: TextIO, **record: Any) -> None:
        file.write(json.dumps({"at": time.time(), **record}) + "\n")


async def run(folder: Path, seconds: float, rate: float, seed: int, urls: Sequence[str]) -> None:
    limits = httpx.Limits(max_connections=2 * LANES, max_keepalive_connections=2 * LANES)
    with (
        (folder / "attempts.jsonl").open("a", buffering=1) as attempts,
        (folder / "answers.jsonl").open("a", buffering=1) as answers,
    ):
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
            load = Load(attempts, answers, client, urls, random.Random(seed))  # noqa: S311 - to be repeated, not to be secret
            until = time.time() + seconds
            await asyncio.gather(*(load.lane(lane, until=until, every=LANES / rate) for lane in range(LANES)))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
