"""When things happen on their own: schedule (UTC, five fields) -> command."""

from collections.abc import Mapping
from typing import Any

from bus.message import Command
from domain.catalogue.commands import KeepVectors
from domain.onboarding.commands import NoticeIdleJourneys
from domain.operations.commands import PruneLedger
from domain.practice.commands import KeepStreams

CRONTAB: Mapping[str, Command[Any]] = {
    "17 * * * *": PruneLedger(),
    "*/5 * * * *": NoticeIdleJourneys(),
    "* * * * *": KeepVectors(),
    "27 * * * *": KeepStreams(),
}
