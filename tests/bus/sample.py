"""An area that only tests have: messages, handlers and reactions that write to tables of their own and do what a script says."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from bus.message import Command, Envelope, Event, FieldError, Refusal, Secret, Wire
from bus.registry import Rule, drives, handles, inline, prepares, reacts
from bus.work import Steps
from db.session import Work
from domain.types import AccountId
from handlers.policy import Anyone, Internal
from handlers.ports import Mail, Mailer

TABLES = """
CREATE TABLE IF NOT EXISTS sample_notes (n bigserial PRIMARY KEY, topic text NOT NULL, text text NOT NULL);
CREATE TABLE IF NOT EXISTS sample_seen (n bigserial PRIMARY KEY, reaction text NOT NULL, topic text NOT NULL, text text NOT NULL);
CREATE TABLE IF NOT EXISTS sample_unique (text text UNIQUE DEFERRABLE INITIALLY DEFERRED);
TRUNCATE sample_notes, sample_seen, sample_unique
"""


class Script:
    """What the functions of this area do at their one step: tell that they run, wait at a gate, fail."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self.failures: dict[str, list[Exception]] = {}
        self.gates: dict[str, Callable[[], Awaitable[None]]] = {}

    def ran(self, name: str) -> list[str]:
        return [value for run, value in self.runs if run == name]

    async def step(self, name: str, value: str) -> None:
        self.runs.append((name, value))
        if gate := self.gates.get(name):
            await gate()
        if failures := self.failures.get(name):
            raise failures.pop(0)


script = Script()


class Noted(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="sample.noted", key="topic")
    topic: str
    text: str


class Echoed(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="sample.echoed", key="topic")
    topic: str
    text: str


class Filed(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="archive.filed")
    text: str


class Count(Command[int], frozen=True, kw_only=True):
    """Keeps a note and answers how many there are."""

    text: str
    topic: str = "general"


class Renames(Command[int], frozen=True, kw_only=True):
    """Changes an aggregate and answers with its version."""

    account: AccountId
    name: str


class Forbid(Command[None], frozen=True, kw_only=True):
    text: str


class Batch(Command[None], frozen=True, kw_only=True):
    """Records events of two areas."""

    texts: list[str]


class Follow(Command[None], frozen=True, kw_only=True):
    """Sends a command for later: `Count`, or `Forbid`."""

    text: str
    at: datetime | None = None
    key: str | None = None
    forbidden: bool = False


class Cancel(Command[None], frozen=True, kw_only=True):
    key: str


class Overreach(Command[None], frozen=True, kw_only=True):
    """Sends what the system may not run."""


class Whisper(Command[None], frozen=True, kw_only=True):
    secret: Secret


class Listen(Command[None], frozen=True, kw_only=True):
    secret: Secret


class Twice(Command[None], frozen=True, kw_only=True):
    """Breaks, at its commit, a constraint that is checked no earlier."""

    text: str


class Travel(Command[None], frozen=True, kw_only=True):
    stops: list[str]


class Depart(Command[None], frozen=True, kw_only=True):
    stops: list[str]


class Hidden(Command[None], frozen=True, kw_only=True):
    """For nobody but the system."""


POLICY: Mapping[type[Command[Any]], Rule] = {
    Count: Anyone(internal=True),
    Renames: Anyone(),
    Forbid: Anyone(internal=True),
    Batch: Anyone(),
    Follow: Anyone(),
    Cancel: Anyone(),
    Overreach: Anyone(),
    Whisper: Anyone(),
    Listen: Internal(),
    Twice: Anyone(),
    Travel: Internal(),
    Depart: Anyone(),
    Hidden: Internal(),
}


class Forbidden(Refusal):
    kind = "denied"
    code = "sample.forbidden"
    title = "This is forbidden."


class Counted(msgspec.Struct, frozen=True):
    text: str


@prepares(Count)
async def prepare_count(cmd: Count) -> Counted:
    await script.step("prepare", cmd.text)
    return Counted(cmd.text)


@handles(Count)
async def count(cmd: Count, work: Work, counted: Counted) -> int:
    await work.driver.execute("INSERT INTO sample_notes (topic, text) VALUES ($1, $2)", cmd.topic, counted.text)
    work.record(Noted(topic=cmd.topic, text=counted.text))
    await script.step("count", cmd.text)
    return await work.driver.fetchval("SELECT count(*) FROM sample_notes")


@handles(Renames)
async def renames(cmd: Renames, work: Work) -> int:
    account = await work.accounts.get(cmd.account)
    await script.step("renames", cmd.name)
    account.full_name = cmd.name
    await work.flush()
    return account.version


@handles(Forbid)
async def forbid(cmd: Forbid, work: Work) -> None:
    await script.step("forbid", cmd.text)
    work.record(Noted(topic="forbidden", text=cmd.text))
    work.refuse(Forbidden(f"{cmd.text} is forbidden.", errors=(FieldError("/text", "forbidden", "Say something else."),), retry_after=7))


@handles(Batch)
async def batch(cmd: Batch, work: Work) -> None:
    for text in cmd.texts:
        work.record(Noted(topic="batch", text=text), Filed(text=text))


@handles(Follow)
async def follow(cmd: Follow, work: Work) -> None:
    work.send(Forbid(text=cmd.text) if cmd.forbidden else Count(text=cmd.text), at=cmd.at, key=cmd.key)


@handles(Cancel)
async def cancel(cmd: Cancel, work: Work) -> None:
    work.cancel(cmd.key)


@handles(Overreach)
async def overreach(cmd: Overreach, work: Work) -> None:  # noqa: ARG001 - it carries nothing
    work.record(Filed(text="overreach"))
    work.send(Cancel(key="anything"))


@handles(Whisper)
async def whisper(cmd: Whisper, work: Work) -> None:
    work.send(Listen(secret=cmd.secret))


@handles(Listen)
async def listen(cmd: Listen, work: Work) -> None:
    await script.step("listen", cmd.secret.reveal())
    work.record(Filed(text="heard"))


@handles(Twice)
async def twice(cmd: Twice, work: Work) -> None:
    work.record(Filed(text=cmd.text))
    await work.driver.execute("INSERT INTO sample_unique VALUES ($1), ($1)", cmd.text)


@handles(Depart)
async def depart(cmd: Depart, work: Work) -> None:
    work.send(Travel(stops=cmd.stops))


@drives(Travel)
async def travel(cmd: Travel, steps: Steps) -> None:
    for stop in cmd.stops:
        await script.step("travel", stop)
        await steps.execute(Count(text=stop, topic="travel"))


@handles(Hidden)
async def hidden(cmd: Hidden, work: Work) -> None:  # noqa: ARG001 - it carries nothing
    work.record(Filed(text="hidden"))


@inline
async def project(event: Noted | Echoed, work: Work) -> None:
    """A text that ends in `!` is heard again, once."""
    if isinstance(event, Noted) and event.text.endswith("!"):
        work.record(Echoed(topic=event.topic, text=event.text))
    await work.driver.execute("INSERT INTO sample_seen (reaction, topic, text) VALUES ('inline', $1, $2)", event.topic, event.text)
    await script.step("project", event.text)


@reacts("sample.keep")
async def keep(event: Noted, work: Work) -> None:
    await work.driver.execute("INSERT INTO sample_seen (reaction, topic, text) VALUES ('keep', $1, $2)", event.topic, event.text)
    await script.step("keep", event.text)


@reacts("sample.follow", ordered=True)
async def keep_in_order(event: Noted, work: Work) -> None:
    await work.driver.execute("INSERT INTO sample_seen (reaction, topic, text) VALUES ('follow', $1, $2)", event.topic, event.text)
    await script.step("follow", event.text)


@reacts("archive.mail")
async def mail(event: Filed, mailer: Mailer, envelope: Envelope) -> None:
    await script.step("mail", event.text)
    await mailer.send(Mail(message_id=str(envelope.id), to="a@example.com", to_name="A", subject="Filed", text=event.text))


def text_in(data: bytes) -> str:
    return msgspec.json.decode(data)["text"]
