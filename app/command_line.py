"""What every command of `fluentpro` begins with: its settings, a loop, and the house for whoever sits at this terminal."""

import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import click
import msgspec

from app import settings as configuration
from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from app.bootstrap import House

MAX_POSITION = 2**63 - 1


class PositionOrTime(click.ParamType["int | datetime"]):
    """A position of the feed, or a time with its offset from UTC."""

    name = "position or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        try:
            if value.isascii() and value.isdigit():
                return msgspec.convert(int(value), Annotated[int, msgspec.Meta(le=MAX_POSITION)])
            return msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)]).astimezone(UTC)
        except (msgspec.ValidationError, OverflowError):
            self.fail(f"{value!r} is neither a position, such as 4711, nor a time, such as 2026-11-20T00:00:00Z.", param, ctx)


def loaded_settings() -> Settings:
    try:
        return configuration.load(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def run(work: Callable[[Settings], Coroutine[Any, Any, None]], *, process: str) -> None:
    """With settings that name real servers; whatever stops the start is one message and exit status 1."""
    import uvloop

    from app import logs
    from bus.message import Refusal, Unavailable
    from bus.registry import CannotStart

    async def checked(settings: Settings) -> None:
        await configuration.require(settings)
        try:
            await work(settings)
        except (OSError, Unavailable):
            if problems := await configuration.unreachable(settings):
                raise SettingsError(problems) from None
            raise

    try:
        settings = configuration.resolve(loaded_settings())
        logs.configure(settings, process=process)
        uvloop.run(checked(settings))
    except (SettingsError, CannotStart) as error:
        raise click.ClickException(str(error)) from None
    except Refusal as refusal:
        fields = [f"  {error.field.removeprefix('/')}: {error.message}" for error in refusal.errors]
        raise click.ClickException("\n".join([refusal.detail, *fields])) from None


@asynccontextmanager
async def house_at(settings: Settings) -> "AsyncGenerator[House]":
    """For whoever sits at this terminal."""
    from app.bootstrap import open_house
    from db.migrate import lacks, revision

    async with open_house(settings) as house:
        if lacks(await revision(house.database)):
            raise click.ClickException("The database lacks a migration of this build: run `fluentpro migrate` first.")
        yield house
