"""`fluentpro state`: conversations as those who operate this installation see them.

Each command imports what it needs itself, as those of `app.cli` do. Nothing but the answer goes to standard output.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
import msgspec

from app.command_line import PositionOrTime, house_at, run
from app.settings import Settings

if TYPE_CHECKING:
    from app.bootstrap import House
    from app.state.inspection import Inspector

PHASES = ("idle", "pending", "running")
STATUSES = (*PHASES, "ended", "archived", "deleted")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
CONVERSATION = click.argument("conversation", type=click.UUID, metavar="ID")
LIMIT = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
VERSION = click.IntRange(1, 2**31 - 1)


@click.group()
def state() -> None:
    """Conversations: what they are, what they were, and whether everything kept of them agrees."""


@state.command("list")
@click.option("--account", help="Only those of this account: its id or its e-mail address.")
@click.option("--phase", type=click.Choice(PHASES), help="Only those in which nothing happens, a turn waits, or an answer is being given.")
@LIMIT
@AS_JSON
def list_conversations(account: str | None, phase: str | None, limit: int, *, as_json: bool) -> None:
    """List them, what was changed last first."""
    _list(as_json=as_json, limit=limit, account=account, phase=phase)


@state.command()
@click.option("--account", help="Those of this account: its id or its e-mail address.")
@click.option("--scenario", help="Those in this scenario: its id or its slug.")
@click.option("--status", type=click.Choice(STATUSES), help="The first that holds: deleted, archived, its phase, ended, idle.")
@click.option("--from", "since", type=PositionOrTime(), help="Changed at this time or later, such as 2026-11-20T00:00:00Z.")
@click.option("--to", "until", type=PositionOrTime(), help="Changed before this time.")
@LIMIT
@AS_JSON
def search(account: str | None, scenario: str | None, limit: int, *, as_json: bool, **conditions: Any) -> None:
    """Find them by whose they are, their scenario, their status, and when they were changed last."""
    for option, name in (("--from", "since"), ("--to", "until")):
        if isinstance(conditions[name], int):
            raise click.UsageError(f"{option} is a time, such as 2026-11-20T00:00:00Z.")
    _list(as_json=as_json, limit=limit, account=account, scenario=scenario, **conditions)


def _list(*, as_json: bool, limit: int, account: str | None, scenario: str | None = None, **conditions: Any) -> None:
    async def work(settings: Settings) -> None:
        from app.state import rendering
        from db.practice.scenarios import identity_of
        from db.reads.conversations_admin import ConversationQuery

        async with house_at(settings) as house:
            query = ConversationQuery(
                account=await _account(house, account), scenario=None if scenario is None else identity_of(scenario), **conditions
            )
            found = await house.reads.conversations_admin.search(query, limit=limit)
        if as_json:
            _print_json(found)
        elif found:
            rendering.show(rendering.entries(found))
        else:
            click.echo("There are no such conversations.", err=True)
        if len(found) == limit:
            click.echo(f"These were the last {limit}; there may be more: raise --limit, or ask for fewer.", err=True)

    run(work, process="state")


async def _account(house: "House", ref: str | None) -> UUID | None:
    from domain.accounts.rules import normalise_email

    if ref is None:
        return None
    try:
        known = normalise_email(ref) if "@" in ref else str(UUID(ref))
    except ValueError:
        raise click.BadParameter(f"{ref!r} is neither the id of an account nor an e-mail address.", param_hint="--account") from None
    found = await house.reads.conversations_admin.account(known)
    if found is None:
        raise click.ClickException(f"There is no account {known}: look at how it is written, or leave --account out to list all.")
    return found


@state.command()
@CONVERSATION
@click.option("--at", type=PositionOrTime(), metavar="VERSION|TIME", help="As it was at a version, or at a time; now when left out.")
@AS_JSON
def inspect(conversation: UUID, at: Any, *, as_json: bool) -> None:
    """Show all of one, now or as it was; its words where its learner shares them, who is told."""

    async def look(inspector: "Inspector") -> None:
        from app.state import rendering

        found = await inspector.at(conversation, at)
        happened = [one for one in await inspector.versions(conversation) if one.version <= found.conversation.version]
        if as_json:
            _print_json({**msgspec.structs.asdict(found), "versions": happened})
        else:
            rendering.show(*rendering.inspected(found, happened))

    _look(look)


@state.command()
@CONVERSATION
@click.argument("before", type=VERSION, metavar="FROM")
@click.argument("after", type=VERSION, metavar="TO")
@AS_JSON
def diff(conversation: UUID, before: int, after: int, *, as_json: bool) -> None:
    """Show what changed between two versions, field by field, turn by turn."""

    async def look(inspector: "Inspector") -> None:
        from app.state import rendering

        found = await inspector.difference(conversation, before, after)
        if as_json:
            _print_json(found)
        else:
            rendering.show(*rendering.difference(found))

    _look(look)


@state.command()
@CONVERSATION
@click.option("--format", "form", required=True, type=click.Choice(["json", "markdown", "vtt"]))
def export(conversation: UUID, form: str) -> None:
    """Print one as a file, as its learner can have it."""

    async def look(inspector: "Inspector") -> None:
        from app.conversation_export import as_json, as_markdown, as_vtt
        from app.state.rendering import safe, safe_json

        view, scenario = await inspector.exported(conversation)
        if form == "json":
            click.echo(safe_json(as_json(view, scenario)), nl=False)
        else:
            written = (as_markdown if form == "markdown" else as_vtt)(view, scenario)
            click.echo(safe(written.decode(), lines=True), nl=False)

    _look(look)


def _look(look: Callable[["Inspector"], Any]) -> None:
    async def work(settings: Settings) -> None:
        from app.state.inspection import Inspector
        from bus.message import SYSTEM

        async with house_at(settings) as house:
            await look(Inspector(house, by=SYSTEM))

    run(work, process="state")


@state.command()
@click.argument("conversation", type=click.UUID, metavar="[ID]", required=False)
@AS_JSON
def verify(conversation: UUID | None, *, as_json: bool) -> None:
    """Compare everything that is kept of one, or of all, with what their events say; exit with status 1 when something is wrong."""
    verdicts: list[bool] = []

    async def work(settings: Settings) -> None:
        from app.state.rendering import safe
        from app.state.verification import Verification, as_text

        async with house_at(settings) as house:
            kept = timedelta(days=settings.log_days)
            verification = Verification(house.reads.conversations_admin, kept=kept, now=house.clock())
            report = await (verification.everything() if conversation is None else verification.one(conversation))
        verdicts.append(report.ok)
        if as_json:
            _print_json(report)
        else:
            for line in as_text(report):
                click.echo(safe(line))

    run(work, process="state")
    sys.exit(0 if all(verdicts) else 1)


@state.command()
@AS_JSON
def stats(*, as_json: bool) -> None:
    """Count conversations, turns, calls, tokens, snapshots, rows of the log, and who is connected."""

    async def work(settings: Settings) -> None:
        from app.state import rendering
        from app.state.health import connected

        async with house_at(settings) as house:
            found, online = await house.reads.conversations_admin.numbers(), await connected(house)
        if as_json:
            _print_json({**msgspec.structs.asdict(found), "connected": online})
        else:
            rendering.show(*rendering.numbers(found, online))

    run(work, process="state")


@state.command()
@AS_JSON
def health(*, as_json: bool) -> None:
    """Say whether turns are answered; exit with status 1 when something is wrong."""
    verdicts: list[bool] = []

    async def work(settings: Settings) -> None:
        from app.state import rendering
        from app.state.health import checked

        async with house_at(settings) as house:
            found = await checked(house)
        verdicts.append(found.ok)
        if as_json:
            _print_json(found)
        else:
            rendering.show(rendering.health(found))

    run(work, process="state")
    sys.exit(0 if all(verdicts) else 1)


@state.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@AS_JSON
def restored(*, yes: bool, as_json: bool) -> None:
    """Tell all readers of streams to begin anew, after the database was restored from a backup and before anything else is started."""
    from domain.practice.commands import RestoreStreams

    if not yes:
        click.confirm("Every reader of a conversation will read it anew. Was the database restored from a backup?", abort=True, err=True)

    async def work(settings: Settings) -> None:
        from bus.message import SYSTEM

        async with house_at(settings) as house:
            generation = await house.bus.execute(RestoreStreams(), by=SYSTEM)
        if as_json:
            _print_json({"generation": generation})
        else:
            click.echo(f"Ids of streams begin with {generation} from now on.")

    run(work, process="state")


def _print_json(document: object) -> None:
    from app.state.rendering import safe_json

    click.echo(safe_json(msgspec.json.format(msgspec.json.encode(document), indent=2)))
