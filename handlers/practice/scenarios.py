"""Scenarios: as the files of this build have them, as admins bring them, and as learners write their own."""

import asyncio
from collections.abc import Sequence

import msgspec

from bus.message import Personal
from bus.registry import handles, prepares
from db.reads import Reads
from db.session import Work
from domain.errors import FieldError, Invalid, Stale
from domain.practice.commands import ImportScenarios, ScenariosBrought, SeedScenarios, WriteScenario, Written
from domain.practice.errors import UnknownScenario
from domain.practice.events import ScenariosImported, ScenariosSeeded, ScenarioWritten
from domain.practice.prompt import fixed_tokens
from domain.practice.scenario import Scenario
from domain.practice.seeds import PLACES, Known, Place, ScenarioSeeds, own_problems, row_problems
from handlers.ports import Clock, NewId, ScenarioSource, Vault
from handlers.practice.keeping import FACTS, key_of

REPORTED_MOST = 100
"""An answer stays small, whatever there is wrong in a megabyte."""


class Catalogue(msgspec.Struct, frozen=True):
    """For industries, situations and partners those that the catalogue knows: what they were called by -> slug."""

    known: dict[Place, dict[str, str]]


@prepares(SeedScenarios)
async def load_scenarios(cmd: SeedScenarios, source: ScenarioSource) -> ScenarioSeeds:  # noqa: ARG001 - the files are the build's
    return await asyncio.to_thread(source)


@handles(SeedScenarios)
async def seed_scenarios(cmd: SeedScenarios, work: Work, seeds: ScenarioSeeds, clock: Clock) -> None:  # noqa: ARG001 - the same
    """A file is applied when its content is new, but never over a higher version, be it of a newer build or of an import.

    What this build does not have any more, and seeds brought, is withdrawn; what admins imported under another slug stays.
    """
    now = clock()
    applied = await work.scenarios.applied()
    due = [one for one in seeds.scenarios if _is_due(one, seeds.digests[one.slug], applied.get(one.slug))]
    gone = sorted(applied.keys() - seeds.digests.keys())
    if not due and not gone:
        return
    kept = await work.scenarios.everybodys([one.slug for one in due])
    new = [one for one in due if one.slug not in kept]
    changed = [
        one
        for one in due
        if (before := kept.get(one.slug)) is not None and before.version <= one.version and (before.body != one or not before.available)
    ]
    await work.scenarios.keep([*new, *changed], now=now)
    await work.scenarios.apply(due, seeds.digests, now=now)
    await work.scenarios.withdraw(gone, now=now)
    if new or changed or gone:
        work.record(ScenariosSeeded(added=len(new), changed=len(changed), withdrawn=len(gone)))


def _is_due(scenario: Scenario, digest: bytes, applied: tuple[int, bytes] | None) -> bool:
    return applied is None or (scenario.version >= applied[0] and digest != applied[1])


@prepares(ImportScenarios)
async def read_catalogue(cmd: ImportScenarios, reads: Reads) -> Catalogue:
    return await _catalogue([row.scenario for row in cmd.rows if row.scenario is not None], reads)


@handles(ImportScenarios)
async def import_scenarios(cmd: ImportScenarios, work: Work, catalogue: Catalogue, clock: Clock) -> ScenariosBrought:
    known: Known = {place: set(found.values()) for place, found in catalogue.known.items()}
    sent = [row.scenario for row in cmd.rows if row.scenario is not None]
    kept = await work.scenarios.everybodys([one.slug for one in sent])
    errors: list[FieldError] = []
    seen: set[str] = set()
    for row in cmd.rows:
        slug = None if row.scenario is None else row.scenario.slug
        before = None if slug is None else kept.get(slug)
        version = None if before is None or before.body == row.scenario else before.version
        errors += row_problems(row, known, version=version, first=slug not in seen)
        seen |= set() if slug is None else {slug}
    if errors:
        raise Invalid(errors=tuple(errors[:REPORTED_MOST]))
    new = [one for one in sent if one.slug not in kept]
    changed = [one for one in sent if (before := kept.get(one.slug)) is not None and (before.body != one or not before.available)]
    await work.scenarios.keep([*new, *changed], now=clock())
    if new or changed:
        work.record(ScenariosImported(added=len(new), changed=len(changed)))
    return ScenariosBrought(added=len(new), changed=len(changed), unchanged=len(sent) - len(new) - len(changed))


@prepares(WriteScenario)
async def read_places(cmd: WriteScenario, reads: Reads) -> Catalogue:
    return await _catalogue([cmd.written], reads)


@handles(WriteScenario)
async def write_scenario(cmd: WriteScenario, work: Work, catalogue: Catalogue, vault: Vault, clock: Clock, new_id: NewId) -> Written:
    """Sealed under the key of its owner, but for where it belongs. Nothing happens when it says the same already."""
    now = clock()
    before = None if cmd.scenario is None else await work.scenarios.find_own(cmd.scenario, cmd.account)
    if cmd.scenario is not None and before is None:
        raise UnknownScenario
    if before is not None and cmd.expected is not None and before.version not in cmd.expected:
        raise Stale
    identity = new_id() if before is None else before.id
    written = _placed(cmd.written, catalogue, slug=f"own_{identity.hex}", version=1 if before is None else before.version)
    key = await key_of(work, vault, cmd.account, now=now)
    if before is not None:
        if before.sealed is not None and msgspec.json.decode(key.open(Personal(before.sealed)), type=Scenario) == written:
            return Written(scenario=identity, version=before.version, created_at=before.created_at, updated_at=before.updated_at)
        written = msgspec.structs.replace(written, version=before.version + 1)
    if fixed_tokens(written) > FACTS:
        raise Invalid("The scenario is too long: a language model is told all of it with every answer. Shorten its texts.")
    sealed = key.seal(msgspec.json.encode(written).decode()).sealed
    await work.scenarios.keep_own(identity, cmd.account, written, sealed=sealed, now=now)
    work.record(ScenarioWritten(scenario=identity, account=cmd.account, version=written.version))
    return Written(scenario=identity, version=written.version, created_at=now if before is None else before.created_at, updated_at=now)


def _placed(written: Scenario, catalogue: Catalogue, *, slug: str, version: int) -> Scenario:
    """With the slugs of the catalogue, and ids of ours. Raises `Invalid` naming everything that is wrong."""
    errors: list[FieldError] = []
    slugs: dict[str, str | None] = {}
    for place in PLACES:
        ref: str | None = getattr(written, place)
        slugs[place] = None if ref is None else catalogue.known[place].get(ref)
        if ref is not None and slugs[place] is None:
            errors.append(FieldError(f"/{place}", "unknown", "Send the id or the slug of one that is in the catalogue."))
    errors += own_problems((written.cefr.lowest, written.cefr.highest), [(one.id, one.any) for one in written.success_criteria])
    if errors:
        raise Invalid(errors=tuple(errors))
    # What was met is told in the clear, and a learner may have put anything into an id.
    criteria = tuple(msgspec.structs.replace(one, id=f"c{number}") for number, one in enumerate(written.success_criteria, 1))
    return msgspec.structs.replace(written, slug=slug, version=version, success_criteria=criteria, script=None, **slugs)


async def _catalogue(scenarios: Sequence[Scenario], reads: Reads) -> Catalogue:
    known: dict[Place, dict[str, str]] = {}
    for place in PLACES:
        refs = {ref for one in scenarios if (ref := getattr(one, place)) is not None}
        known[place] = {ref: found.slug for ref, found in (await reads.catalogue.resolve(place, refs)).items()}
    return Catalogue(known)
