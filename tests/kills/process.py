"""`python -m tests.kills.process relay|worker|clock`: the shipped processes with the area of these tests.

A clock is a worker with the crontab of this area.
"""

import asyncio
import os
import sys

from app import logs, processes
from app.settings import load
from tests.kills import area


def main(name: str) -> None:
    settings = load(os.environ)
    logs.configure(settings, process=name)
    if name == "relay":
        asyncio.run(processes.relay(settings, modules=(area,)))
    else:
        asyncio.run(processes.worker(settings, modules=(area,), crontab=area.CRONTAB if name == "clock" else {}))


if __name__ == "__main__":
    main(sys.argv[1])
