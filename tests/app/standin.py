"""`fluentpro up` with stand-ins for the processes of the program, so that the supervisor is tested without them."""

import os
import sys
from pathlib import Path

from app.settings import load
from app.supervisor import Plan, up


def stand_ins(*names: str) -> dict[str, list[str]]:
    service = str(Path(__file__).with_name("standin_service.py"))
    return {name: [sys.executable, "-S", service, name] for name in names}


if __name__ == "__main__":
    plan = Plan(steps=stand_ins("migrate", "seed"), services=stand_ins("relay", "worker", "web"), build=os.environ.pop("BUILD", "one"))
    sys.exit(up(load(os.environ), die_with_parent="--die-with-parent" in sys.argv, plan=plan))
