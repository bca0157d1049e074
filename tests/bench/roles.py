"""`make bench-roles`: a match among 5 000 roles, through the bus and over HTTP, beside the same query by asyncpg alone.

Exit status 1 when the bus takes more than twice as long as the bare query or longer than promised, or finds other roles than brute force
does. The last line is one flat JSON object.
"""

import argparse
import array
import json
import math
import operator
import random
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from app import logs
from app.bootstrap import House, open_house, utc_now, uuid7
from app.embedded import serving
from app.ports.builtin_embedder import BuiltInEmbedder, SeedRole, seed_roles
from app.processes import keep_what_is_loaded
from app.settings import Settings
from bus.message import SYSTEM, Actor
from db import migrate
from db.catalogue.vectors import vector_text
from db.connection import Driver, asyncpg_url
from db.reads.role_search import DEEP, DIGITS, FIND, K, RoleQuery, arguments
from domain.accounts.commands import EnsureSigningKey
from domain.catalogue.commands import EmbedRoles, SeedCatalogue
from domain.onboarding.matching import MatchRoles
from domain.types import AccountId
from tests.app.client import sign_up, web
from tests.app.processes import room
from tests.bench.report import Figures, Target, missed, percentiles, table

ROLES = 5_000
QUERIES = 1_000
WARM_UP = 40
PRECISION = 1e-5
TARGETS: Mapping[str, Target] = {
    "p95_ratio": Target("<=", 2.0),
    "match_p95_ms": Target("<=", 60),
    "equal_to_brute_force": Target(">=", QUERIES),
}


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Roles made of the words of the seeds, so that texts have the lengths and words that they have in the product."""

    industries: list[UUID]
    words: list[str]


async def add_roles(house: House, seeds: Sequence[SeedRole], dice: random.Random, count: int) -> Catalogue:
    texts = (line for seed in seeds for line in (seed.title, seed.description, *seed.keywords, *seed.duties))
    words = sorted({word for text in texts for word in text.split()})

    def said(least: int, most: int) -> str:
        return " ".join(dice.choices(words, k=dice.randint(least, most)))

    def lines(least: int, most: int, words_each: int) -> str:
        return "\n".join(said(1, words_each) for _ in range(dice.randint(least, most)))

    async with house.database.driver() as driver:
        industries = [row["id"] for row in await driver.fetch("SELECT id FROM catalogue_entries WHERE kind = 'industry' ORDER BY slug")]
        there = await driver.fetchval("SELECT count(*) FROM roles")
        rows = [
            (
                uuid7(),
                industries[number % len(industries)],
                dice.choice(("associate", "supervisor", "manager", "director", "executive")),
                said(2, 4),
                said(15, 40),
                lines(5, 10, 2),
                lines(3, 6, 6),
                lines(3, 10, 3),
            )
            for number in range(count - there)
        ]
        await driver.executemany(_ADD, [(*row, utc_now()) for row in rows])
    return Catalogue(industries=industries, words=words)


_ADD = """
INSERT INTO roles (id, industry, hierarchy_level, title, description, keywords, duties, aliases, labels, position, available, status,
    edited, created_at, updated_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '{}', 0, true, 'published', false, $9, $9, 1)
"""


def questions(catalogue: Catalogue, people: Mapping[UUID, UUID], dice: random.Random, count: int) -> list[MatchRoles]:
    """Each of somebody whose journey is in an industry."""
    accounts = list(people)
    return [
        MatchRoles(
            account=AccountId(accounts[number % len(accounts)]),
            job_title=" ".join(dice.choices(catalogue.words, k=3))[:200].ljust(2, "."),
            job_description=" ".join(dice.choices(catalogue.words, k=dice.randint(8, 40)))[:1000].ljust(10, "."),
        )
        for number in range(count)
    ]


def query_of(question: MatchRoles, industry: UUID, embedder: BuiltInEmbedder, limit: int = 5) -> RoleQuery:
    return RoleQuery(
        industry=industry,
        viewer=question.account,
        title=question.job_title,
        description=question.job_description,
        model=embedder.model,
        vector=embedder.vector(f"{question.job_title}\n{question.job_description}"),
        limit=limit,
    )


async def match(
    house: House, client: Any, tokens: Mapping[UUID, str], asked: Sequence[MatchRoles], queries: Sequence[RoleQuery], pool: Any
) -> Figures:
    """One after the other, the three sides by turns, so that whatever else the machine does is shared."""
    took: dict[str, list[float]] = {"match": [], "bare": [], "http": []}
    for question, query in zip(asked, queries, strict=False):
        began = time.perf_counter()
        await house.bus.execute(question, by=Actor(kind="person", id=question.account))
        took["match"].append(time.perf_counter() - began)
        values = arguments(query)
        began = time.perf_counter()
        async with pool.acquire() as connection:
            await connection.fetch(FIND, *values)
        took["bare"].append(time.perf_counter() - began)
        body = {"job_title": question.job_title, "job_description": question.job_description}
        began = time.perf_counter()
        answer = await client.post(
            "/api/v2/onboarding/role-matches", json=body, headers={"Authorization": f"Bearer {tokens[question.account]}"}
        )
        took["http"].append(time.perf_counter() - began)
        if answer.status_code != 200:
            raise AssertionError(answer.text)
    found: Figures = {}
    for side, seconds in took.items():
        found |= percentiles(side, seconds[WARM_UP:])
    found["p95_ratio"] = round(found["match_p95_ms"] / found["bare_p95_ms"], 3)
    return found


# ------------------------------------------------------------------ brute force


class Known(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    industry: UUID
    vector: "array.array[float]"
    length: float


async def known(driver: Driver, model: str) -> list[Known]:
    rows = await driver.fetch(
        "SELECT r.id, r.industry, v.vector::real[] AS vector FROM roles r JOIN role_vectors v ON v.role = r.id WHERE v.model = $1", model
    )
    found: list[Known] = []
    for row in rows:
        vector = array.array("d", row["vector"])
        found.append(Known(id=row["id"], industry=row["industry"], vector=vector, length=math.hypot(*vector)))
    return found


async def fused_by_hand(driver: Driver, query: RoleQuery, roles: Sequence[Known]) -> list[UUID]:
    """What `FIND` should answer: every role of the industry looked at, in plain Python; only the ranks of words are PostgreSQL's.

    pgvector adds up in single precision, so its distances are compared with ours, and then decide who comes first of those that are alike.
    """
    vector = array.array("f", query.vector or ())
    length = math.hypot(*vector)
    here = [role for role in roles if role.industry == query.industry]
    said = {row["role"]: row["distance"] for row in await driver.fetch(_DISTANCES, vector_text(vector), query.model, query.industry)}
    for role in here:
        if abs(said[role.id] - (1 - sum(map(operator.mul, vector, role.vector)) / (length * role.length))) > PRECISION:
            raise AssertionError(f"the distance of {role.id} is wrong by more than {PRECISION}")
    distances = {role.id: said[role.id] for role in here}
    ranks = {row["id"]: row["rank"] for row in await driver.fetch(_RANKS, query.industry, query.title, query.description)}
    near = _places(sorted(distances, key=lambda role: (distances[role], role.bytes)))
    worded = _places(sorted((role for role in distances if ranks[role] > 0), key=lambda role: (-ranks[role], role.bytes)))
    scores = {role: near.get(role, 0.0) + worded.get(role, 0.0) for role in distances}
    best = sorted(scores, key=lambda role: (-round(scores[role], DIGITS), distances[role], -ranks[role], role.bytes))
    return best[: query.limit]


def _places(ordered: Sequence[UUID]) -> dict[UUID, float]:
    return {role: 1 / (K + place) for place, role in enumerate(ordered[:DEEP], start=1)}


_DISTANCES = """
SELECT v.role, v.vector <=> $1::vector AS distance FROM role_vectors v JOIN roles r ON r.id = v.role WHERE v.model = $2 AND r.industry = $3
"""

_RANKS = """
WITH words AS (
    SELECT unnest(tsvector_to_array(to_tsvector('english', $2::text || ' ' || $3::text))) AS word
), said AS (
    SELECT (SELECT coalesce(string_agg(quote_literal(word), ' | '), '') FROM words)::tsquery AS words
)
SELECT r.id, CASE WHEN r.search @@ said.words THEN ts_rank(r.search, said.words) ELSE 0 END::float4 AS rank
FROM said, roles r WHERE r.industry = $1
"""


async def equal_to_brute_force(driver: Driver, queries: Sequence[RoleQuery], model: str) -> int:
    """How many queries are answered as by brute force."""
    roles, equal = await known(driver, model), 0
    for query in queries:
        rows = await driver.fetch(FIND, *arguments(query))
        equal += [row["id"] for row in rows] == await fused_by_hand(driver, query, roles)
    return equal


# ------------------------------------------------------------------ the whole


async def settled_in(client: Any, number: int, industry: UUID) -> tuple[UUID, str]:
    """Somebody whose journey has an industry: their account and their token."""
    person = await sign_up(client, email=f"ada.{number}@example.com")
    for step, answer in (("native-language", {"language": "de", "proficiency": "B1"}), ("industry", {"industry": str(industry)})):
        said = await client.put(f"/api/v2/onboarding/{step}", json=answer, headers=person.headers)
        if said.status_code != 200:
            raise AssertionError(said.text)
    return person.id, person.token


async def bench(settings: Settings, roles: int, count: int) -> Figures:
    await migrate.upgrade(settings.database_url)
    dice, embedder = random.Random(4), BuiltInEmbedder(seed_roles())  # noqa: S311 - the same roles in every run
    async with open_house(settings) as house:
        await house.bus.execute(EnsureSigningKey(), by=SYSTEM)
        await house.bus.execute(SeedCatalogue(), by=SYSTEM)
        catalogue = await add_roles(house, seed_roles(), dice, roles)
        began = time.perf_counter()
        while await house.reads.role_search.missing(embedder.model):
            await house.bus.execute(EmbedRoles(), by=SYSTEM)
        embedding = time.perf_counter() - began
        driver: Any = asyncpg
        async with (
            driver.create_pool(asyncpg_url(settings.database_url), min_size=1, max_size=1) as pool,
            web(settings) as server,
            server.client() as client,
            house.database.driver() as own,
        ):
            await own.execute("VACUUM ANALYZE")
            people = [await settled_in(client, number, industry) for number, industry in enumerate(catalogue.industries)]
            places = dict(zip((account for account, _ in people), catalogue.industries, strict=True))
            asked = questions(catalogue, places, dice, QUERIES)
            queries = [query_of(question, places[question.account], embedder) for question in asked]
            keep_what_is_loaded()
            figures = await match(house, client, dict(people), asked[: count + WARM_UP], queries, pool)
            figures["equal_to_brute_force"] = await equal_to_brute_force(own, queries, embedder.model)
            figures["roles"] = await own.fetchval("SELECT count(*) FROM role_vectors")
    figures["embedding_s"] = round(embedding, 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-roles", description=__doc__)
    parser.add_argument("--roles", type=int, default=ROLES, help="how many roles there are")
    parser.add_argument("--matches", type=int, default=300, help="how many matches are timed")
    options = parser.parse_args()
    began = time.monotonic()
    with room() as folder, serving(folder / "data") as given:
        settings = Settings(
            env="production",
            public_url="https://fluentpro.example",
            data_dir=str(folder / "data"),
            database_url=given.database_url,
            redis_url=given.redis_url,
            secret_key=secrets.token_urlsafe(32),
        )
        with (folder / "bench.log").open("w", buffering=1) as log, redirect_stderr(log):
            logs.configure(settings, process="bench")
            figures = uvloop.run(bench(settings, options.roles, options.matches))
    figures["seconds"] = round(time.monotonic() - began, 1)
    sys.stdout.write(f"{table(figures, TARGETS)}\n{json.dumps(figures)}\n")
    sys.exit(1 if missed(figures, TARGETS) else 0)


if __name__ == "__main__":
    main()
