"""structlog: JSON in staging and production, readable elsewhere; the libraries' own lines go the same way."""

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.settings import Settings

# Nothing of ours logs these; a line of somebody else's that does is blotted out.
SECRETS = frozenset({"password", "token", "access_token", "refresh_token", "secret", "secret_key", "authorization", "cookie"})
# PostgreSQL puts the whole row, or the key, into the detail of an error; asyncpg and SQLAlchemy put that into their messages.
DETAIL = re.compile(r"^DETAIL: .*?(?=^HINT: |^\[SQL|^$|\Z)", re.MULTILINE | re.DOTALL)
CHATTY = ("uvicorn.access", "faststream", "alembic", "saq", "asyncio")


class Lines:
    """Writes to standard error, a line at a time. Our own lines do without `logging`: it costs several times what the line itself does."""

    def __init__(self, name: str = "app") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        # As `logging` does: what was committed must not fail because a disk is full or a pipe is broken, and there is nowhere to say so.
        with suppress(OSError):
            sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = msg


def configure(settings: Settings, *, process: str) -> None:
    """Once, at the start of a process. Lines go to standard error: standard output is for what a command answers."""
    level = logging.DEBUG if settings.debug else getattr(logging, settings.log_level.upper())
    renderer: Processor = structlog.processors.JSONRenderer()
    if settings.is_local:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        blotted,
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[Processor] = [structlog.processors.format_exc_info, without_rows, printable, renderer]
    structlog.configure(
        processors=[*shared, *rendered],
        logger_factory=Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def blotted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return _blot(event)


def without_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if "exception" in event:
        event["exception"] = DETAIL.sub("DETAIL:  ***\n", event["exception"])
    return event


def printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What a client sent may not steer the terminal of whoever reads along."""
    for key, value in event.items():
        if isinstance(value, str) and key not in ("exception", "stack") and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode()
    return event


def _blot(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: "***" if str(key).lower() in SECRETS else _blot(cast("dict[str, Any]", part)) if isinstance(part, dict) else part
        for key, part in values.items()
    }
