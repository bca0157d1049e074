"""Admins at the catalogue: one entry at a time, and files of them."""

from collections.abc import Sequence

from msgspec import UNSET

from bus.message import Event
from bus.registry import handles
from db.session import Work
from domain.catalogue import editing
from domain.catalogue.commands import (
    AddEntry,
    AddRole,
    ChangeEntry,
    ChangeRole,
    EntryDetails,
    EntryRow,
    Imported,
    ImportEntries,
    ImportRoles,
    RetireEntry,
    RetireRole,
    RoleDetails,
    RoleRow,
    RowError,
)
from domain.catalogue.editing import Known
from domain.catalogue.errors import SlugTaken
from domain.catalogue.identity import entry_id
from domain.errors import TryAgain
from handlers.ports import Clock


@handles(AddEntry)
async def add_entry(cmd: AddEntry, work: Work, clock: Clock) -> EntryDetails:
    taken = await work.entries.find(id=entry_id(cmd.kind, cmd.slug)) is not None
    last = await work.entries.next_position(cmd.kind)
    entry, events = editing.add_entry(cmd.kind, cmd.slug, cmd.values, taken=taken, last=last, now=clock())
    work.entries.add(entry)
    work.record(*events)
    await work.flush()
    return editing.entry_details(entry)


@handles(ChangeEntry)
async def change_entry(cmd: ChangeEntry, work: Work, clock: Clock) -> EntryDetails:
    entry = await work.entries.named(cmd.kind, cmd.entry)
    work.record(*editing.change_entry(entry, cmd.values, expected=cmd.expected, now=clock()))
    await work.flush()
    return editing.entry_details(entry)


@handles(RetireEntry)
async def retire_entry(cmd: RetireEntry, work: Work, clock: Clock) -> None:
    entry = await work.entries.named(cmd.kind, cmd.entry)
    editing.check_version(entry, cmd.expected)
    work.record(*entry.retire(now=clock()))


@handles(AddRole)
async def add_role(cmd: AddRole, work: Work, clock: Clock) -> RoleDetails:
    known = await _known(work)
    taken = await work.roles.find(id=entry_id("role", cmd.slug)) is not None
    last = await work.roles.next_position()
    role, events = editing.add_role(cmd.slug, cmd.values, known=known, taken=taken, last=last, now=clock())
    work.roles.add(role)
    work.record(*events)
    await work.flush()
    return editing.role_details(role, known)


@handles(ChangeRole)
async def change_role(cmd: ChangeRole, work: Work, clock: Clock) -> RoleDetails:
    role, known = await work.roles.named(cmd.role), await _known(work)
    work.record(*editing.change_role(role, cmd.values, known=known, expected=cmd.expected, now=clock()))
    await work.flush()
    return editing.role_details(role, known)


@handles(RetireRole)
async def retire_role(cmd: RetireRole, work: Work, clock: Clock) -> None:
    role = await work.roles.named(cmd.role)
    editing.check_version(role, cmd.expected)
    work.record(*role.retire(now=clock()))


@handles(ImportEntries)
async def import_entries(cmd: ImportEntries, work: Work, clock: Clock) -> Imported:
    now, report = clock(), _Report()
    found = {entry.slug: entry for entry in await work.entries.of(cmd.kind)}
    last = await work.entries.next_position(cmd.kind)
    good = [
        row
        for row in cmd.rows
        if report.accepts(editing.judge_entry_row(cmd.kind, row, first=report.is_first(row), new=row.slug not in found))
    ]
    report.settle(partial=cmd.partial)
    for row in good:
        values = editing.given(row.values)
        if (entry := found.get(str(row.slug))) is not None:
            report.count(work, editing.apply(entry, editing.kept(values), now=now))
        else:
            said = {"position": last, **editing.kept(editing.new_entry_values(cmd.kind, values))}
            entry, events = editing.made_entry(cmd.kind, str(row.slug), said, now=now)
            work.entries.add(entry)
            report.count(work, events, added=True)
            last += 1
    await _flushed(work)
    return report.result()


@handles(ImportRoles)
async def import_roles(cmd: ImportRoles, work: Work, clock: Clock) -> Imported:
    now, report, known = clock(), _Report(), await _known(work)
    found = {role.slug: role for role in await work.roles.with_slugs()}
    last = await work.roles.next_position()
    good = [
        row for row in cmd.rows if report.accepts(editing.judge_role_row(row, known, first=report.is_first(row), new=row.slug not in found))
    ]
    report.settle(partial=cmd.partial)
    for row in good:
        values = editing.kept_role(known.resolved(editing.given(row.values)), known)
        if (role := found.get(str(row.slug))) is not None:
            report.count(work, editing.apply(role, values, now=now))
        else:
            role, events = editing.made_role(str(row.slug), {"position": last, **values}, now=now)
            work.roles.add(role)
            report.count(work, events, added=True)
            last += 1
    await _flushed(work)
    return report.result()


class _Report:
    """What has become of the rows so far."""

    def __init__(self) -> None:
        self._slugs: set[object] = set()
        self._errors: list[RowError] = []
        self._added = self._changed = self._unchanged = self._refused = 0

    def is_first(self, row: EntryRow | RoleRow) -> bool:
        """Whether no row above has its slug."""
        first = row.slug is UNSET or row.slug not in self._slugs
        self._slugs.add(row.slug)
        return first

    def accepts(self, errors: Sequence[RowError]) -> bool:
        self._errors += errors
        self._refused += bool(errors)
        return not errors

    def settle(self, *, partial: bool) -> None:
        """Raises `Invalid` when a row is wrong and the good ones are not to be imported without it."""
        if not partial:
            editing.refuse_rows(self._errors)

    def count(self, work: Work, events: Sequence[Event], *, added: bool = False) -> None:
        work.record(*events)
        self._added += added
        self._changed += bool(events) and not added
        self._unchanged += not events

    def result(self) -> Imported:
        return Imported(
            added=self._added,
            changed=self._changed,
            unchanged=self._unchanged,
            refused=self._refused,
            errors=tuple(self._errors[: editing.REPORTED_MOST]),
        )


async def _flushed(work: Work) -> None:
    """Another import may have added the same entries meanwhile; they are there the next time."""
    try:
        await work.flush()
    except SlugTaken as error:
        raise TryAgain from error


async def _known(work: Work) -> Known:
    return Known(industries=await work.entries.ids("industry"), levels=await work.entries.ids("hierarchy_level"))
