"""What happens to the processes and to Redis: kills, pauses longer than every lease, and losses, dealt in an order that a seed decides."""

import heapq
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.child import Child
from app.embedded import Server
from tests.chaos.consumer import GROUP, STREAM

TICK = 0.02
AGAIN = 0.3
# Seconds for which at least, and at most, somebody who was killed stays away.
DOWN = (0.25, 0.75)
# All leases are short, so that a pause of twice the longest is short too.
LEASES = {"relay_lease": 1.0, "job_lease": 1.5, "claim_lease": 1.0, "reclaim_idle": 1.0}
PAUSE = 2 * max(LEASES.values())
GROUPS = ("probe.keep", "probe.follow", GROUP)
LOSSES = ("kill_redis_and_its_data", "flush", "delete_stream", "delete_group", "trim_stream")
KINDS = (
    *(f"{verb}_{name}" for verb in ("kill", "pause") for name in ("web", "relay", "worker", "redis")),
    "kill_postgres",
    *LOSSES,
)


@dataclass
class Stage:
    """The processes by name, those that stand for one another together, and the servers."""

    web: Sequence[Child]
    relay: Sequence[Child]
    worker: Sequence[Child]
    postgres: Server
    redis: Server
    redis_folder: Path

    @property
    def processes(self) -> Mapping[str, Sequence[Child]]:
        return {"web": self.web, "relay": self.relay, "worker": self.worker}


class NotNow(Exception):
    """What was to be disturbed is away already."""


def _must(happened: int) -> None:
    if not happened:
        raise NotNow


@dataclass
class Disturber:
    stage: Stage
    chance: random.Random
    log: TextIO
    counts: Counter[str] = field(default_factory=Counter)
    at: list[float] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)
    _down: set[int] = field(default_factory=set)
    _paused: dict[int, Child] = field(default_factory=dict)

    def run(self, seconds: float, kinds: Sequence[str]) -> None:
        """Deal every kind once in every round, as evenly as the time allows, and put all right at the end."""
        began = time.monotonic()
        for at, kind in self._dealt(seconds, kinds):
            self._later(at, lambda kind=kind: self._disturb(kind))
        try:
            while time.monotonic() - began < seconds:
                self.watch()
        finally:
            self._put_right()

    def _dealt(self, seconds: float, kinds: Sequence[str]) -> list[tuple[float, str]]:
        """The last pause must be over before the end, and a round takes at least as long as everybody needs to come back."""
        room = seconds - PAUSE - 1
        rounds = max(1, round(room / (2.5 * len(kinds))))
        deck = [kind for _ in range(rounds) for kind in self.chance.sample(list(kinds), len(kinds))]
        step = room / len(deck)
        return [(1 + step * (index + self.chance.uniform(-0.4, 0.4)), kind) for index, kind in enumerate(deck)]

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + max(0.0, seconds), next(self._numbers), action))

    def watch(self) -> None:
        """Do what is due, and start again whoever ended."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        for child, start in self._all():
            if child.exit_code is not None and id(child) not in self._down:
                if child is not self.stage.postgres.child:
                    self.crashes.append(f"{child.name} ended by itself with {child.exit_code}: {child.last_words(5)}")
                self._start_later(child, start)
        time.sleep(TICK)

    def _all(self) -> Iterator[tuple[Child, Callable[[], None]]]:
        """Everything that must run, servers first."""
        yield from ((server.child, server.start) for server in (self.stage.postgres, self.stage.redis))
        yield from ((child, child.start) for children in self.stage.processes.values() for child in children)

    def _disturb(self, kind: str) -> None:
        at = time.time()
        try:
            self._kinds()[kind]()
        except (NotNow, RedisError):
            self._later(AGAIN, lambda: self._disturb(kind))
            return
        self.counts[kind] += 1
        self.at.append(at)
        self.log.write(json.dumps({"at": at, "kind": kind}) + "\n")

    def _kinds(self) -> Mapping[str, Callable[[], None]]:
        kinds: dict[str, Callable[[], None]] = {
            "kill_redis": self._kill_redis,
            "kill_redis_and_its_data": lambda: self._kill_redis(forget=True),
            "pause_redis": lambda: self._pause(self.stage.redis.child),
            "flush": lambda: self._redis().flushall(),
            "delete_stream": lambda: _must(self._redis().delete(STREAM)),
            "delete_group": lambda: _must(self._redis().xgroup_destroy(STREAM, self.chance.choice(GROUPS))),
            "trim_stream": lambda: _must(self._redis().xtrim(STREAM, maxlen=self.chance.randrange(5), approximate=False)),
            "kill_postgres": self._kill_postgres,
        }
        for name, children in self.stage.processes.items():
            kinds[f"kill_{name}"] = lambda children=children: self._kill(child := self._one_of(children), child.start)
            kinds[f"pause_{name}"] = lambda children=children: self._pause(self._one_of(children))
        return kinds

    def _one_of(self, children: Sequence[Child]) -> Child:
        up = [child for child in children if child.running and id(child) not in self._paused]
        if not up:
            raise NotNow
        return self.chance.choice(up)

    def _kill(self, child: Child, start: Callable[[], None]) -> None:
        if not child.running:
            raise NotNow
        self._paused.pop(id(child), None)
        child.kill()
        self._start_later(child, start)

    def _start_later(self, child: Child, start: Callable[[], None]) -> None:
        self._down.add(id(child))

        def again() -> None:
            start()
            self._down.discard(id(child))

        self._later(self.chance.uniform(*DOWN), again)

    def _pause(self, child: Child) -> None:
        if not child.running or id(child) in self._paused:
            raise NotNow
        os.kill(child.pid, signal.SIGSTOP)
        self._paused[id(child)] = child
        pid = child.pid

        def go_on() -> None:
            if self._paused.get(id(child)) is child and child.running and child.pid == pid:
                os.kill(pid, signal.SIGCONT)
                del self._paused[id(child)]

        self._later(PAUSE, go_on)

    def _kill_redis(self, *, forget: bool = False) -> None:
        self._kill(self.stage.redis.child, self.stage.redis.start)
        if forget:
            shutil.rmtree(self.stage.redis_folder / "appendonlydir")

    def _kill_postgres(self) -> None:
        """Its other processes end when they notice; until then a new one does not start, and is started once more."""
        self._kill(self.stage.postgres.child, self.stage.postgres.start)

    def _redis(self) -> Any:
        return cast("Any", Redis).from_url(
            self.stage.redis.url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
        )

    def _put_right(self) -> None:
        """Whoever is paused goes on, whoever is down is started; what was not dealt yet is not dealt any more."""
        for child in self._paused.values():
            if child.running:
                os.kill(child.pid, signal.SIGCONT)
        self._paused.clear()
        self._due.clear()
        for child, start in self._all():
            if not child.running:
                start()
        self._down.clear()
