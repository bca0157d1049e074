"""Learners and those who read along, over HTTP: `python -m tests.chaos.stream.clients FOLDER SEED TURNS LANES URL…`.

In each lane one learner talks, in one conversation after the other, and says the next thing once everybody has been answered. They go on
until so many turns were hit while they were answered. Every conversation has readers, who come back with the id that they had last
whenever they are cut off; one of them goes by itself at times, and one comes late. At the end all of them read up to the end.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.chaos.stream.records import Asked, Blow, End, Heard, read, write

Headers = dict[str, str]
SIGN_UP, CONVERSATIONS = "/api/v2/auth/signup", "/api/v2/conversations"
SCENARIO = "real_estate_negotiations"
# So many turns that no scene ends.
TURNS_OF_A_CONVERSATION = 6
TIMEOUT = 5.0
GIVE_UP = 60.0
SILENT = 40.0
# Of the readers of each conversation.
KINDS = ("sse", "ws", "ws", "sse")
CATCH_UP = 30.0
SPREAD = 0.6


class Refused(Exception):
    """A reader was not let in; who is let in once is always let in again, unless the server is not there."""


class Talk:
    """A conversation, and who has heard what of it."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.completed: set[str] = set()
        self.news = asyncio.Event()
        self.readers: list[Reader] = []
        self.resting = False
        self.last: int | None = None

    async def answered(self, turn: str) -> bool:
        try:
            async with asyncio.timeout(GIVE_UP):
                while turn not in self.completed:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return False
        return True

    def rest(self) -> None:
        """Nobody reads along any more until the end."""
        self.resting = True
        self.cut()

    def cut(self) -> None:
        for reader in self.readers:
            reader.cut()


class Reader:
    def __init__(self, kind: str, talk: Talk, person: Headers, urls: Sequence[str], seen: TextIO, chance: random.Random) -> None:
        self.name = f"{kind}-{len(talk.readers)}"
        self._open = self._messages if kind == "ws" else self._events
        self._talk, self._person, self._urls, self._seen, self._chance = talk, person, urls, seen, chance
        self._id = "0"
        self._connection = chance.randrange(len(urls))
        self._leaves = self.name.endswith("1")
        self._late = self.name.endswith("2")
        self._transport: asyncio.BaseTransport | None = None

    @property
    def had(self) -> int:
        return int(self._id.rpartition(".")[2])

    @property
    def through(self) -> bool:
        """Whether the end of the log is known, and reached."""
        return self._talk.last is not None and self.had >= self._talk.last

    async def run(self) -> None:
        if self._late:
            await asyncio.sleep(self._chance.uniform(0, 3))
        while not self.through:
            if self._talk.resting and self._talk.last is None:
                await asyncio.sleep(0.2)
                continue
            self._connection += 1
            stay = self._chance.randrange(5, 60) if self._leaves else None
            try:
                async with aclosing(self._open(self._urls[self._connection % len(self._urls)])) as events:
                    async for event in events:
                        self._hear(event)
                        stay = None if stay is None else stay - 1
                        if stay == 0 or self.through:
                            break
            except (OSError, EOFError, WebSocketException, Refused):
                pass
            await asyncio.sleep(self._chance.uniform(0.3, 1.5) if stay == 0 else self._chance.uniform(0.05, 0.25))

    def cut(self) -> None:
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()

    def _hear(self, event: dict[str, Any]) -> None:
        data: dict[str, Any] = event.get("data") or {}
        identity = event.get("id")
        heard = Heard(
            at=time.time(),
            reader=self.name,
            conversation=self._talk.identity,
            connection=self._connection,
            id=identity,
            type=event["type"],
            turn=data.get("turn"),
            attempt=data.get("attempt"),
            text=data.get("text"),
        )
        write(self._seen, heard)
        self._id = identity or self._id
        if heard.type == "practice.turn_completed" and heard.turn is not None:
            self._talk.completed.add(heard.turn)
            self._talk.news.set()

    async def _events(self, url: str) -> AsyncGenerator[dict[str, Any]]:
        """Server-sent events; what comes without an id is not about the conversation, and is said by its name alone."""
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        self._transport = writer.transport
        try:
            headers = {"Host": place.netloc, **self._person, "Last-Event-ID": self._id}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"GET {CONVERSATIONS}/{self._talk.identity}/events HTTP/1.1\r\n{lines}\r\n".encode())
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ")[1] != b"200":
                raise Refused
            buffered = b""
            while True:
                async with asyncio.timeout(SILENT):
                    length = int(await reader.readuntil(b"\r\n"), 16)
                    buffered += (await reader.readexactly(length + 2))[:-2]
                if not length:
                    return
                *blocks, buffered = buffered.split(b"\n\n")
                for block in blocks:
                    fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
                    if b"id" in fields:
                        yield msgspec.json.decode(fields[b"data"], type=dict[str, Any])
                    elif b"event" in fields:
                        yield {"type": fields[b"event"].decode()}
        finally:
            writer.close()

    async def _messages(self, url: str) -> AsyncGenerator[dict[str, Any]]:
        """What comes without an id is not about the conversation, as above."""
        address = f"ws://{urlsplit(url).netloc}/api/v2/ws/conversations/{self._talk.identity}?last_event_id={self._id}"
        async with connect(address, additional_headers=self._person, open_timeout=TIMEOUT, close_timeout=1, proxy=None) as socket:
            self._transport = socket.transport
            async for message in socket:
                event = msgspec.json.decode(message, type=dict[str, Any])
                if event["type"].startswith(("practice.", "stream.")):
                    yield event


class Lane:
    """One learner, who talks in one conversation after the other."""

    def __init__(self, clients: "Clients", client: httpx.AsyncClient, person: Headers) -> None:
        self._clients, self._client, self._person = clients, client, person
        self._chance = clients.chance
        self._talk: Talk | None = None
        self._said = 0

    async def say(self, name: str) -> bool:
        """Whether it was answered."""
        await asyncio.sleep(self._chance.uniform(0, SPREAD))
        if self._talk is None or self._said == TURNS_OF_A_CONVERSATION:
            if self._talk is not None:
                self._talk.rest()
            begun = await self._post(CONVERSATIONS, {"scenario": SCENARIO, "settings": {"feedback": "after_turn"}})
            self._talk, self._said = self._clients.follow(Talk(begun["conversation"]), self._person), 0
        talk = self._talk
        accepted = await self._post(f"{CONVERSATIONS}/{talk.identity}/turns", {"text": f"{name}: could we talk about the price first?"})
        self._clients.asked(Asked(at=time.time(), name=name, turn=accepted["turn_id"], conversation=talk.identity))
        self._said += 1
        return await talk.answered(accepted["turn_id"])

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Repeated under the same key, here and there, until it is accepted."""
        headers = {**self._person, "Idempotency-Key": str(UUID(int=self._chance.getrandbits(128), version=4))}
        give_up = time.monotonic() + GIVE_UP
        while True:
            try:
                answer = await self._client.post(f"{self._chance.choice(self._clients.urls)}{path}", json=body, headers=headers)
                status, said = answer.status_code, answer.text
            except httpx.TransportError as error:
                status, said = 0, repr(error)
            if status in (201, 202):
                return msgspec.json.decode(said, type=dict[str, Any])["data"]
            if status not in (0, 409, 503) or time.monotonic() > give_up:
                raise AssertionError(f"{path} was answered with {status}: {said}")
            await asyncio.sleep(0.05 + 0.2 * self._chance.random())


class Clients:
    def __init__(self, folder: Path, seed: int, urls: Sequence[str], asked: TextIO, seen: TextIO) -> None:
        self.urls = urls
        self.chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._folder, self._asked, self._seen = folder, asked, seen
        self._talks: list[Talk] = []
        self._reading: list[asyncio.Task[None]] = []

    async def run(self, turns: int, lanes: int) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, base_url=self.urls[0]) as client:
            talking = [Lane(self, client, await _signed_up(client, lane)) for lane in range(lanes)]
            names = (f"t{number}" for number in count(1))
            while (left := turns - self._hit()) > 0:
                if not all(await asyncio.gather(*(lane.say(next(names)) for lane in talking[:left]))):
                    break
        (self._folder / "said").touch()
        await self._read_up()

    def follow(self, talk: Talk, person: Headers) -> Talk:
        for kind in KINDS:
            reader = Reader(kind, talk, person, self.urls, self._seen, self.chance)
            talk.readers.append(reader)
            self._reading.append(asyncio.create_task(reader.run()))
        self._talks.append(talk)
        return talk

    def asked(self, asked: Asked) -> None:
        write(self._asked, asked)

    def _hit(self) -> int:
        blows = read(self._folder / "blows.jsonl", Blow)
        return len({name for blow in blows if blow.counts for name in blow.hit})

    async def _read_up(self) -> None:
        """Once the end is known. Who does not get there in time is told by what they have not heard."""
        while not (self._folder / "end.json").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.1)
        last = msgspec.json.decode((self._folder / "end.json").read_bytes(), type=End).last
        for talk in self._talks:
            talk.last = last[talk.identity]
            talk.cut()
        done, late = await asyncio.wait(self._reading, timeout=CATCH_UP)
        for task in late:
            task.cancel()
        for task in done:
            task.result()


async def _signed_up(client: httpx.AsyncClient, number: int) -> Headers:
    """What somebody new proves with that it is them."""
    body = {"email": f"ada.{number}@example.com", "password": "a heron over the grey canal", "full_name": "Ada Lovelace"}
    answer = await client.post(SIGN_UP, json={**body, "date_of_birth": "1990-12-10", "accept_terms": True})
    if answer.status_code != 201:
        raise AssertionError(f"Nobody is signed up: {answer.text}")
    return {"Authorization": f"Bearer {answer.json()['data']['tokens']['access_token']}"}


async def run(folder: Path, seed: int, turns: int, lanes: int, urls: Sequence[str]) -> None:
    with (folder / "asked.jsonl").open("a", buffering=1) as asked, (folder / "heard.jsonl").open("a", buffering=1) as heard:
        await Clients(folder, seed, urls, asked, heard).run(turns, lanes)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
