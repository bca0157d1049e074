"""Reads a stream of FluentPro into SQLite: every event has its effect exactly once and in order, whatever is killed in between.

    python consume.py redis://127.0.0.1:6379/0 events.accounts crm crm.sqlite [--once]

The effect here is a row of `timeline`. It and the position of its event are one transaction, and an event whose position was had before
is dropped. `--once` ends when nothing is new. Needs redis-py, and nothing of FluentPro.
"""

import sqlite3
import sys
import time
from collections.abc import Iterable

import redis

Entries = Iterable[tuple[str, dict[str, str]]]

TABLES = """
CREATE TABLE IF NOT EXISTS progress (stream TEXT PRIMARY KEY, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS timeline (n INTEGER PRIMARY KEY, key TEXT, position INTEGER, type TEXT, version INTEGER, data TEXT);
"""


class Consumer:
    """One at a time for each file: the lock on it is held until the process ends, and a second one is told that it is locked."""

    def __init__(self, url: str, stream: str, group: str, file: str) -> None:
        self.stream, self.group = stream, group
        self.streams = redis.Redis.from_url(url, decode_responses=True)
        self.effects = sqlite3.connect(file)
        self.effects.executescript("PRAGMA locking_mode = EXCLUSIVE;" + TABLES)
        with self.effects:
            self.effects.execute("INSERT OR IGNORE INTO progress VALUES (?, 0)", (stream,))

    def join(self) -> None:
        """Have a group that stands where we stand, unless there is one."""
        [position] = self.effects.execute("SELECT position FROM progress WHERE stream = ?", (self.stream,)).fetchone()
        try:
            self.streams.xgroup_create(self.stream, self.group, f"{position}-0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def take_over(self) -> None:
        """Whatever is pending was read by a consumer that has died, for there is no other."""
        cursor = "0-0"
        while True:
            cursor, entries, *_ = self.streams.xautoclaim(self.stream, self.group, "consumer", 0, cursor, count=100)
            self.settle(entries)
            if cursor == "0-0":
                return

    def read(self, *, block: int | None) -> bool:
        """What is new; whether there was any. `block` is in milliseconds."""
        found = self.streams.xreadgroup(self.group, "consumer", {self.stream: ">"}, count=100, block=block)
        for _, entries in found:
            self.settle(entries)
        return bool(found)

    def settle(self, entries: Entries) -> None:
        """Acknowledged are entries whose effects are committed, never others."""
        settled = []
        for entry, fields in entries:
            print("took" if self.take(fields) else "had", fields["position"], fields["type"], fields["key"], flush=True)
            settled.append(entry)
        if settled:
            self.streams.xack(self.stream, self.group, *settled)

    def take(self, fields: dict[str, str]) -> bool:
        """The effect of an event and its position, in one transaction; False when it was had before."""
        position = int(fields["position"])
        with self.effects:
            moved = self.effects.execute(
                "UPDATE progress SET position = ? WHERE stream = ? AND position < ?", (position, self.stream, position)
            )
            if not moved.rowcount:
                return False
            self.effects.execute(
                "INSERT INTO timeline (key, position, type, version, data) VALUES (?, ?, ?, ?, ?)",
                (fields["key"], position, fields["type"], int(fields["version"]), fields["data"]),
            )
        return True


def main(url: str, stream: str, group: str, file: str, *options: str) -> None:
    consumer, once = Consumer(url, stream, group, file), "--once" in options
    while True:
        try:
            consumer.join()
            consumer.take_over()
            while consumer.read(block=None if once else 1000) or not once:
                pass
        except redis.ResponseError as error:
            # Redis has lost its data. FluentPro fills the stream again; we go on from our own position.
            if "NOGROUP" not in str(error):
                raise
        except redis.ConnectionError as error:
            print(f"waiting for Redis: {error}", file=sys.stderr)
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
