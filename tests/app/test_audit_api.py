"""The audit trail through the front door, and the cursors that every list has."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.api.cursors import Cursors
from app.sealing import Sealer
from app.settings import Settings
from bus.message import Actor
from domain.accounts.commands import ChangeProfile, ExpireSession
from domain.errors import Invalid
from domain.types import AccountId
from tests.app.client import LOG_IN, ME, PASSWORD, Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.support import HandClock, harness_of, rows, value

AUDIT = "/api/v2/admin/audit"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Tokens live for as long as sessions, so that the clock can be moved by days."""
    return msgspec.structs.replace(settings, access_token_seconds=30 * 86400)


@pytest.fixture
async def admin(door: Door) -> Person:
    return await sign_in_admin(door)


async def renamed(door: Door, person: Person, *names: str) -> None:
    """The person gives themselves these names, one after another."""
    for name in names:
        await rename(door, person, name)
    await harness_of(door.house).settle()


async def rename(door: Door, person: Person, name: str) -> None:
    command = ChangeProfile(account=AccountId(person.id), expected=None, full_name=name)
    await door.house.bus.execute(command, by=Actor(kind="person", id=person.id))


async def search(client: httpx.AsyncClient, admin: Person, **filters: Any) -> tuple[list[dict[str, Any]], str | None]:
    """One page, and the cursor of the next."""
    answer = await client.get(AUDIT, headers=admin.headers, params=filters)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["meta"]["page"]["limit"] == int(filters.get("limit", 20))
    return body["data"], body["meta"]["page"]["next_cursor"]


async def positions(client: httpx.AsyncClient, admin: Person, **filters: Any) -> list[int]:
    """All pages of them."""
    found: list[int] = []
    page, cursor = await search(client, admin, **filters)
    while True:
        found += [entry["position"] for entry in page]
        if cursor is None:
            return found
        page, cursor = await search(client, admin, **filters, cursor=cursor)


async def test_an_entry_says_who_did_what_to_whom_and_when(door: Door, admin: Person, clock: HandClock) -> None:
    ada = await sign_up(door.client)
    headers = {**ada.headers, "If-Match": "*", "X-Request-ID": "her-request"}
    assert (await door.client.patch(ME, headers=headers, json={"full_name": "Ada King"})).status_code == 200
    await harness_of(door.house).settle()
    (newest,), _ = await search(door.client, admin, actor=str(ada.id))
    (row,) = await rows(door.house, "SELECT id, meta->'actor'->>'session' AS session FROM events WHERE name = 'accounts.profile_changed'")
    proved_at = newest["actor"].pop("proved_at")
    assert datetime.fromisoformat(proved_at) == clock()
    assert newest.pop("causation_id")
    assert newest == {
        "position": await value(door.house, "SELECT position FROM feed WHERE name = 'accounts.profile_changed'"),
        "id": str(row["id"]),
        "type": "accounts.profile_changed",
        "version": 1,
        "occurred_at": clock().isoformat().replace("+00:00", "Z"),
        "actor": {"kind": "person", "id": str(ada.id), "session": row["session"], "flags": [], "on_behalf_of": None},
        "subject": str(ada.id),
        "key": str(ada.id),
        "correlation_id": "her-request",
        "data": {"account": str(ada.id), "fields": ["full_name"]},
    }


async def test_the_trail_is_searched_by_actor_subject_type_and_time(door: Door, admin: Person, clock: HandClock) -> None:
    client, began = door.client, clock()
    ada, bob = await sign_up(client), await sign_up(client, email="bob@example.com")
    await harness_of(door.house).settle()
    clock.move(days=3)
    await renamed(door, ada, "Ada King", "Ada Byron")
    clock.move(days=3)
    await renamed(door, bob, "Bob King")
    everything = await positions(client, admin)
    assert everything == list(range(everything[0], 0, -1))
    *_, first_by_ada = by_ada = await positions(client, admin, actor=str(ada.id))
    assert len(by_ada) == 2
    about_ada = await positions(client, admin, subject=str(ada.id))
    assert set(by_ada) < set(about_ada)
    assert set(await positions(client, admin, subject=str(bob.id))).isdisjoint(about_ada)
    changes = await positions(client, admin, type="accounts.profile_changed")
    assert changes == [everything[0], *by_ada]
    assert await positions(client, admin, type="accounts.profile_changed", actor=str(ada.id), subject=str(ada.id)) == by_ada
    assert await positions(client, admin, type="accounts.profile_changed", subject=str(uuid4())) == []

    def at(**later: float) -> str:
        return (began + timedelta(**later)).isoformat()

    assert await positions(client, admin, since=at(days=3)) == [everything[0], *by_ada]
    assert await positions(client, admin, since=at(days=3), until=at(days=6)) == by_ada
    assert await positions(client, admin, until=at(days=3)) == list(range(first_by_ada - 1, 0, -1))
    assert await positions(client, admin, since=at(days=6, seconds=1)) == []
    assert await positions(client, admin, until=at(days=0)) == []
    assert await positions(client, admin, since=at(days=3), until=at(days=6), actor=str(bob.id)) == []


async def test_what_the_system_did_for_somebody_is_found_with_them(door: Door, admin: Person, clock: HandClock) -> None:
    ada = await sign_up(door.client)
    clock.move(days=1)
    operator = await signed_in_again(door, admin)
    clock.move(days=door.house.settings.session_days - 1)
    (session,) = await rows(door.house, "SELECT id FROM sessions WHERE account = $1", ada.id)
    await door.house.bus.execute(ExpireSession(session=session["id"]), by=Actor(kind="system", on_behalf_of=ada.id))
    await harness_of(door.house).settle()
    (entry,), _ = await search(door.client, operator, actor=str(ada.id))
    assert (entry["type"], entry["actor"]["kind"]) == ("accounts.session_expired", "system")
    assert (entry["actor"]["id"], entry["actor"]["on_behalf_of"]) == (None, str(ada.id))


async def signed_in_again(door: Door, person: Person) -> Person:
    answer = await door.client.post(LOG_IN, json={"email": "operator@example.com", "password": PASSWORD})
    return msgspec.structs.replace(person, token=answer.json()["data"]["tokens"]["access_token"])


async def test_pages_stay_where_they_were_while_events_are_added(door: Door, admin: Person) -> None:
    ada = await sign_up(door.client)
    await renamed(door, ada, *(f"Ada {number}" for number in range(7)))
    whole = await positions(door.client, admin, actor=str(ada.id), limit=100)
    first, cursor = await search(door.client, admin, actor=str(ada.id), limit=3)
    await renamed(door, ada, "Ada King", "Ada Byron")
    second, cursor = await search(door.client, admin, actor=str(ada.id), limit=3, cursor=cursor)
    third, cursor = await search(door.client, admin, actor=str(ada.id), limit=3, cursor=cursor)
    assert [entry["position"] for entry in first + second + third] == whole
    assert cursor is None


async def test_only_admins_read_it(door: Door) -> None:
    ada = await sign_up(door.client)
    assert (await door.client.get(AUDIT)).status_code == 401
    assert (await door.client.get(AUDIT, headers=ada.headers)).status_code == 403


async def test_whoever_reads_it_is_in_the_log(door: Door, admin: Person) -> None:
    subject = uuid4()
    with capture_logs() as logs:
        await search(door.client, admin, subject=str(subject))
    (read,) = [line for line in logs if line["event"] == "audit_read"]
    assert (read["reader"], read["subject"], read["found"]) == (f"person:{admin.id}", str(subject), 0)


@pytest.mark.parametrize(
    ("filters", "wrong"),
    [
        ({"actor": "ada", "subject": "7"}, {"/actor": "format", "/subject": "format"}),
        ({"type": "AccountRegistered"}, {"/type": "pattern"}),
        ({"since": "yesterday", "until": "2026-01-31"}, {"/since": "format", "/until": "format"}),
        ({"since": "2026-01-31T12:00:00", "until": "0001-01-01T00:00:00+14:00"}, {"/since": "format", "/until": "format"}),
        ({"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:00:00Z"}, {"/until": "out_of_range"}),
        ({"limit": "0"}, {"/limit": "out_of_range"}),
        ({"limit": "101"}, {"/limit": "out_of_range"}),
        ({"cursor": "7"}, {"/cursor": "invalid"}),
    ],
)
async def test_a_filter_that_is_wrong_is_named(door: Door, admin: Person, filters: dict[str, str], wrong: dict[str, str]) -> None:
    answer = await door.client.get(AUDIT, headers=admin.headers, params=filters)
    assert (answer.status_code, wrong_fields(answer)) == (422, wrong)


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["since", "until"])
async def test_any_time_can_be_asked_for(door: Door, admin: Person, name: str, instant: str) -> None:
    await search(door.client, admin, **{name: instant})


async def test_an_event_that_was_committed_late_is_found_by_its_time(door: Door, admin: Person, clock: HandClock) -> None:
    ada = await sign_up(door.client)
    await renamed(door, ada, *(f"Ada {number}" for number in range(5)))
    clock.move(minutes=-30)
    late = clock()
    await rename(door, ada, "Late")
    clock.move(minutes=30)
    await renamed(door, ada, *(f"Ada {number}" for number in range(5)))
    found, _ = await search(door.client, admin, since=late.isoformat(), until=(late + timedelta(seconds=1)).isoformat())
    assert [entry["occurred_at"] for entry in found] == [late.isoformat().replace("+00:00", "Z")]


CURSORS = Cursors(Sealer("a long random text"))


@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20)))
def test_a_cursor_gives_back_what_it_was_made_of(values: tuple[int, str]) -> None:
    assert CURSORS.read("letters", CURSORS.make("letters", values), tuple[int, str]) == values


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        CURSORS.read("letters", text, int)
    assert [error.field for error in refused.value.errors] == ["/cursor"]


def test_a_cursor_of_another_list_or_key_or_with_another_value_is_refused() -> None:
    cursor = CURSORS.make("letters", 7)
    other, mac = CURSORS.make("letters", 8).split(".")[0], cursor.split(".")[1]
    for cursors, kind, text, shape in [
        (CURSORS, "audit", cursor, int),
        (Cursors(Sealer("another long random text")), "letters", cursor, int),
        (CURSORS, "letters", f"{other}.{mac}", int),
        (CURSORS, "letters", cursor, str),
    ]:
        with pytest.raises(Invalid):
            cursors.read(kind, text, shape)
