"""`python -m tests.chaos.process web|relay|worker [sabotage]`: the shipped processes with the area `probe`, whole or sabotaged."""

import asyncio
import os
import sys

import uvloop

from app import logs, processes, settings
from tests.chaos import area, sabotage


def main(name: str, broken: str | None = None) -> None:
    if broken is not None:
        sabotage.KINDS[broken]()
    own = settings.load(os.environ)
    logs.configure(own, process=name)
    modules = (area,)
    work = {
        "web": lambda: processes.web(own, modules=modules, routes=[area.probe]),
        "relay": lambda: processes.relay(own, modules=modules),
        "worker": lambda: processes.worker(own, modules=modules),
    }[name]()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
