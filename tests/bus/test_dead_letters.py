"""What was given up: tried again with all its tries, or dropped; both are facts, and what is parked behind it follows."""

import json
from uuid import UUID, uuid4

import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS, SYSTEM, Actor, Command, Secret
from bus.work import Dead
from domain.errors import Denied, Unproven
from domain.operations.commands import DropDeadLetter, ReplayDeadLetter
from domain.operations.errors import NotDead, Superseded, UnknownDeadLetter
from tests.bus.sample import Follow, Script, Whisper
from tests.bus.support import PERSON, note, seen
from tests.support import HandClock, rows, value

ADMIN = Actor(kind="person", id=UUID(int=9), flags=("admin",))
COMMAND = "bus.count"


async def dead_letter(house: House) -> UUID:
    return await value(house, "SELECT id FROM deliveries WHERE state = 'dead'")


async def behind_a_dead_one(harness: Harness, house: House, script: Script) -> UUID:
    """a1 is dead, a2 and a3 are parked behind it."""
    script.failures["follow"] = [Dead("never")]
    await note(house, "a1", "a2", "a3", topic="a")
    await harness.settle()
    assert await seen(house, "follow") == []
    return await dead_letter(house)


async def dead_command(harness: Harness, house: House, clock: HandClock, script: Script) -> UUID:
    """`Count(text="a")`, sent under the key k, has spent its tries."""
    script.failures["count"] = [ZeroDivisionError("a mistake") for _ in range(house.settings.reaction_tries)]
    await harness.execute(Follow(text="a", key="k"), by=PERSON)
    for _ in range(house.settings.reaction_tries):
        await harness.settle()
        clock.move(seconds=house.settings.backoff_most)
    return await dead_letter(house)


async def test_a_replayed_entry_is_done_and_what_was_parked_behind_it_follows_in_order(
    harness: Harness, house: House, script: Script
) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert await seen(house, "follow") == ["a1", "a2", "a3"]
    assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_a_dropped_entry_is_never_done_and_what_was_parked_behind_it_goes_on(harness: Harness, house: House, script: Script) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    await harness.execute(DropDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert await seen(house, "follow") == ["a2", "a3"]
    assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_a_dropped_entry_stays_dropped_when_redis_brings_it_again(harness: Harness, house: House, script: Script) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    await harness.execute(DropDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    redis = await house.streams.redis()
    for group in ("sample.follow", "sample.keep"):
        await redis.xgroup_setid("events.sample", group, "0")
    await harness.settle()
    assert await seen(house, "follow") == ["a2", "a3"]
    assert script.ran("follow") == ["a1", "a2", "a3"]


async def test_a_replayed_command_is_fenced_against_every_handover_before_it(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    letter = await dead_command(harness, house, clock, script)
    before = await value(house, "SELECT fence FROM deliveries")
    assert before == house.settings.reaction_tries
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    leader = await harness.relay.lead()
    assert leader is not None
    await harness.relay.hand_over(leader)
    assert harness.jobs.waiting == [(letter, before + 1)]


async def test_a_replayed_entry_has_all_its_tries_and_keeps_its_id_when_it_dies_again(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    script.failures["follow"] = [ZeroDivisionError("a mistake") for _ in range(house.settings.reaction_tries)]
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    for _ in range(house.settings.reaction_tries):
        await harness.settle()
        clock.move(seconds=house.settings.backoff_most)
    [dead] = await rows(house, "SELECT id, tries, error FROM deliveries WHERE state = 'dead'")
    assert dead == {"id": letter, "tries": house.settings.reaction_tries, "error": "ZeroDivisionError: a mistake"}
    assert await seen(house, "follow") == []


async def test_a_replayed_command_runs_with_all_its_tries(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    letter = await dead_command(harness, house, clock, script)
    script.failures["count"] = [ZeroDivisionError("once more")]
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert await value(house, "SELECT tries FROM outbox WHERE kind = 'command'") == 1
    clock.move(seconds=house.settings.backoff_first)
    await harness.settle()
    assert [row["text"] for row in await rows(house, "SELECT text FROM sample_notes")] == ["a"]
    assert await value(house, "SELECT count(*) FROM outbox") == 0
    assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_a_command_whose_key_belongs_to_a_newer_one_is_not_replayed(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    letter = await dead_command(harness, house, clock, script)
    await harness.execute(Follow(text="newer", key="k"), by=PERSON)
    with pytest.raises(Superseded):
        await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    assert await dead_letter(house) == letter
    await harness.settle()
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert [row["text"] for row in await rows(house, "SELECT text FROM sample_notes ORDER BY n")] == ["newer", "a"]


async def test_a_dropped_command_never_runs(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    letter = await dead_command(harness, house, clock, script)
    await harness.execute(DropDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert await value(house, "SELECT count(*) FROM sample_notes") == 0
    assert await value(house, "SELECT count(*) FROM deliveries") == 0


async def test_both_are_facts_with_whoever_decided_them(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    entry = await behind_a_dead_one(harness, house, script)
    first = await value(house, "SELECT id FROM events ORDER BY at, id LIMIT 1")
    await harness.execute(ReplayDeadLetter(id=entry), by=ADMIN)
    await harness.settle()
    command = await dead_command(harness, house, clock, script)
    await harness.execute(DropDeadLetter(id=command), by=ADMIN)
    facts = await rows(
        house, "SELECT name, data::text, meta->'actor'->>'id' AS actor FROM events WHERE name LIKE 'operations.%' ORDER BY at, id"
    )
    assert [(fact["name"], fact["actor"]) for fact in facts] == [
        ("operations.dead_letter_replayed", str(ADMIN.id)),
        ("operations.dead_letter_dropped", str(ADMIN.id)),
    ]
    first_letter = {"letter": str(entry), "message": str(first), "name": "sample.noted", "reaction": "sample.follow"}
    second_letter = {"letter": str(command), "message": str(command), "name": COMMAND, "reaction": COMMAND, "tries": 8}
    assert [json.loads(fact["data"]) for fact in facts] == [first_letter, second_letter]


@pytest.mark.parametrize("decision", [ReplayDeadLetter, DropDeadLetter])
async def test_what_is_still_being_tried_is_not_decided(
    harness: Harness, house: House, script: Script, decision: type[Command[None]]
) -> None:
    script.failures["follow"] = [ZeroDivisionError("a mistake")]
    await note(house, "a1", "a2", topic="a")
    await harness.settle()
    for row in await rows(house, "SELECT id FROM deliveries"):
        with pytest.raises(NotDead):
            await harness.execute(decision(id=row["id"]), by=ADMIN)  # pyright: ignore[reportCallIssue] - both have it
    assert await value(house, "SELECT count(*) FROM deliveries") == 2


@pytest.mark.parametrize("decision", [ReplayDeadLetter, DropDeadLetter])
async def test_what_is_not_there_is_said_to_be_missing(harness: Harness, decision: type[Command[None]]) -> None:
    with pytest.raises(UnknownDeadLetter):
        await harness.execute(decision(id=uuid4()), by=ADMIN)  # pyright: ignore[reportCallIssue] - both have it


@pytest.mark.parametrize(("who", "refusal"), [(PERSON, Denied), (ANONYMOUS, Unproven)], ids=["a person", "nobody"])
@pytest.mark.parametrize("decision", [ReplayDeadLetter, DropDeadLetter])
async def test_only_admins_decide(
    harness: Harness, house: House, script: Script, decision: type[Command[None]], who: Actor, refusal: type[Exception]
) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    with pytest.raises(refusal):
        await harness.execute(decision(id=letter), by=who)  # pyright: ignore[reportCallIssue] - both have it
    assert await dead_letter(house) == letter
    await harness.execute(decision(id=letter), by=SYSTEM)  # pyright: ignore[reportCallIssue] - both have it


async def test_the_list_has_the_newest_first_and_goes_on_where_it_ended(
    harness: Harness, house: House, clock: HandClock, script: Script
) -> None:
    script.failures["keep"] = [Dead("never") for _ in range(5)]
    for text in ("a", "b", "c", "d", "e"):
        await note(house, text)
        await harness.settle()
        clock.move(seconds=text == "b")
    read = house.reads.operations.dead_letters
    everything = await read(limit=10)
    assert [letter.at for letter in everything] == sorted((letter.at for letter in everything), reverse=True)
    pages = [await read(limit=2)]
    while len(pages[-1]) == 2:
        pages.append(await read(limit=2, before=(pages[-1][-1].at, pages[-1][-1].id)))
    assert [letter.id for page in pages for letter in page] == [letter.id for letter in everything]
    assert len({letter.id for letter in everything}) == 5
    assert await read(reaction="sample.follow", limit=10) == []


async def test_one_is_shown_with_its_envelope_and_what_is_parked_behind_it(harness: Harness, house: House, script: Script) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    shown = await house.reads.operations.dead_letter(letter)
    assert (shown.reaction, shown.name, shown.key, shown.tries, shown.error, shown.parked) == (
        "sample.follow",
        "sample.noted",
        "a",
        1,
        "never",
        2,
    )
    assert (shown.envelope.id, shown.envelope.position, b'"a1"' in bytes(shown.envelope.data)) == (shown.message, 1, True)
    assert [one.position for one in shown.behind] == [2, 3]
    with pytest.raises(UnknownDeadLetter):
        await house.reads.operations.dead_letter(shown.behind[0].id)


async def test_only_what_came_later_is_behind_it(harness: Harness, house: House, script: Script) -> None:
    letter = await behind_a_dead_one(harness, house, script)
    await value(house, "UPDATE deliveries SET position = 0 WHERE position = 2 RETURNING position")
    shown = await house.reads.operations.dead_letter(letter)
    assert (shown.parked, [one.position for one in shown.behind]) == (1, [3])


async def test_a_secret_stays_sealed(harness: Harness, house: House, clock: HandClock, script: Script) -> None:
    script.failures["listen"] = [ZeroDivisionError("a mistake") for _ in range(house.settings.reaction_tries)]
    await harness.execute(Whisper(secret=Secret("swordfish")), by=PERSON)
    for _ in range(house.settings.reaction_tries):
        await harness.settle()
        clock.move(seconds=house.settings.backoff_most)
    letter = await dead_letter(house)
    shown = await house.reads.operations.dead_letter(letter)
    assert b"swordfish" not in bytes(shown.envelope.data)
    await harness.execute(ReplayDeadLetter(id=letter), by=ADMIN)
    await harness.settle()
    assert script.ran("listen")[-1] == "swordfish"
    assert await value(house, "SELECT count(*) FROM events WHERE name = 'archive.filed'") == 1
