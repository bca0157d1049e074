"""The catalogue as files, over HTTP: out, in again, and refused row by row."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from app.validation import MAX_BODY
from db import seeds
from domain.catalogue.seeds import EntryFile, RoleFile
from tests.app.client import Door, Person, sign_in_admin, sign_up, wrong_fields
from tests.app.test_catalogue_admin_api import BROKER, HOME, got
from tests.roles import add_role
from tests.support import harness_of, rows, value

KINDS = {
    "languages": "language",
    "industries": "industry",
    "hierarchy-levels": "hierarchy_level",
    "partners": "partner",
    "situations": "situation",
}
JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv; charset=utf-8"}
EVENTS = "SELECT count(*) FROM events WHERE name LIKE 'catalogue.entry_%'"


@pytest.fixture
async def operator(catalogued: Door) -> Person:
    return await sign_in_admin(catalogued)


@pytest.fixture
def client(catalogued: Door, operator: Person) -> httpx.AsyncClient:
    """Signed in as an admin."""
    catalogued.client.headers.update(operator.headers)
    return catalogued.client


async def exported(client: httpx.AsyncClient, kind: str, form: str = "json", **query: str) -> httpx.Response:
    answer = await client.get(f"{HOME}/{kind}/export", params={"format": form, **query})
    assert answer.status_code == 200, answer.text
    return answer


async def sent(client: httpx.AsyncClient, kind: str, file: object, **headers: str) -> httpx.Response:
    """An object as JSON, text as CSV; `partial` and what else is a parameter are in the kind."""
    if isinstance(file, str | bytes):
        return await client.post(f"{HOME}/{kind}", content=file, headers={**CSV, **headers})
    return await client.post(f"{HOME}/{kind}", content=msgspec.json.encode(file), headers={**JSON, **headers})


async def report(client: httpx.AsyncClient, kind: str, file: object) -> dict[str, Any]:
    answer = await sent(client, kind, file)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_is_the_seed_file_and_bringing_it_back_changes_nothing(
    client: httpx.AsyncClient, catalogued: Door, kind: str
) -> None:
    answer = await exported(client, kind)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{kind}.json"'
    file = msgspec.json.decode(answer.content, type=EntryFile)
    assert file.entries == seeds.load().entries[KINDS[kind]].entries  # pyright: ignore[reportArgumentType] - its keys are these
    table = await exported(client, kind, "csv")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    before = await got(client, f"{HOME}/{kind}", limit=100)
    for content, headers in ((answer.content, JSON), (table.content, CSV)):
        back = await client.post(f"{HOME}/{kind}/import", content=content, headers=headers)
        assert back.json()["data"] == {"added": 0, "changed": 0, "unchanged": len(file.entries), "refused": 0, "errors": []}
    assert await got(client, f"{HOME}/{kind}", limit=100) == before
    assert await value(catalogued.house, EVENTS) == 0


async def test_roles_are_exported_by_industry_as_their_seed_file_and_all_together(client: httpx.AsyncClient, catalogued: Door) -> None:
    await add_role(catalogued.house, "Ship Chandler", status="submitted")
    files = seeds.load().roles
    for file in files:
        answer = await exported(client, "roles", industry=file.industry)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{file.industry}.json"'
        found = msgspec.json.decode(answer.content, type=RoleFile)
        assert (found.industry, found.roles) == (file.industry, file.roles)
        assert (await client.post(f"{HOME}/roles/import", content=answer.content, headers=JSON)).json()["data"]["unchanged"] == len(
            file.roles
        )
    for form, headers in (("json", JSON), ("csv", CSV)):
        answer = await exported(client, "roles", form)
        assert b"Ship Chandler" not in answer.content
        back = await client.post(f"{HOME}/roles/import", content=answer.content, headers=headers)
        everything = sum(len(file.roles) for file in files)
        assert back.json()["data"] == {"added": 0, "changed": 0, "unchanged": everything, "refused": 0, "errors": []}
    assert await value(catalogued.house, EVENTS) == 0


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_a_backup_brings_back_what_was_changed_since(client: httpx.AsyncClient, form: str) -> None:
    """Also what was retired, and what the spreadsheet would have taken for a formula."""
    awkward = {"description": '=HYPERLINK("x"), - or\u2028|', "icon": "'+1", "labels": {"fr": {"name": "@|;\\", "description": "-1"}}}
    assert (await client.patch(f"{HOME}/partners/clients", json=awkward)).status_code == 200
    await client.delete(f"{HOME}/partners/suppliers")
    backup = (await exported(client, "partners", form)).content
    before = {entry["slug"]: entry for entry in await got(client, f"{HOME}/partners")}
    await client.patch(f"{HOME}/partners/clients", json={"description": "", "icon": None, "labels": {}, "available": False})
    await client.patch(f"{HOME}/partners/suppliers", json={"available": True})
    back = await client.post(f"{HOME}/partners/import", content=backup, headers=JSON if form == "json" else CSV)
    assert back.json()["data"] == {"added": 0, "changed": 2, "unchanged": len(before) - 2, "refused": 0, "errors": []}
    after = {entry["slug"]: entry for entry in await got(client, f"{HOME}/partners")}
    assert {slug: {**entry, "updated_at": None} for slug, entry in after.items()} == {
        slug: {**entry, "updated_at": None} for slug, entry in before.items()
    }


async def test_a_file_adds_what_is_new_and_changes_the_rest_and_each_is_recorded(client: httpx.AsyncClient, catalogued: Door) -> None:
    table = "slug,name,name[fr]\r\nauditors,Auditors,Auditeurs\r\nclients,Clientele,\r\npress,The Press,\r\n"
    assert await report(client, "partners/import", table) == {"added": 2, "changed": 1, "unchanged": 0, "refused": 0, "errors": []}
    entries = {entry["slug"]: entry for entry in await got(client, f"{HOME}/partners", limit=100)}
    assert list(entries)[-2:] == ["auditors", "press"]
    assert entries["auditors"]["labels"] == {"fr": {"name": "Auditeurs"}}
    assert (entries["clients"]["name"], entries["clients"]["labels"], entries["clients"]["icon"]) == ("Clientele", {}, "handshake")
    found = await rows(
        catalogued.house,
        "SELECT name, data->>'entry' AS entry, data->'fields' AS fields FROM events WHERE name LIKE 'catalogue.entry%' ORDER BY id",
    )
    assert [(row["name"], row["entry"], row["fields"]) for row in found] == [
        ("catalogue.entry_added", entries["auditors"]["id"], None),
        ("catalogue.entry_changed", entries["clients"]["id"], ["name", "labels"]),
        ("catalogue.entry_added", entries["press"]["id"], None),
    ]


async def test_roles_that_are_imported_are_embedded(client: httpx.AsyncClient, catalogued: Door) -> None:
    second = {**BROKER, "slug": "harbour_pilot", "title": "Harbour Pilot"}
    done = await report(client, "roles/import", {"version": 1, "roles": [BROKER, second]})
    assert (done["added"], done["refused"]) == (2, 0)
    role = await got(client, f"{HOME}/roles/harbour_pilot")
    assert (role["industry"], role["keywords"], role["duties"]) == (BROKER["industry"], BROKER["keywords"], BROKER["duties"])
    await harness_of(catalogued.house).settle()
    assert await value(catalogued.house, "SELECT count(*) FROM role_vectors JOIN roles ON roles.id = role WHERE edited") == 2


WRONG_ENTRIES = [
    {"slug": "auditors", "name": "Auditors"},
    {"slug": "Auditors", "name": "", "labels": {"zh-Hant": {"name": 1}}},
    {"slug": "auditors", "name": "Again", "direction": "ltr"},
    {"slug": "press"},
    {"slug": "clients", "description": "x" * 1001, "colour": "red"},
    7,
]
WRONG = {
    "/rows/2/slug": "malformed",
    "/rows/2/name": "length",
    "/rows/2/labels/zh-Hant/name": "type",
    "/rows/3/slug": "duplicate",
    "/rows/3/direction": "not_allowed",
    "/rows/4/name": "missing",
    "/rows/5/description": "length",
    "/rows/5/colour": "unknown",
    "/rows/6": "type",
}


async def test_nothing_is_imported_when_a_row_is_wrong_and_every_wrong_field_is_named(client: httpx.AsyncClient, catalogued: Door) -> None:
    before = await got(client, f"{HOME}/partners", limit=100)
    answer = await sent(client, "partners/import", {"entries": WRONG_ENTRIES})
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    assert wrong_fields(answer) == WRONG
    assert await got(client, f"{HOME}/partners", limit=100) == before
    assert await value(catalogued.house, EVENTS) == 0


async def test_the_right_rows_are_imported_when_that_is_asked_for(client: httpx.AsyncClient) -> None:
    done = await report(client, "partners/import?partial=true", {"entries": [*WRONG_ENTRIES, {"slug": "suppliers", "name": "Vendors"}]})
    assert (done["added"], done["changed"], done["unchanged"], done["refused"]) == (1, 1, 0, 5)
    assert {f"/rows/{error['row']}{error['field']}": error["code"] for error in done["errors"]} == WRONG
    assert all(error["message"] for error in done["errors"])
    entries = {entry["slug"]: entry for entry in await got(client, f"{HOME}/partners", limit=100)}
    assert (entries["auditors"]["name"], entries["suppliers"]["name"], "press" in entries) == ("Auditors", "Vendors", False)


async def test_wrong_rows_of_a_table_of_roles_are_named(client: httpx.AsyncClient) -> None:
    table = (
        "slug,industry,hierarchy_level,title,description,keywords\r\n"
        "pilot,sea,associate,P,Brings ships into the harbour.,a|b|c|d|d\r\n"
        "\r\n"
        "mate,shipping_logistics,captain,Mate,Keeps the watch at night.,a|b||d\r\n"
        "financial_analyst,,,Analyst,Builds the models of the firm.,a|b|c|d|e\r\n"
    )
    answer = await sent(client, "roles/import", table)
    assert wrong_fields(answer) == {
        "/rows/1/industry": "unknown",
        "/rows/1/title": "length",
        "/rows/1/keywords/4": "duplicate",
        "/rows/3/hierarchy_level": "unknown",
        "/rows/3/keywords": "length",
        "/rows/3/keywords/2": "length",
        "/rows/4/industry": "unknown",
        "/rows/4/hierarchy_level": "unknown",
    }
    partial = await report(
        client, "roles/import?partial=true", table.replace("financial_analyst,,,", "financial_analyst,BANKING-FINANCE,manager,")
    )
    assert (partial["added"], partial["changed"], partial["refused"]) == (0, 1, 2)
    assert (await got(client, f"{HOME}/roles/financial_analyst"))["hierarchy_level"] == "manager"


async def test_a_report_stays_small(client: httpx.AsyncClient) -> None:
    file = {"entries": [{"slug": f"s{n}", "name": ""} for n in range(1500)]}
    refused = await sent(client, "partners/import", file)
    assert len(refused.json()["errors"]) == 100
    done = await report(client, "partners/import?partial=true", file)
    assert (done["refused"], len(done["errors"])) == (1500, 1000)


async def test_two_imports_of_the_same_file_at_once_add_it_once(client: httpx.AsyncClient, catalogued: Door) -> None:
    file = {"entries": [{"slug": f"partner_{n}", "name": f"Partner {n}"} for n in range(40)]}
    done = await asyncio.gather(*(report(client, "partners/import", file) for _ in range(2)))
    assert sorted((one["added"], one["unchanged"]) for one in done) == [(0, 40), (40, 0)]
    assert await value(catalogued.house, EVENTS) == 40


async def test_a_repeated_import_is_answered_as_the_first_was(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    file = {"entries": [{"slug": "auditors", "name": "Auditors"}]}
    first, second = [await sent(client, "partners/import", file, **key) for _ in range(2)]
    assert first.json()["data"]["added"] == second.json()["data"]["added"] == 1
    assert second.headers["Idempotent-Replayed"] == "true"
    other = await sent(client, "partners/import?partial=true", file, **key)
    assert (other.status_code, other.json()["code"]) == (409, "request.idempotency_mismatch")


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{}", {"Content-Type": "application/xml"}, 415, "request.unsupported_media_type"),
        (b"{}", {}, 415, "request.unsupported_media_type"),
        (b"slug\n", {"Content-Type": "text/csv; charset=utf-16"}, 415, "request.unsupported_media_type"),
        (b"slug\n", {**CSV, "Content-Encoding": "gzip"}, 415, "request.unsupported_media_type"),
        (b"", CSV, 400, "request.malformed_csv"),
        (b"slug\n\xff\n", CSV, 400, "request.malformed_csv"),
        (b"", JSON, 400, "request.malformed_json"),
        (b"[", JSON, 400, "request.malformed_json"),
        (b"slug,colour\n", CSV, 422, "request.invalid"),
        (b"a" * (MAX_BODY + 1), CSV, 413, "request.too_large"),
    ],
)
async def test_what_is_no_file_of_ours_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    for kind in ("partners", "roles"):
        answer = await client.post(f"{HOME}/{kind}/import", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_unknown_kinds_formats_and_industries_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{HOME}/colours/export")).status_code == 404
    assert (await sent(client, "colours/import", {"entries": []})).status_code == 404
    assert wrong_fields(await client.get(f"{HOME}/partners/export", params={"format": "xml"})) == {"/format": "not_allowed"}
    assert wrong_fields(await client.get(f"{HOME}/roles/export", params={"industry": "yachting"})) == {"/industry": "unknown"}


async def test_only_admins_take_files_out_or_bring_them_in(catalogued: Door) -> None:
    learner = await sign_up(catalogued.client)
    for kind in ("partners", "roles"):
        for headers, status in (({}, 401), (learner.headers, 403)):
            assert (await catalogued.client.get(f"{HOME}/{kind}/export", headers=headers)).status_code == status
            assert (await sent(catalogued.client, f"{kind}/import", "slug,name\nx,X\n", **headers)).status_code == status
    assert await value(catalogued.house, EVENTS) == 0


async def test_a_file_without_rows_changes_nothing(client: httpx.AsyncClient) -> None:
    nothing: dict[str, Any] = {"added": 0, "changed": 0, "unchanged": 0, "refused": 0, "errors": []}
    files: list[tuple[str, Any]] = [
        ("partners", {"entries": []}),
        ("roles", {"roles": []}),
        ("partners", "slug,name\r\n"),
        ("roles", "slug\r\n"),
    ]
    for kind, empty in files:
        assert await report(client, f"{kind}/import", empty) == nothing
    assert json.loads((await exported(client, "roles")).content)["version"] == 1
