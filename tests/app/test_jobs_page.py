"""SAQ's page: who sees it, how a browser gets in and out, that it works offline, and that it only shows."""

import re
from http.cookies import Morsel, SimpleCookie
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from saq import Job
from saq.queue.redis import RedisQueue

from app.bootstrap import Ports
from app.embedded import free_port
from app.jobs_page import COOKIE, FILES, PATH
from app.settings import Settings
from tasks.queue import NAME, SaqJobs, close_queue, make_queue
from tests.app import client as clients
from tests.app.client import ME, Door, Person, sign_in_admin, sign_up
from tests.support import HandClock, ScriptedMailer, value

TICKETS = "/api/v2/auth/tickets"
PAGES = [PATH, f"{PATH}/", f"{PATH}/queues/{NAME}", f"{PATH}/queues/{NAME}/jobs/nothing"]
DATA = [f"{PATH}/api/queues", f"{PATH}/api/queues/{NAME}", f"{PATH}/api/queues/{NAME}/jobs/nothing"]
STATIC = [f"{PATH}/static/{name}" for name in sorted(FILES)]


@pytest.fixture
async def operator(door: Door) -> Person:
    return await sign_in_admin(door)


async def ticket_of(door: Door, person: Person, purpose: str = "admin_jobs") -> str:
    answer = await door.client.post(TICKETS, json={"purpose": purpose}, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["ticket"]


async def open_page(door: Door, ticket: str, **headers: str) -> httpx.Response:
    return await door.client.post(f"{PATH}/session", data={"ticket": ticket}, headers=headers)


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE]


def refused(answer: httpx.Response, status: int) -> str:
    """The text of a page that refuses."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    assert "set-cookie" not in answer.headers
    return answer.text


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_cookie_every_page_is_the_form_for_a_ticket(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    text = refused(answer, 401)
    assert f'action="{PATH}/session"' in text
    assert 'name="ticket"' in text
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [*DATA, *STATIC, f"{PATH}/static/nothing"])
async def test_data_and_files_are_guarded_too(door: Door, path: str) -> None:
    assert problem(await door.client.get(path)) == (401, "auth.required")
    ada = await sign_up(door.client)
    assert problem(await door.client.get(path, headers=ada.headers)) == (403, "auth.denied")
    assert (await door.client.head(path)).status_code == 405


async def test_a_ticket_becomes_a_cookie_that_opens_page_data_and_files(door: Door, operator: Person) -> None:
    answer = await open_page(door, await ticket_of(door, operator))
    assert (answer.status_code, answer.headers["location"], answer.text) == (303, f"{PATH}/", "")
    for path in [*PAGES, *DATA[:2], *STATIC]:
        assert (await door.client.get(path)).status_code == 200, path


async def test_the_cookie_is_for_this_page_alone_and_no_script_reads_it(door: Door, operator: Person) -> None:
    cookie = cookie_of(await open_page(door, await ticket_of(door, operator)))
    assert (cookie["path"], cookie["max-age"], cookie["samesite"].lower()) == (PATH, "900", "strict")
    assert cookie["httponly"]
    assert not cookie["domain"]
    assert (await door.client.get(ME, headers={"Authorization": f"Bearer {cookie.value}"})).status_code == 401


@pytest.mark.parametrize(("public_url", "secure"), [("https://fluentpro.example", True), ("http://127.0.0.1:8000", False)])
async def test_the_cookie_is_sent_over_https_only_where_people_use_that(
    settings: Settings, clock: HandClock, mailer: ScriptedMailer, public_url: str, *, secure: bool
) -> None:
    async with clients.door(msgspec.structs.replace(settings, public_url=public_url), Ports(clock=clock, mailer=mailer)) as door:
        answer = await open_page(door, await ticket_of(door, await sign_in_admin(door)))
    assert bool(cookie_of(answer)["secure"]) is secure


async def test_an_access_token_opens_it_without_a_cookie(door: Door, operator: Person) -> None:
    for path in [PATH, DATA[0], STATIC[0]]:
        assert (await door.client.get(path, headers=operator.headers)).status_code == 200
    ada = await sign_up(door.client)
    assert "You may not do this." in refused(await door.client.get(PATH, headers=ada.headers), 403)


async def test_an_access_token_is_no_cookie(door: Door, operator: Person) -> None:
    door.client.cookies.set(COOKIE, operator.token)
    assert "not valid" in refused(await door.client.get(PATH), 401)


async def test_the_cookie_ends_after_a_quarter_of_an_hour(door: Door, operator: Person, clock: HandClock) -> None:
    door.client.cookies.set(COOKIE, cookie_of(await open_page(door, await ticket_of(door, operator))).value)
    clock.move(seconds=899)
    assert (await door.client.get(PATH)).status_code == 200
    clock.move(seconds=1)
    assert "has expired" in refused(await door.client.get(PATH), 401)
    assert problem(await door.client.get(DATA[0])) == (401, "auth.token_expired")


async def test_who_is_no_admin_any_more_is_out_at_once(door: Door, operator: Person) -> None:
    await open_page(door, await ticket_of(door, operator))
    assert (await door.client.get(PATH)).status_code == 200
    await value(door.house, "UPDATE accounts SET admin = false RETURNING id")
    refused(await door.client.get(PATH), 403)
    assert problem(await door.client.get(STATIC[0])) == (403, "auth.denied")


async def test_an_ended_session_is_out_at_once(door: Door, operator: Person) -> None:
    ticket = await ticket_of(door, operator)
    await open_page(door, await ticket_of(door, operator))
    assert (await door.client.get(PATH)).status_code == 200
    await value(door.house, "UPDATE sessions SET ended_at = now() RETURNING id")
    assert "This session has ended" in refused(await door.client.get(PATH), 401)
    assert "This session has ended" in refused(await open_page(door, ticket), 401)


@pytest.mark.parametrize("body", [b"", b"ticket=", b"ticket=guessed", b"other=1", b"ticket=%ff%00", b"\xff\xfe", b'{"ticket": "x"}'])
async def test_what_is_no_ticket_opens_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert "Ask for a new one" in refused(await client.post(f"{PATH}/session", content=body, headers=headers), 401)


async def test_a_ticket_opens_the_page_once_and_only_one_that_is_for_it(door: Door, operator: Person) -> None:
    ticket = await ticket_of(door, operator)
    assert (await open_page(door, f" {ticket}\n")).status_code == 303
    refused(await open_page(door, ticket), 401)
    refused(await open_page(door, await ticket_of(door, operator, "websocket")), 401)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://door.evil.example"},
        {"Origin": "http://door", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_can_neither_sign_in_nor_out(door: Door, operator: Person, headers: dict[str, str]) -> None:
    ticket = await ticket_of(door, operator)
    assert "another site" in refused(await open_page(door, ticket, **headers), 403)
    refused(await door.client.post(f"{PATH}/session/end", headers=headers), 403)
    assert (await open_page(door, ticket)).status_code == 303, "the ticket was spent by somebody else"


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://door"}, {"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
async def test_the_page_itself_can(door: Door, operator: Person, headers: dict[str, str]) -> None:
    assert (await open_page(door, await ticket_of(door, operator), **headers)).status_code == 303


async def test_its_forms_have_an_origin(door: Door, operator: Person) -> None:
    """With the policy of every other answer, `no-referrer`, a browser would send `Origin: null`."""
    signed_out = await door.client.post(f"{PATH}/session/end")
    for answer in (await door.client.get(PATH), await door.client.get(PATH, headers=operator.headers), signed_out):
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "form-action 'self'" in answer.headers["content-security-policy"]


async def test_signing_out_takes_the_cookie_away(door: Door, operator: Person) -> None:
    await open_page(door, await ticket_of(door, operator))
    answer = await door.client.post(f"{PATH}/session/end")
    assert (answer.status_code, cookie_of(answer).value, cookie_of(answer)["max-age"]) == (200, "", "0")
    assert "You have signed out." in answer.text
    refused(await door.client.get(PATH), 401)


async def test_the_page_loads_only_what_we_serve(door: Door, operator: Person) -> None:
    answer = await door.client.get(PATH, headers=operator.headers)
    assert "//" not in answer.text, "the page names another host"
    loaded = [url for url in re.findall(r'(?:src|href)="([^"]+)"', answer.text) if url != "data:,"]
    assert sorted(loaded) == STATIC
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
    for url in loaded:
        file = await door.client.get(url, headers=operator.headers)
        assert file.headers["content-type"] == types[url.rpartition(".")[2]]
        assert not re.search(r"@import|url\((?!\"?data:)|import\(", file.text)


async def test_the_browser_may_ask_nobody_else_and_run_only_what_the_page_brings(door: Door, operator: Person) -> None:
    answer = await door.client.get(PATH, headers=operator.headers)
    directives = {name: set(sources) for name, *sources in (part.split() for part in answer.headers["content-security-policy"].split(";"))}
    assert directives.pop("default-src") == {"'none'"}
    hashes = {source for name in ("script-src", "style-src") for source in directives[name] if source.startswith("'sha256-")}
    assert len(hashes) == len(re.findall(r"<(?:script|style)>", answer.text)) == 3
    assert set().union(*directives.values()) - hashes <= {"'self'", "'none'", "data:"}


async def test_saqs_markup_has_the_places_for_what_we_add(door: Door, operator: Person) -> None:
    text = (await door.client.get(PATH, headers=operator.headers)).text
    assert text.count("<title>") == text.count("<style>") == 1
    assert text.index('<div id="app">') < text.index(f'action="{PATH}/session/end"')
    assert text.index("const root_path") < text.index("window.fetch") < text.index("app.js")
    script = FILES["app.js"].decode()
    assert 'h("grid", buttons)' in script, "the buttons are hidden by this name"
    assert script.count("fetch(") == 2
    assert script.count('href: root_path + "/queues/"') == 3
    assert 'href: "/' not in script


async def test_jobs_are_shown_as_saq_has_them(door: Door, operator: Person) -> None:
    queue = make_queue(door.house.settings.redis_url)
    message = uuid4()
    await SaqJobs(queue).enqueue([(message, 3)])
    await close_queue(queue)
    [listed] = (await door.client.get(DATA[0], headers=operator.headers)).json()["queues"]
    assert (listed["name"], listed["queued"], listed["active"]) == (NAME, 1, 0)
    [job] = (await door.client.get(DATA[1], headers=operator.headers)).json()["queue"]["jobs"]
    shown = (await door.client.get(f"{PATH}/api/queues/{NAME}/jobs/{message}:3", headers=operator.headers)).json()["job"]
    for one in (job, shown):
        assert (one["key"], one["function"], one["status"]) == (f"{message}:3", "run_sent", "queued")
        assert one["kwargs"] == repr({"message": str(message), "fence": 3})


async def test_what_is_not_there_is_missing(door: Door, operator: Person) -> None:
    for path in (DATA[2], f"{PATH}/api/queues/other", f"{PATH}/api/queues/other/jobs/x", f"{PATH}/static/app.py", f"{PATH}/nothing"):
        assert problem(await door.client.get(path, headers=operator.headers)) == (404, "request.not_found"), path


@pytest.mark.parametrize("action", ["retry", "abort"])
async def test_the_page_changes_no_job(door: Door, operator: Person, action: str) -> None:
    queue: RedisQueue = make_queue(door.house.settings.redis_url)
    await queue.enqueue(Job("run_sent", key="one"))
    before: Any = await queue.job("one")
    answer = await door.client.post(f"{PATH}/api/queues/{NAME}/jobs/one/{action}", headers=operator.headers)
    after: Any = await queue.job("one")
    await close_queue(queue)
    assert answer.status_code == 404
    assert after.to_dict() == before.to_dict()


async def test_with_redis_away_the_page_is_there_and_says_so(settings: Settings, clock: HandClock, mailer: ScriptedMailer) -> None:
    away = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with clients.door(away, Ports(clock=clock, mailer=mailer)) as door:
        operator = await sign_in_admin(door)
        assert (await open_page(door, await ticket_of(door, operator))).status_code == 303
        assert (await door.client.get(PATH)).status_code == 200
        for path in DATA:
            answer = await door.client.get(path)
            assert problem(answer) == (503, "service.queue_unavailable")
            assert answer.headers["retry-after"] == "1"
