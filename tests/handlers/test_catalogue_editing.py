"""Who may edit the catalogue, and what is recorded of it, on the bus."""

from typing import Any

import msgspec
import pytest

from app.bootstrap import House
from bus.message import ANONYMOUS, SYSTEM, Actor, Command, Refusal
from domain.catalogue.commands import (
    AddEntry,
    AddRole,
    ChangeEntry,
    ChangeRole,
    EntryRow,
    EntryValues,
    ImportEntries,
    ImportRoles,
    RetireEntry,
    RetireRole,
    RoleRow,
    RoleValues,
)
from domain.catalogue.errors import SlugTaken, UnknownEntry
from domain.catalogue.identity import Kind, entry_id
from domain.errors import Denied, Invalid, Stale, Unproven
from tests.support import HandClock, rows, value

TITLE = "Confidential Yacht Broker"
NAME = "Confidential Auditors"
ROLE = RoleValues(
    title=TITLE,
    description="Confidential: finds charterers for the owners of yachts.",
    industry="shipping_logistics",
    hierarchy_level="associate",
    keywords=("confidential", "charter", "broker", "itinerary", "crew"),
)
ENTRY = EntryValues(name=NAME, labels={"fr": {"name": NAME}})
COMMANDS: list[Command[Any]] = [
    AddEntry(kind="partner", slug="auditors", values=ENTRY),
    ChangeEntry(kind="partner", entry="auditors", expected=None, values=EntryValues(description=NAME)),
    ImportEntries(kind="partner", rows=(EntryRow(number=1, slug="press", values=ENTRY),)),
    RetireEntry(kind="partner", entry="auditors", expected=None),
    AddRole(slug="broker", values=ROLE),
    ChangeRole(role="broker", expected=None, values=RoleValues(aliases=(TITLE,))),
    ImportRoles(rows=(RoleRow(number=1, slug="mate", values=ROLE),)),
    RetireRole(role="broker", expected=None),
]
EDITED: tuple[tuple[Kind, tuple[str, ...]], ...] = (("partner", ("auditors", "press")), ("role", ("broker", "mate")))
EDITS = "SELECT count(*) FROM events WHERE name LIKE 'catalogue.entry_%'"


async def test_only_admins_and_the_command_line_may_edit(catalogued: House) -> None:
    learner = Actor(kind="person", id=catalogued.new_id())
    for command in COMMANDS:
        with pytest.raises(Unproven):
            await catalogued.bus.execute(command, by=ANONYMOUS)
        with pytest.raises(Denied):
            await catalogued.bus.execute(command, by=learner)
    assert await value(catalogued, EDITS) == 0
    admin = Actor(kind="person", id=catalogued.new_id(), flags=("admin",))
    for command in COMMANDS:
        await catalogued.bus.execute(command, by=admin)
    assert await value(catalogued, EDITS) == len(COMMANDS)
    assert await value(catalogued, f"{EDITS} AND meta->'actor'->>'id' = $1", str(admin.id)) == len(COMMANDS)


async def test_events_say_what_was_edited_and_nothing_that_was_written(catalogued: House) -> None:
    for command in COMMANDS:
        await catalogued.bus.execute(command, by=SYSTEM)
    found = await rows(catalogued, "SELECT name, data::text AS data, key FROM events WHERE name LIKE 'catalogue.entry_%' ORDER BY id")
    assert len(found) == len(COMMANDS)
    assert not [row for row in found if "Confidential" in row["data"] or "confidential" in row["data"]]
    partners, roles = [{str(entry_id(kind, slug)) for slug in slugs} for kind, slugs in EDITED]
    assert {row["key"] for row in found} == partners | roles


async def test_the_rules_hold_for_whoever_sends_a_command(catalogued: House) -> None:
    """The front door decodes strictly; a command of ours may come from elsewhere."""
    nameless = AddEntry(kind="partner", slug="No slug", values=EntryValues(position=-1))
    with pytest.raises(Invalid) as refused:
        await catalogued.bus.execute(nameless, by=SYSTEM)
    assert {error.field for error in refused.value.errors} == {"/slug", "/name", "/position"}
    with pytest.raises(Invalid) as refused:
        await catalogued.bus.execute(AddRole(slug="role", values=RoleValues()), by=SYSTEM)
    assert {error.field for error in refused.value.errors} == {"/title", "/description", "/industry", "/hierarchy_level", "/keywords"}
    unread = (RoleRow(number=1, slug=msgspec.UNSET, values=RoleValues()), RoleRow(number=2, slug="role", values=ROLE))
    with pytest.raises(Invalid) as refused:
        await catalogued.bus.execute(ImportRoles(rows=unread), by=SYSTEM)
    assert "/rows/1/slug" in {error.field for error in refused.value.errors}
    assert (await catalogued.bus.execute(ImportRoles(rows=unread, partial=True), by=SYSTEM)).refused == 1
    refusals: list[tuple[Command[Any], type[Refusal]]] = [
        (AddEntry(kind="partner", slug="clients", values=ENTRY), SlugTaken),
        (ChangeEntry(kind="situation", entry="clients", expected=None, values=ENTRY), UnknownEntry),
        (RetireRole(role="nobody", expected=None), UnknownEntry),
        (RetireEntry(kind="partner", entry="clients", expected=(7,)), Stale),
    ]
    for wrong, refusal in refusals:
        with pytest.raises(refusal):
            await catalogued.bus.execute(wrong, by=SYSTEM)


async def test_a_wrong_value_is_said_before_a_stale_version(catalogued: House) -> None:
    command = ChangeEntry(kind="partner", entry="clients", expected=(7,), values=EntryValues(name=""))
    with pytest.raises(Invalid):
        await catalogued.bus.execute(command, by=SYSTEM)
    with pytest.raises(Stale):
        await catalogued.bus.execute(msgspec.structs.replace(command, values=EntryValues()), by=SYSTEM)


async def test_every_stored_change_is_one_version_and_one_time(catalogued: House, clock: HandClock) -> None:
    made = await catalogued.bus.execute(AddEntry(kind="partner", slug="auditors", values=ENTRY), by=SYSTEM)
    clock.move(hours=1)
    both = EntryValues(name="Auditors ", available=False)
    changed = await catalogued.bus.execute(ChangeEntry(kind="partner", entry="auditors", expected=(made.version,), values=both), by=SYSTEM)
    assert (changed.version, changed.updated_at, changed.created_at) == (made.version + 1, clock.now, made.created_at)
    assert (changed.name, changed.available) == ("Auditors", False)
    clock.move(hours=1)
    again = await catalogued.bus.execute(ChangeEntry(kind="partner", entry="auditors", expected=None, values=both), by=SYSTEM)
    assert again == changed
