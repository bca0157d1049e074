"""The rules of the house that no tool knows: what an area may touch, what a route must say, what may not be in a file."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import db.session
from app.auth import admin, signed_in
from app.describe import described, registry_of_the_house
from app.jobs_page import admin_here
from app.main import create_app
from app.openapi import document, violations
from app.settings import Settings
from tests.house.copies import PACKAGES, REPOSITORY

AREAS = sorted(folder.name for folder in (REPOSITORY / "domain").iterdir() if (folder / "__init__.py").exists())
PERMISSIONS = {signed_in, admin, admin_here}
# The house says about 400; this is where about ends.
LONGEST = 450
IGNORES = re.compile(r"#\s*(?:noqa|type:\s*ignore|pyright:)")
# Which rule is ignored, and behind it, after a dash or a second comment sign or two spaces, why.
REASONED = re.compile(r"#\s*(?:noqa:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|pyright:\s*ignore\[\w+(?:,\s*\w+)*\])(?:\s+[-#]\s+|\s{2,})\w.{3,}")

# What no file of the repository may hold, each with an example of it, put together so that this file does not hold it either.
FORBIDDEN = {
    "a path of somebody's machine": (re.compile(r"/(?:home|Users|root|work|opt)/[\w.-]+/"), "/home" + "/somebody/fluentpro"),
    "the host of a registry": (
        re.compile(r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|(?:[\w-]+\.)*(?:artifactory|jfrog|nexus)[\w.-]*\.\w+)\b"),
        "https://pypi" + ".org/simple",
    ),
    "a private key": (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "-----BEGIN " + "PRIVATE KEY-----"),
    "a token": (
        re.compile(r"\b(?:gh[pousr]_\w{36}|xox[abp]-[\w-]{10,}|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9]{32,}|npm_\w{36}|pypi-\w{32,})"),
        "ghp_" + "a" * 36,
    ),
    "a password in a URL": (
        re.compile(r"\b(?:postgres(?:ql)?|redis|smtp)s?://[\w.-]*:[\w.~!-]{12,}@"),
        "redis://:" + "d41d8cd98f00b204" + "@host",
    ),
}


def tracked() -> list[Path]:
    """Every file that is, or on the next commit would be, in the repository, but for what others wrote."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (REPOSITORY / line for line in listed.stdout.splitlines())
    return [path for path in paths if path.is_file() and not path.is_relative_to(REPOSITORY / "app" / "static")]


def modules() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def area_of(cls: type) -> str:
    """`db.accounts` and `db.accounts.sessions` are of the area `accounts`."""
    return cls.__module__.split(".")[1]


def repositories() -> dict[str, str]:
    """Attribute of `Work` -> area, from where the class that its constructor calls is defined."""
    tree = ast.parse((REPOSITORY / "db" / "session.py").read_text())
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name("self"), attr=attribute)], value=ast.Call(func=ast.Name(name))):
                found[attribute] = area_of(getattr(db.session, name))
            case _:
                pass
    return found


def strangers(area: str, source: str, owners: dict[str, str]) -> Iterator[str]:
    """The repositories of other areas that a module of this one uses. `work` is whatever is annotated as `Work`."""
    tree = ast.parse(source)
    names = {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg) and _is_work(argument.annotation)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(name), attr=attribute) if name in names and owners.get(attribute, area) != area:
                yield f"line {node.lineno}: {name}.{attribute} belongs to the area {owners[attribute]}"
            case _:
                pass


def _is_work(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Work"


def handlers_of(area: str) -> list[Path]:
    return [path for path in (REPOSITORY / "handlers").rglob("*.py") if area in (path.stem, path.parent.name)]


def test_every_repository_belongs_to_an_area() -> None:
    assert {"accounts": "accounts", "sessions": "accounts", "upkeep": "operations"}.items() <= repositories().items()
    assert set(repositories().values()) <= set(AREAS)


@pytest.mark.parametrize("area", AREAS)
def test_an_area_uses_only_its_own_repositories(area: str) -> None:
    found = [f"{shown(path)} {one}" for path in handlers_of(area) for one in strangers(area, path.read_text(), repositories())]
    assert found == [], "read another area's data through db.reads, or keep a copy by reacting to its events"


def test_the_use_of_anothers_repository_is_seen() -> None:
    source = "async def meddle(cmd: Meddle, unit: Work) -> None:\n    await unit.sessions.get(cmd.session)\n    unit.record()\n"
    assert list(strangers("operations", source, repositories())) == ["line 2: unit.sessions belongs to the area accounts"]
    assert list(strangers("accounts", source, repositories())) == []


@pytest.fixture(scope="module")
def app() -> Litestar:
    """The shipped application, not started."""
    return create_app(Settings(env="testing", database_url="postgresql://127.0.0.1:1/nothing", redis_url="redis://127.0.0.1:1"))


def unguarded(app: Litestar) -> Iterator[str]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if "OPTIONS" in handler.http_methods or handler.opt.get("public"):
                continue
            if not PERMISSIONS.intersection(cast("Any", handler).resolve_guards()):
                yield f"{'/'.join(sorted(handler.http_methods))} {route.path}"


def test_every_route_names_its_permission(app: Litestar) -> None:
    assert list(unguarded(app)) == [], "give the route guards=[signed_in] or [admin], or opt={'public': True}"


def test_a_route_without_a_permission_is_seen() -> None:
    def nothing() -> None:
        """Answers nothing."""

    handlers = [
        HTTPRouteHandler("/open", http_method="GET", sync_to_thread=False)(nothing),
        HTTPRouteHandler("/public", http_method="GET", sync_to_thread=False, opt={"public": True})(nothing),
        HTTPRouteHandler("/guarded", http_method="GET", sync_to_thread=False, guards=[signed_in])(nothing),
        HTTPRouteHandler("/operated", http_method="GET", sync_to_thread=False, guards=[admin])(nothing),
    ]
    assert list(unguarded(Litestar(handlers, openapi_config=None))) == ["GET /open"]


def test_the_openapi_document_keeps_the_rules(app: Litestar) -> None:
    assert list(violations(document(app))) == []


def test_a_pattern_of_the_document_means_the_same_here(app: Litestar) -> None:
    """In ECMAScript, which it speaks, `$` is the end; in Python it is before a last line break too, unless a lookahead forbids that."""
    found = set(patterns(document(app)))
    assert len(found) > 5
    assert [pattern for pattern in found if pattern.endswith("$") and re.search(pattern, "\n") is None] == []


def patterns(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        members = cast("dict[str, object]", node)
        if isinstance(pattern := members.get("pattern"), str):
            yield pattern
        yield from patterns(list(members.values()))
    elif isinstance(node, list):
        for member in cast("list[object]", node):
            yield from patterns(member)


def test_catalogue_and_policy_are_complete() -> None:
    messages = described(registry_of_the_house())
    assert all(message.policy and message.handled_by for message in messages if message.kind == "command")
    assert {message.name.partition(".")[0] for message in messages} <= set(AREAS)


@pytest.mark.parametrize("area", AREAS)
def test_an_area_is_spelled_the_same_in_every_room(area: str) -> None:
    rooms = {room: [REPOSITORY / room / f"{area}.py", REPOSITORY / room / area] for room in ("db", "handlers")}
    assert [room for room, spelled in rooms.items() if not any(path.exists() for path in spelled)] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = FORBIDDEN[what][0]
    found = [
        f"{shown(path)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_seen_when_a_file_holds(what: str) -> None:
    pattern, example = FORBIDDEN[what]
    assert pattern.search(f"see {example} there")


def test_every_ignore_says_why() -> None:
    found = [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if IGNORES.search(line) and path != Path(__file__) and not REASONED.search(line)
    ]
    assert found == [], "name the rule that is ignored, and behind it the reason"


@pytest.mark.parametrize(
    ("line", "reasoned"),
    [
        ("x = y()  # noqa: S603 - our own program", True),
        ("x = y()  # noqa: S603, S607  # Our own program.", True),
        ("x = y()  # noqa: S603  Our own program.", True),
        ("x = y()  # pyright: ignore[reportArgumentType] - checked above", True),
        ("x = y()  # noqa: S603", False),
        ("x = y()  # noqa", False),
        ("x = y()  # type: ignore  # because", False),
        ("x = y()  # pyright: ignore[reportArgumentType]", False),
        ("# pyright: basic", False),
    ],
)
def test_an_ignore_without_a_reason_is_seen(line: str, *, reasoned: bool) -> None:
    assert IGNORES.search(line)
    assert bool(REASONED.search(line)) is reasoned


def test_a_long_module_becomes_a_folder() -> None:
    lengths = {shown(path): len(path.read_text().splitlines()) for path in modules() if path.relative_to(REPOSITORY).parts[0] in PACKAGES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
