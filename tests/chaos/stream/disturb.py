"""Kills while answers are given: whom and after which piece, a seed decides; who was killed is started again at once."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from app.child import Child
from app.embedded import Server
from tests.chaos.stream.records import Blow, Call, Tail, write

TICK = 0.02
# As often as it is dealt in a round. A paused worker is what fences are for: it goes on when another has begun anew, and knows nothing.
DECK: Mapping[str, int] = {"kill_web": 2, "kill_worker": 3, "kill_relay": 1, "kill_redis": 2, "kill_all": 1, "pause_worker": 1}
# Until the kill, from the moment when somebody is answered who was not hit yet; an answer takes 1.4 s.
SOON = (0.05, 1.0)
# Of the next one, if it follows; then it often hits those who are answered anew.
LATER = (0.2, 6.0)
# A pause ends when one of the turns that it hit is answered anew, after some pieces, and at the latest so many seconds after it began.
RESUMED = (0.05, 0.9)
LONGEST_PAUSE = 15.0
# All at the same time would be late together: each needs seconds of a processor before it does anything.
STANDBY = 2.5
# Who was started so long ago can be expected to work.
GROWN = 8.0
# At most so many seconds nobody is killed who may be about to go on with an answer that was cut off.
SPARED = 12.0


@dataclass
class Cast:
    web: Sequence[Child]
    worker: Sequence[Child]
    relay: Sequence[Child]
    postgres: Server
    redis: Server

    @property
    def processes(self) -> Sequence[Child]:
        """Those first that people wait for longest."""
        return (*self.worker, *self.web, *self.relay)


@dataclass
class Pause:
    child: Child
    pid: int
    hit: frozenset[str]
    until: float


@dataclass
class Disturber:
    cast: Cast
    calls: Tail
    log: TextIO
    chance: random.Random
    kinds: Sequence[str]
    # How likely a kill is followed by another one while the same turns are answered.
    again: float
    counts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    _deck: list[str] = field(default_factory=list)
    _answered: dict[int, Call] = field(default_factory=dict)
    _hit: set[str] = field(default_factory=set)
    # Whose answer was cut off, and until when whoever is about to go on with it is spared: else no worker could ever be in time.
    _cut: dict[str, float] = field(default_factory=dict)
    _planned: float | None = None
    _another: float | None = None
    _due: list[tuple[float, Child]] = field(default_factory=list)
    _began: dict[str, float] = field(default_factory=dict)
    _pause: Pause | None = None

    def watch(self) -> None:
        """Do what is due, and start again whoever ended by itself."""
        now = time.monotonic()
        self._learn(now)
        if self._planned is None and self._names() - self._hit:
            self._planned = now + self.chance.uniform(*SOON)
        if self._planned is not None and now >= self._planned:
            self._planned = None
            if self._strike() and self.chance.random() < self.again:
                self._another = now + self.chance.uniform(*LATER)
        elif self._another is not None and now >= self._another:
            self._another = None
            self._strike()
        # A call that was cut off may have been the last: that of a paused worker, whose turn another one had answered by then.
        self._cut = {name: until for name, until in self._cut.items() if until > now}
        for _, child in [due for due in self._due if due[0] <= now]:
            child.start()
        self._due = [due for due in self._due if due[0] > now]
        if self._pause is not None and now >= self._pause.until:
            self._resume()
        self._start_the_fallen()
        time.sleep(TICK)

    def put_right(self) -> None:
        if self._pause is not None:
            self._resume()
        for _, child in self._due:
            child.start()
        self._due = []
        self._start_the_fallen()

    def _learn(self, now: float) -> None:
        """Whom the provider is answering."""
        for call in self.calls.news():
            if call.ended:
                self._answered.pop(call.number, None)
                if not call.whole:
                    self._cut[call.name] = now + SPARED
                continue
            self._cut.pop(call.name, None)
            self._answered[call.number] = call
            if self._pause is not None and call.nth > 1 and call.name in self._pause.hit:
                self._pause.until = min(self._pause.until, now + self.chance.uniform(*RESUMED))

    def _names(self) -> set[str]:
        return {call.name for call in self._answered.values()}

    def _strike(self) -> bool:
        """Whether somebody was hit: by the next of the deck for which there is somebody now."""
        if not (hit := self._names()):
            return False
        if not self._deck:
            self._deck = self.chance.sample(self.kinds, len(self.kinds))
        at = time.time()
        kind = next((kind for kind in self._deck if self._kinds()[kind]()), None)
        if kind is None:
            return False
        self._deck.remove(kind)
        self.counts[kind] += 1
        blow = Blow(at=at, kind=kind, hit=tuple(sorted(hit)), counts=kind.startswith("kill") or {*self.kinds} == {"pause_worker"})
        write(self.log, blow)
        if blow.counts:
            self._hit |= hit
        return True

    def _kinds(self) -> Mapping[str, Callable[[], bool]]:
        """Each says whether there was somebody for it."""
        return {
            "kill_web": lambda: self._kill(self.cast.web),
            "kill_worker": self._kill_worker,
            "kill_relay": lambda: self._kill(self.cast.relay),
            "kill_redis": self._kill_redis,
            "kill_all": self._kill_all,
            "pause_worker": self._pause_worker,
        }

    def _kill(self, children: Sequence[Child]) -> bool:
        up = [child for child in children if child.running]
        if not up:
            return False
        child = self.chance.choice(up)
        child.kill()
        child.start()
        self._began[child.name] = time.monotonic()
        return True

    def _kill_worker(self) -> bool:
        """One that answers, and for whom the other can stand in: both at once are killed with all."""
        able = time.monotonic() - GROWN
        if self._pause is not None or self._cut or any(self._began.get(child.name, 0.0) > able for child in self.cast.worker):
            return False
        return self._kill(self._answering())

    def _kill_redis(self) -> bool:
        self.cast.redis.child.kill()
        self.cast.redis.start()
        return True

    def _kill_all(self) -> bool:
        """But PostgreSQL. The first of each kind are started again at once, the second when the first have begun."""
        if self._pause is not None or self._cut or self._due:
            return False
        for child in (*self.cast.processes, self.cast.redis.child):
            child.kill()
        self.cast.redis.start()
        first, *others = zip(self.cast.worker, self.cast.web, self.cast.relay, strict=True)
        for child in first:
            child.start()
        self._began |= {child.name: time.monotonic() + STANDBY for child in self.cast.worker}
        self._due = [(time.monotonic() + STANDBY, child) for children in others for child in children]
        return True

    def _pause_worker(self) -> bool:
        answering = self._answering()
        if self._pause is not None or not answering:
            return False
        child = self.chance.choice(answering)
        os.kill(child.pid, signal.SIGSTOP)
        hit = frozenset(call.name for call in self._answered.values() if call.caller == child.name)
        self._pause = Pause(child, child.pid, hit, time.monotonic() + LONGEST_PAUSE)
        return True

    def _answering(self) -> list[Child]:
        callers = {call.caller for call in self._answered.values()}
        return [child for child in self.cast.worker if child.running and child.name in callers]

    def _resume(self) -> None:
        if self._pause is not None and self._pause.child.running and self._pause.child.pid == self._pause.pid:
            os.kill(self._pause.pid, signal.SIGCONT)
        self._pause = None

    def _start_the_fallen(self) -> None:
        waiting = [child for _, child in self._due]
        kept = [(self.cast.redis.child, self.cast.redis.start), *((child, child.start) for child in self.cast.processes)]
        for child, start in kept:
            if child.exit_code is not None and child not in waiting:
                self.crashes.append(f"{child.name} ended by itself with {child.exit_code}: {child.last_words(5)}")
                start()


def dealt(only: Sequence[str]) -> list[str]:
    """A deck of these kinds."""
    return [kind for kind in only for _ in range(DECK[kind])]
