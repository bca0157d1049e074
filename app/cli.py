"""The `fluentpro` command.

Each command imports what it needs itself: `up` has servers to start, and must not wait for the imports of the web.
"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import click
import msgspec

from app import settings as configuration
from app.command_line import PositionOrTime, house_at, loaded_settings, run
from app.settings import Settings, SettingsError
from app.state.commands import state

if TYPE_CHECKING:
    from bus.message import Command

R = TypeVar("R")
MOST_AT_ONCE = 10_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """FluentPro: the backend in which working adults practise professional English."""


main.add_command(state)


@main.command()
@click.option("--die-with-parent", is_flag=True, help="End the run when the process that started it ends.")
def up(*, die_with_parent: bool) -> None:
    """Run everything: embedded servers unless URLs are set, web, relay and worker."""
    from app import supervisor

    sys.exit(supervisor.up(loaded_settings(), die_with_parent=die_with_parent))


@main.command()
def web() -> None:
    """Serve HTTP."""
    from app import processes

    run(processes.web, process="web")


@main.command()
def relay() -> None:
    """Number and publish events, hand over commands. Any number may run; one leads."""
    from app import processes

    run(processes.relay, process="relay")


@main.command()
def worker() -> None:
    """Run reactions, retries, jobs and schedules."""
    from app import processes

    run(processes.worker, process="worker")


@main.command()
@click.option("--seed", "and_seed", is_flag=True, help="Then put in place what `fluentpro seed` does.")
@click.option("--revise", metavar="MESSAGE", help="Write a new migration with what the code has and the database lacks.")
@click.option("--check", is_flag=True, help="Change nothing; fail when code and database differ.")
def migrate(revise: str | None, *, and_seed: bool, check: bool) -> None:
    """Bring the database to the schema of this build."""
    from db import migrate as migrations

    async def work(settings: Settings) -> None:
        if revise:
            await migrations.revise(settings.database_url, revise)
        elif not check:
            await migrations.upgrade(settings.database_url)
            click.echo(f"The database is at revision {', '.join(migrations.heads())}.", err=True)
        elif problems := await migrations.drift(settings.database_url):
            raise click.ClickException("code and database differ:\n" + "\n".join(problems))
        if and_seed:
            await _seeded(settings)

    run(work, process="migrate")


@main.command()
def seed() -> None:
    """Put in place what every installation needs; safe to repeat."""
    run(_seeded, process="seed")


async def _seeded(settings: Settings) -> None:
    from bus.message import SYSTEM
    from db.seeds import BadSeeds
    from domain.accounts.commands import EnsureSigningKey
    from domain.catalogue.commands import SeedCatalogue
    from domain.practice.commands import SeedScenarios

    async with house_at(settings) as house:
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        try:
            await house.bus.execute(SeedCatalogue(), by=SYSTEM)
            await house.bus.execute(SeedScenarios(), by=SYSTEM)
        except BadSeeds as error:
            raise click.ClickException(f"The seed files of this build cannot be used:\n{error}") from None


async def _executed(settings: Settings, command: "Command[R]") -> R:
    """What the command answers."""
    from bus.message import SYSTEM

    async with house_at(settings) as house:
        return await house.bus.execute(command, by=SYSTEM)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def config(*, as_json: bool) -> None:
    """Print the effective settings, secrets masked."""
    try:
        shown = configuration.masked(loaded_settings())
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(msgspec.json.encode(shown).decode() if as_json else "\n".join(f"{name} = {value}" for name, value in shown.items()))


@main.command()
@click.option("--markdown", "form", flag_value="markdown", help="As docs/messages.md.")
@click.option("--json", "form", flag_value="json", help="As a JSON array.")
@click.option("--asyncapi", "form", flag_value="asyncapi", help="As docs/asyncapi.json: what other services and people receive.")
@click.option("--schemas", metavar="FOLDER", type=click.Path(path_type=Path), help="Write a JSON Schema of every message, as docs/schemas.")
@click.option("--check", is_flag=True, help="With --schemas: change nothing; fail when one is missing, out of date or broken.")
def describe(form: str | None, schemas: Path | None, *, check: bool) -> None:
    """Print every message with its handlers, reactions, stream and policy."""
    from app import asyncapi, evolution
    from app import describe as descriptions
    from bus.registry import CannotStart

    try:
        registry = descriptions.registry_of_the_house()
    except CannotStart as error:
        raise click.ClickException(str(error)) from None
    if check and schemas is None:
        raise click.UsageError("--check compares a folder of schemas: name it with --schemas")
    messages = registry.catalog.messages
    if schemas is not None:
        if problems := (evolution.check if check else evolution.write)(messages, schemas):
            raise click.ClickException("the schemas of the messages are not what they must be:\n" + "\n".join(problems))
    elif form == "asyncapi":
        click.echo(json.dumps(asyncapi.document(messages), indent=2, ensure_ascii=False))
    elif form == "json":
        click.echo(msgspec.json.encode(descriptions.described(registry)))
    elif form == "markdown":
        click.echo(descriptions.as_markdown(descriptions.described(registry)), nl=False)
    else:
        click.echo(descriptions.as_text(descriptions.described(registry)))


@main.group()
def admin() -> None:
    """Accounts of those who run the product."""


@admin.command()
@click.option("--email", required=True)
@click.option("--full-name", required=True)
@click.option("--date-of-birth", required=True, type=click.DateTime(["%Y-%m-%d"]))
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it.")
def create(email: str, full_name: str, date_of_birth: datetime, *, password_stdin: bool) -> None:
    """Create an account with the admin flag."""
    from domain.accounts.commands import CreateAdmin
    from domain.types import Secret

    password = sys.stdin.readline().rstrip("\n") if password_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    command = CreateAdmin(email=email, password=Secret(password), full_name=full_name, date_of_birth=date_of_birth.date())

    async def work(settings: Settings) -> None:
        profile = await _executed(settings, command)
        click.echo(f"{profile.email} is an admin: {profile.id}")

    run(work, process="admin")


@main.group()
def events() -> None:
    """Events of the past."""


@events.command("replay")
@click.option("--area", required=True, help="Whose events, such as accounts.")
@click.option("--from", "start", required=True, type=PositionOrTime(), help="The first position, or a time such as 2026-11-20T00:00:00Z.")
@click.option("--upto", type=click.IntRange(0), help="The last position; all there are when it is left out.")
@click.option("--to-stream", "stream", required=True, help="Where to; never one of events.*.")
def replay_events(area: str, start: "int | datetime", upto: int | None, stream: str) -> None:
    """Write events once more, from PostgreSQL, to a Redis stream that you name."""
    from app.replay import Range, replay

    async def work(settings: Settings) -> None:
        async with house_at(settings) as house:
            written = await replay(house, Range(area=area, start=start, upto=upto), stream)
        click.echo(f"{written} events of {area} were written to {stream}.")

    run(work, process="events")


@main.group()
def dead() -> None:
    """Dead letters: what reactions and commands have given up."""


@dead.command("list")
@click.option("--reaction", help="Only those of this reaction, or of the command of this name.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_dead(reaction: str | None, limit: int, *, as_json: bool) -> None:
    """List them, the newest first."""

    async def work(settings: Settings) -> None:
        async with house_at(settings) as house:
            letters = await house.reads.operations.dead_letters(reaction=reaction, limit=limit)
        for letter in letters:
            parked = f", {letter.parked} parked behind it" if letter.parked else ""
            what = f"{letter.reaction} <- {letter.name}, {letter.tries} tries{parked}"
            text = f"{letter.id}  {letter.at:%Y-%m-%d %H:%M:%S}  {what}: {letter.error}"
            click.echo(msgspec.json.encode(letter).decode() if as_json else text)
        if not letters and not as_json:
            click.echo("There are no dead letters.", err=True)

    run(work, process="dead")


@dead.command()
@click.argument("letter", type=click.UUID)
def show(letter: UUID) -> None:
    """Print one as JSON: its error, its tries, its envelope, and what is parked behind it."""

    async def work(settings: Settings) -> None:
        async with house_at(settings) as house:
            details = await house.reads.operations.dead_letter(letter)
        click.echo(msgspec.json.format(msgspec.json.encode(details)).decode())

    run(work, process="dead")


@dead.command()
@click.argument("letters", nargs=-1, type=click.UUID)
@click.option("--reaction", help="All of this reaction, or of the command of this name.")
def replay(letters: tuple[UUID, ...], reaction: str | None) -> None:
    """Have them tried again, with all their tries; the workers do so within a second."""
    from domain.operations.commands import ReplayDeadLetter

    _decide(letters, reaction, lambda letter: ReplayDeadLetter(id=letter), "will be tried again")


@dead.command()
@click.argument("letters", nargs=-1, type=click.UUID)
@click.option("--reaction", help="All of this reaction, or of the command of this name.")
def drop(letters: tuple[UUID, ...], reaction: str | None) -> None:
    """Give them up for good, and let go on what is parked behind them."""
    from domain.operations.commands import DropDeadLetter

    _decide(letters, reaction, lambda letter: DropDeadLetter(id=letter), "is dropped")


def _decide(letters: tuple[UUID, ...], reaction: str | None, decision: "Callable[[UUID], Command[None]]", done: str) -> None:
    """One command for each; a refused one does not hold up the others."""
    from bus.message import SYSTEM, Refusal, Unavailable

    if bool(letters) == bool(reaction):
        raise click.UsageError("Name the dead letters by their ids, or all of one reaction with --reaction.")

    async def work(settings: Settings) -> None:
        refused = 0
        async with house_at(settings) as house:
            all_of_it = [] if reaction is None else await house.reads.operations.dead_letters(reaction=reaction, limit=MOST_AT_ONCE)
            for letter in letters or [one.id for one in all_of_it]:
                try:
                    await house.bus.execute(decision(letter), by=SYSTEM)
                    click.echo(f"{letter} {done}.")
                except Unavailable:
                    raise
                except Refusal as refusal:
                    refused += 1
                    click.echo(f"{letter}: {refusal.detail}", err=True)
            if not letters and not all_of_it:
                click.echo(f"{reaction} has no dead letters.", err=True)
            if len(all_of_it) == MOST_AT_ONCE:
                click.echo(f"These were the newest {MOST_AT_ONCE}; there may be more. Run the command again.", err=True)
        if refused:
            raise click.ClickException(f"{refused} of the dead letters were refused.")

    run(work, process="dead")


@main.group()
def audit() -> None:
    """The audit trail, and whether it is what it was."""


@audit.command()
def key() -> None:
    """Print the public key of the checkpoints, in hexadecimal. Note it down where no checkpoint lies."""
    from app.checkpoints import public_key
    from app.sealing import Sealer

    async def work(settings: Settings) -> None:
        click.echo(public_key(Sealer(settings.secret_key)))

    run(work, process="audit")


@audit.command()
@click.option(
    "--checkpoints",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file of checkpoints or a folder of them, more than once if there are several; the relay's folder when left out.",
)
@click.option("--key", "keys", multiple=True, help="A public key of an earlier secret key, whose signatures count too.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def verify(paths: tuple[Path, ...], keys: tuple[str, ...], *, as_json: bool) -> None:
    """Prove that nothing was altered, removed, added in the middle or cut off the end since it was sealed; else exit with status 1."""
    from app.audit import Verdict, Verification, as_text
    from app.checkpoints import public_key
    from db.ledger.evidence import opened

    verdicts: list[Verdict] = []

    async def work(settings: Settings) -> None:
        async with house_at(settings) as house, opened(settings.database_url) as evidence:
            trusted = frozenset({public_key(house.sealer), *keys})
            where = paths or (settings.checkpoint_path,)
            verdicts.append(await Verification(evidence, where, trusted, now=house.clock(), progress=partial(click.echo, err=True)).run())

    run(work, process="audit")
    (verdict,) = verdicts
    click.echo(msgspec.json.encode(verdict) if as_json else as_text(verdict))
    sys.exit(0 if verdict.ok else 1)


if __name__ == "__main__":
    main()
