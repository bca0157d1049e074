"""Compares what was asked and answered with what is stored, streamed and effected: plain SQL and redis-py, and nothing of ours.

Times are seconds since 1970 by the clock of this machine. What is expected of a request: its event, its own effect and, of an `ask`, those
of the command that followed; of an event: a position, one effect of each reaction, and an entry that the consumer has seen.
"""

import asyncio
import json
import math
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

import asyncpg
from redis import Redis
from redis.exceptions import RedisError

STREAM = "events.probe"
REACTIONS = ("kept", "followed")
ORDERED = "followed"
OF_REQUESTS = {"say": ("asked",), "ask": ("asked", "finished"), "doom": ()}
OWING = """
SELECT format('outbox, %s: %s, %s tries at most, due since %s', kind, count(*), max(tries), min(due)) AS what FROM outbox GROUP BY kind
UNION ALL
SELECT format('%s, %s: %s, %s tries at most, due since %s: %s', reaction, state, count(*), max(tries), min(due), min(error))
FROM deliveries GROUP BY reaction, state
"""
EVENT_OF = {"asked": "probe.said", "finished": "probe.finished"}


@dataclass(frozen=True)
class Attempt:
    at: float
    request: str
    kind: str
    key: str
    lane: int
    number: int


@dataclass(frozen=True)
class Answer:
    """`row` is what an acknowledgement says: the number of the effect."""

    at: float
    request: str
    status: int
    row: int | None


@dataclass(frozen=True)
class Stored:
    """An event; without a position when it is not in the feed."""

    event: str
    type: str
    key: str
    request: str
    position: int | None


@dataclass(frozen=True)
class Entry:
    """Of the stream: as the consumer saw it, or as it is there at the end."""

    position: int
    event: str
    type: str
    key: str
    request: str


@dataclass(frozen=True)
class Effect:
    """A row. The effect of a command knows no event."""

    n: int
    what: str
    request: str
    key: str
    at: float
    event: str | None = None
    position: int | None = None


@dataclass
class Evidence:
    attempts: list[Attempt]
    answers: list[Answer]
    events: list[Stored]
    effects: list[Effect]
    seen: list[Entry]
    streamed: list[Entry]
    owing: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """Findings, each in words."""

    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)


def acknowledged(evidence: Evidence) -> dict[str, int | None]:
    """Request -> row."""
    return {answer.request: answer.row for answer in evidence.answers if answer.status == 201}


def judge(evidence: Evidence) -> Verdict:
    return Verdict(list(_lost(evidence)), list(_phantom(evidence)), list(_duplicated(evidence)), list(_out_of_order(evidence)))


def _lost(evidence: Evidence) -> Iterable[str]:
    kinds = {attempt.request: attempt.kind for attempt in evidence.attempts}
    effects = {(effect.what, effect.request) for effect in evidence.effects}
    events = {(event.type, event.request) for event in evidence.events}
    # What was committed must be so with everything that belongs to it, acknowledged or not.
    happened = acknowledged(evidence).keys() | {request for _, request in effects} | {request for _, request in events}
    for request in happened & kinds.keys():
        for what in OF_REQUESTS[kinds[request]]:
            if (what, request) not in effects:
                yield f"{request} has happened, and its effect `{what}` is not there"
            if (EVENT_OF[what], request) not in events:
                yield f"{request} has happened, and its event {EVENT_OF[what]} is not there"
    reacted = {(effect.what, effect.event) for effect in evidence.effects}
    seen = {entry.event for entry in evidence.seen}
    for event in evidence.events:
        if event.position is None:
            yield f"the event {event.event} has no position"
        for what in REACTIONS:
            if (what, event.event) not in reacted:
                yield f"the event {event.event} at {event.position} has no effect `{what}`"
        if event.event not in seen:
            yield f"the event {event.event} at {event.position} was not seen by the consumer"


def _phantom(evidence: Evidence) -> Iterable[str]:
    yield from _of_no_request(evidence)
    stored = {event.event: event for event in evidence.events}
    for effect in evidence.effects:
        event = stored.get(effect.event or "")
        told = (effect.request, effect.key, effect.position)
        if effect.what in REACTIONS and (event is None or told != (event.request, event.key, event.position)):
            yield f"the effect {effect.n} `{effect.what}` is of no stored event: {effect.event}"
    for where, entries in (("seen", evidence.seen), ("streamed", evidence.streamed)):
        for entry in entries:
            if stored.get(entry.event) != Stored(entry.event, entry.type, entry.key, entry.request, entry.position):
                yield f"the entry {where} at {entry.position} is not the stored event {entry.event}"
    rows = {(effect.n, effect.request) for effect in evidence.effects if effect.what == "asked"}
    for request, row in acknowledged(evidence).items():
        if (row, request) not in rows:
            yield f"{request} was answered with the row {row}, which is not its own"


def _of_no_request(evidence: Evidence) -> Iterable[str]:
    """What nobody asked for, or what was to be rolled back."""
    may = {(what, attempt.request, attempt.key) for attempt in evidence.attempts for what in OF_REQUESTS[attempt.kind]}
    facts = {(EVENT_OF[what], request, key) for what, request, key in may}
    for event in evidence.events:
        if (event.type, event.request, event.key) not in facts:
            yield f"the event {event.event} ({event.type}) is of no request that may have it: {event.request}"
    for effect in evidence.effects:
        if effect.what not in REACTIONS and (effect.what, effect.request, effect.key) not in may:
            yield f"the effect {effect.n} `{effect.what}` is of no request that may have it: {effect.request}"


def _duplicated(evidence: Evidence) -> Iterable[str]:
    counted: dict[str, Iterable[tuple[str, str | None]]] = {
        "effects of": ((effect.what, effect.event or effect.request) for effect in evidence.effects),
        "events of": ((event.type, event.request) for event in evidence.events),
        "positions of": (("the event", event.event) for event in evidence.events),
    }
    for words, things in counted.items():
        for (what, of), count in Counter(things).items():
            if count > 1:
                yield f"{count} {words} `{what}` {of}"
    answered: dict[str, set[int | None]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.status == 201:
            answered[answer.request].add(answer.row)
    for request, rows in answered.items():
        if len(rows) > 1:
            yield f"{request} was answered differently: {rows}"


def _out_of_order(evidence: Evidence) -> Iterable[str]:
    """Of a key: the ordered reaction and the consumer follow the positions. Of a lane: the positions follow the requests."""
    followed = [(effect.key, effect.position) for effect in sorted(evidence.effects, key=lambda effect: effect.n) if effect.what == ORDERED]
    yield from _falling("effects of the ordered reaction", followed)
    yield from _falling("entries of the consumer", [(entry.key, entry.position) for entry in evidence.seen])
    positions = {event.request: event.position for event in evidence.events if event.type == EVENT_OF["asked"]}
    asked = {(attempt.lane, attempt.number): attempt.request for attempt in evidence.attempts}
    done = acknowledged(evidence)
    lanes = [(f"lane {lane}", positions.get(request)) for (lane, _), request in sorted(asked.items()) if request in done]
    yield from _falling("positions of requests", lanes)


def _falling(what: str, found: Iterable[tuple[str, int | None]]) -> Iterable[str]:
    lines: dict[str, list[int]] = defaultdict(list)
    for key, position in found:
        if position is not None:
            lines[key].append(position)
    for key, line in lines.items():
        for before, after in pairwise(line):
            if after < before:
                yield f"{what} of {key}: {after} after {before}"


def recoveries(evidence: Evidence, disturbances: Iterable[float]) -> list[float]:
    """Seconds from each disturbance to the first effect of a reaction to what was asked for the first time after it."""
    asked: dict[str, float] = {}
    for attempt in evidence.attempts:
        asked.setdefault(attempt.request, attempt.at)
    effects = sorted(
        (asked[effect.request], effect.at) for effect in evidence.effects if effect.what in REACTIONS and effect.request in asked
    )
    # The earliest effect of all that was asked at this time or later.
    ends = list(accumulate((at for _, at in reversed(effects)), min))[::-1]
    after = [(bisect_right(effects, (at, math.inf)), at) for at in disturbances]
    return [ends[index] - at for index, at in after if index < len(ends)]


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file so far; a line that is being written does not count yet."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def _own(kind: type[Any], record: Mapping[str, Any]) -> Any:
    return kind(**{name: record[name] for name in kind.__dataclass_fields__})


async def collect(folder: Path, database_url: str, redis_url: str) -> Evidence:
    connection = await cast("Any", asyncpg).connect(database_url)
    try:
        effects = await connection.fetch("SELECT *, extract(epoch FROM at)::float8 AS seconds FROM probe_effects ORDER BY n")
        events = await connection.fetch(
            "SELECT e.id, e.name, e.key, e.data->>'request' AS request, f.position FROM events e LEFT JOIN feed f ON f.event = e.id "
            "WHERE e.name LIKE 'probe.%' ORDER BY f.position"
        )
        owing = [row["what"] for row in await connection.fetch(OWING)]
    finally:
        await connection.close()
    redis = cast("Any", Redis).from_url(redis_url, decode_responses=True, socket_timeout=10)
    with redis:
        streamed = [
            Entry(int(entry.partition("-")[0]), fields["id"], fields["type"], fields["key"], json.loads(fields["data"]).get("request"))
            for entry, fields in redis.xrange(STREAM)
        ]
        owing += [f"group {group['name']}: {group['pending']} pending" for group in redis.xinfo_groups(STREAM) if group["pending"]]
    return Evidence(
        attempts=[_own(Attempt, line) for line in lines(folder / "attempts.jsonl")],
        answers=[_own(Answer, line) for line in lines(folder / "answers.jsonl")],
        events=[Stored(str(row["id"]), row["name"], row["key"], row["request"], row["position"]) for row in events],
        effects=[
            Effect(
                row["n"],
                row["what"],
                str(row["request"]),
                row["key"],
                row["seconds"],
                None if row["event"] is None else str(row["event"]),
                row["position"],
            )
            for row in effects
        ],
        seen=[_own(Entry, line) for line in lines(folder / "seen.jsonl")],
        streamed=streamed,
        owing=owing,
    )


async def settled(folder: Path, database_url: str, redis_url: str, *, patience: float, say: Callable[[str], None]) -> Evidence:
    """The evidence once nothing is missing or owing, or after `patience` seconds in which nothing moved."""
    moved, before = time.monotonic(), (0, 0, 0)
    while True:
        try:
            evidence = await collect(folder, database_url, redis_url)
        except RedisError as error:  # A stream or group that is just being made again.
            say(f"waiting: {error}")
        else:
            if not evidence.owing and not list(_lost(evidence)):
                return evidence
            now = (len(evidence.effects), len(evidence.seen), len(evidence.owing))
            if now != before:
                moved, before = time.monotonic(), now
            elif time.monotonic() - moved > patience:
                return evidence
        if time.monotonic() - moved > 2 * patience:
            raise TimeoutError(f"{STREAM} cannot be read: it is not there {2 * patience:.0f} s after the last disturbance.")
        await asyncio.sleep(0.5)


def spread(seconds: list[float]) -> tuple[float, float]:
    """Median and maximum."""
    return (median(seconds), max(seconds)) if seconds else (0.0, 0.0)
