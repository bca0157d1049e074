"""PostgreSQL and Valkey of a test's own, that can be killed and started again at their ports."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from app.data_folder import claim
from app.embedded import Server, bring_up, prepared


class Servers:
    """Valkey keeps nothing over a restart; PostgreSQL does, as long as it is not killed with the machine."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = {server.child.name: server for server in servers}

    def url(self, name: str) -> str:
        return self._servers[name].url

    def kill(self, name: str) -> None:
        self._servers[name].child.kill()

    def stop(self, name: str) -> None:
        """As an operator does it."""
        assert self._servers[name].child.stop(20)

    def start(self, name: str) -> None:
        server = self._servers[name]
        server.start()
        deadline = time.monotonic() + 30
        while not server.ready():
            assert time.monotonic() < deadline, f"{name} does not come back:\n{server.child.last_words(5)}"
            time.sleep(0.02)


@contextmanager
def own_servers(folder: Path, *, postgres: bool) -> Generator[Servers]:
    """Call it in the main thread."""
    with claim(folder) as lifeline, prepared(folder, lifeline, postgres=postgres, durable=False) as servers:
        try:
            bring_up(folder, servers)
            yield Servers(servers)
        finally:
            for server in reversed(servers):
                server.child.stop(20)
