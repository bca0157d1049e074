"""The pages of the API work offline: everything they load is here, is what it was when it was vendored, and nobody else is asked."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get
from litestar.openapi.spec import Tag
from uuid_utils.compat import uuid7

from app.api.pages import PAGES, STATIC, openapi_config, problem_list, problem_page
from app.errors import every_refusal, exception_handlers
from app.middleware import around


@get("/api/v2/things", operation_id="list_things", tags=["things"], summary="All things", sync_to_thread=False)
def list_things() -> dict[str, str]:
    return {}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    config = openapi_config(title="Test <API>", version="2", description="For tests.", tags=[Tag("things", description="Things.")])
    app = Litestar([list_things, problem_list, problem_page], openapi_config=config, exception_handlers=exception_handlers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", around(app, uuid7))), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("path", ["/api/schema", "/api/schema/openapi.json"])
async def test_the_document_is_json(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    document = response.json()
    assert document["openapi"].startswith("3.1")
    assert list(document["paths"]) == ["/api/v2/things"]


async def test_an_unknown_path_beside_the_document_is_a_problem(client: httpx.AsyncClient) -> None:
    for path in (
        "/api/schema/nothing",
        "/api/schema/assets/nothing.js",
        "/api/schema/assets/vendor.py",
        "/api/schema/assets/..%2fvendor.py",
    ):
        response = await client.get(path)
        assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json"), path


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_loads_only_what_we_serve(client: httpx.AsyncClient, page: str) -> None:
    response = await client.get(f"/api/schema/{page}")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in response.text, "a page names another host"
    assert "<title>Test &lt;API&gt;</title>" in response.text
    loaded = re.findall(r'(?:src|href|spec-url)="([^"]+)"', response.text)
    for url in [url for url in loaded if url != "data:,"]:
        assert (await client.get(url)).status_code == 200, url
    assert any(url.endswith(".js") for url in loaded)


@pytest.mark.parametrize("page", PAGES)
async def test_the_browser_may_ask_nobody_else(client: httpx.AsyncClient, page: str) -> None:
    policy = (await client.get(f"/api/schema/{page}")).headers["content-security-policy"]
    directives = {name: set(sources) for name, *sources in (directive.split() for directive in policy.split(";"))}
    assert directives.pop("default-src") == {"'none'"}
    assert directives.pop("script-src") == {"'self'"}
    assert set().union(*directives.values()) <= {"'self'", "'none'", "'unsafe-inline'", "data:", "blob:"}


def test_every_vendored_file_is_the_one_recorded(tmp_path: Path) -> None:
    check = subprocess.run([sys.executable, STATIC / "vendor.py", "--check"], check=False, capture_output=True, text=True)
    assert (check.returncode, check.stderr) == (0, "")
    for path in STATIC.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "redoc.js").write_bytes(b"changed")
    (tmp_path / "swagger-ui.css").unlink()
    check = subprocess.run([sys.executable, tmp_path / "vendor.py", "--check"], check=False, capture_output=True, text=True)
    assert check.returncode == 1
    assert "redoc.js is not the file of redoc" in check.stderr
    assert "swagger-ui.css is missing" in check.stderr


def test_every_vendored_program_comes_with_its_licence() -> None:
    for package in json.loads((STATIC / "VENDORED.json").read_text()):
        program = next(name for name in package["files"] if name.endswith(".js"))
        assert (STATIC / f"{program.removesuffix('.js')}.LICENSE.txt").stat().st_size > 500


async def test_the_type_of_every_problem_leads_to_its_meaning(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/problems")).text
    for refusal in every_refusal():
        assert f'href="/problems/{refusal.code}"' in listed
        page = await client.get(f"/problems/{refusal.code}")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert refusal.code in page.text
    assert (await client.get("/problems/no.such")).status_code == 404
