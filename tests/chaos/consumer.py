"""A stranger's consumer of `events.probe`, with plain redis-py: `python -m tests.chaos.consumer FOLDER REDIS_URL`.

It makes its group once. After that the relay keeps it: whatever Redis forgets comes back, and what the consumer has had, it drops by
position.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

STREAM = "events.probe"
GROUP = "stranger"
NAME = "one"
PAUSE = 0.1
# Seconds in which another relay takes over, sees what was trimmed, and makes the stream whole again.
PATIENCE = 5.0


class Cut(Exception):
    """Somebody trimmed what we have not had: reading on would be out of order."""


class Consumer:
    def __init__(self, redis: Any, seen: TextIO) -> None:
        self._redis, self._seen = redis, seen
        self._had: set[int] = set()
        self._last = 0

    def join(self) -> None:
        try:
            self._redis.xgroup_create(STREAM, GROUP, "0-0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def run(self) -> None:
        """For ever. After every break, first what was delivered to us and not acknowledged."""
        while True:
            try:
                after = "0"
                while after:
                    after = self._take(after)
                while True:
                    self._take(">")
            except Cut:
                time.sleep(PATIENCE)
            except RedisError:
                time.sleep(PAUSE)

    def _take(self, after: str) -> str:
        """The last entry that there was, if any."""
        answer = self._redis.xreadgroup(GROUP, NAME, {STREAM: after}, count=100, block=500)
        entries: list[tuple[str, dict[str, str]]] = answer[0][1] if answer else []
        if entries and after == ">" and self._is_cut():
            raise Cut
        for entry, fields in entries:
            # Trimmed while it was pending, it has an id and nothing else.
            if not fields:
                raise Cut
            self._keep(int(entry.partition("-")[0]), fields)
            self._redis.xack(STREAM, GROUP, entry)
        return entries[-1][0] if entries else ""

    def _is_cut(self) -> bool:
        """Whether the last entry that we had is gone, and so perhaps the next ones too."""
        first = self._redis.xrange(STREAM, count=1)
        return bool(self._last and first) and int(first[0][0].partition("-")[0]) > self._last + 1

    def _keep(self, position: int, fields: dict[str, str]) -> None:
        self._last = position
        if position not in self._had:
            self._had.add(position)
            record = {"at": time.time(), "position": position, "event": fields["id"], "type": fields["type"], "key": fields["key"]}
            self._seen.write(json.dumps({**record, "request": json.loads(fields["data"])["request"]}) + "\n")


def main(folder: Path, url: str) -> None:
    with (folder / "seen.jsonl").open("a", buffering=1) as seen:
        redis = cast("Any", Redis).from_url(
            url, decode_responses=True, socket_timeout=3, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        consumer = Consumer(redis, seen)
        consumer.join()
        consumer.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
