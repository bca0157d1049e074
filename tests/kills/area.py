"""An area that only these tests have. Its effects are rows without unique constraints, so that a second one would be seen."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from bus.message import Command, Envelope, Event, Unavailable, Wire
from bus.registry import Rule, handles, prepares, reacts
from bus.work import Dead
from db.session import Work
from handlers.policy import Anyone, Internal
from handlers.ports import Clock

TABLES = """
CREATE TABLE IF NOT EXISTS kills_notes (n bigserial PRIMARY KEY, topic text NOT NULL, text text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS kills_seen (n bigserial PRIMARY KEY, reaction text NOT NULL, topic text NOT NULL, text text NOT NULL);
CREATE TABLE IF NOT EXISTS kills_faults (text text NOT NULL, deadly boolean NOT NULL DEFAULT false);
TRUNCATE kills_notes, kills_seen, kills_faults
"""
CRONTAB_SECONDS = 2
CLOSED_FOR = 1.0


class Reported(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="kills.reported", key="topic")
    topic: str
    text: str
    desk: int


class Report(Command[int], frozen=True, kw_only=True):
    """Keeps a note and answers how many its topic has. `desk` is a port of this machine where somebody is to be asked first, or 0."""

    topic: str
    text: str
    desk: int = 0
    call: int = 0


class Plan(Command[None], frozen=True, kw_only=True):
    """Sends a `Report`."""

    report: Report
    at: datetime | None = None
    key: str | None = None


class Cancel(Command[None], frozen=True, kw_only=True):
    key: str


class Tick(Command[None], frozen=True, kw_only=True):
    """What the crontab of these tests does."""


POLICY: Mapping[type[Command[Any]], Rule] = {
    Report: Anyone(internal=True),
    Plan: Anyone(),
    Cancel: Anyone(),
    Tick: Internal(),
}
CRONTAB = {f"* * * * * */{CRONTAB_SECONDS}": Tick()}


class Asked(msgspec.Struct, frozen=True):
    """The desk has answered."""


async def ask(desk: int, text: str) -> None:
    """Something outside of the house, which may hang, or not be there."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk)
    except OSError as problem:
        raise Unavailable("the desk is closed", retry_after=CLOSED_FOR) from problem
    try:
        writer.write(f"{text}\n".encode())
        if await reader.readline() != b"yes\n":
            raise Unavailable("the desk was closed", retry_after=CLOSED_FOR)
    finally:
        writer.close()


@prepares(Report)
async def ask_first(cmd: Report) -> Asked:
    if cmd.desk:
        await ask(cmd.desk, cmd.text)
    return Asked()


@handles(Report)
async def report(cmd: Report, work: Work, asked: Asked, clock: Clock) -> int:  # noqa: ARG001 - that it was asked is enough
    await work.driver.execute("INSERT INTO kills_notes (topic, text, at) VALUES ($1, $2, $3)", cmd.topic, cmd.text, clock())
    work.record(Reported(topic=cmd.topic, text=cmd.text, desk=cmd.call))
    return await work.driver.fetchval("SELECT count(*) FROM kills_notes WHERE topic = $1", cmd.topic)


@handles(Plan)
async def plan(cmd: Plan, work: Work) -> None:
    work.send(cmd.report, at=cmd.at, key=cmd.key)


@handles(Cancel)
async def cancel(cmd: Cancel, work: Work) -> None:
    work.cancel(cmd.key)


@handles(Tick)
async def tick(cmd: Tick, work: Work, clock: Clock) -> None:  # noqa: ARG001 - it carries nothing
    await work.driver.execute("INSERT INTO kills_notes (topic, text, at) VALUES ('tick', '', $1)", clock())


@reacts("kills.keep")
async def keep(event: Reported, work: Work) -> None:
    await work.driver.execute("INSERT INTO kills_seen (reaction, topic, text) VALUES ('keep', $1, $2)", event.topic, event.text)


@reacts("kills.follow", ordered=True)
async def follow(event: Reported, work: Work) -> None:
    """Fails for as long as its text is among the faults, for good if that is a deadly one."""
    await work.driver.execute("INSERT INTO kills_seen (reaction, topic, text) VALUES ('follow', $1, $2)", event.topic, event.text)
    deadly = await work.driver.fetchval("SELECT deadly FROM kills_faults WHERE text = $1", event.text)
    if deadly is not None:
        raise (Dead if deadly else RuntimeError)(f"{event.text} is a fault")


@reacts("kills.call")
async def call(event: Reported, envelope: Envelope) -> None:
    """An outside call: the id of the event is its idempotency key."""
    if event.desk:
        await ask(event.desk, str(envelope.id))
