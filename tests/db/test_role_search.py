"""Roles by words and by vectors, in one statement, against real PostgreSQL."""

import random
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest

from app.bootstrap import House, Ports, open_house
from app.settings import Settings
from bus.message import SYSTEM
from db.reads.role_search import DEEP, K, RoleHit, RoleQuery
from domain.catalogue.commands import EmbedRoles
from domain.types import AccountId
from tests.bench.measure import add_accounts
from tests.roles import BANKING, HOTELS, ScriptedEmbedder, add_industries, add_role
from tests.support import HandClock

NOBODY = AccountId(UUID(int=0))


@pytest.fixture
def embedder() -> ScriptedEmbedder:
    return ScriptedEmbedder()


@pytest.fixture
async def house(settings: Settings, clock: HandClock, embedder: ScriptedEmbedder) -> AsyncGenerator[House]:
    async with open_house(settings, Ports(clock=clock, embedder=embedder)) as house:
        await add_industries(house)
        yield house


async def embedded(house: House) -> None:
    while await house.reads.role_search.missing("scripted-1"):
        await house.bus.execute(EmbedRoles(), by=SYSTEM)


async def found(house: House, embedder: ScriptedEmbedder, title: str, description: str = "", **changes: Any) -> list[RoleHit]:
    """By words and, unless `vector` says otherwise, by their vector."""
    if "vector" not in changes:
        [changes["vector"]] = await embedder.embed([f"{title}\n{description}"], model="scripted-1")
    values: dict[str, Any] = {"industry": BANKING, "viewer": NOBODY, "model": "scripted-1", **changes}
    return await house.reads.role_search.find(RoleQuery(title=title, description=description, **values))


def titles(hits: list[RoleHit]) -> list[str]:
    return [hit.title for hit in hits]


async def test_words_and_meaning_both_find_a_role(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Lender", description="bank loan loan")
    await add_role(house, "Underwriter", description="Judges proposals.", keywords="actuarial")
    await add_role(house, "Barkeeper", description="bar bar bar")
    await embedded(house)
    assert titles(await found(house, embedder, "loan"))[0] == "Lender"
    assert titles(await found(house, embedder, "actuarial"))[0] == "Underwriter"
    assert titles(await found(house, embedder, "loan", vector=None))[0] == "Lender"


async def test_only_roles_of_the_industry_are_found(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Banker", keywords="bank")
    await add_role(house, "Porter", industry=HOTELS, keywords="bank")
    await embedded(house)
    assert titles(await found(house, embedder, "bank")) == ["Banker"]
    assert titles(await found(house, embedder, "bank", industry=HOTELS)) == ["Porter"]


async def test_there_are_as_many_as_asked_for_wherever_there_are_so_many(house: House, embedder: ScriptedEmbedder) -> None:
    for number in range(2 * DEEP):
        await add_role(house, f"Role {number}", description="bank" if number == DEEP else "nothing alike")
    assert len(await found(house, embedder, "zzz", vector=None)) == 5
    await embedded(house)
    assert len(await found(house, embedder, "bank", limit=2 * DEEP)) == 2 * DEEP
    assert titles(await found(house, embedder, "bank"))[0] == f"Role {DEEP}"
    assert len(await found(house, embedder, "zzz", limit=3)) == 3


async def test_an_industry_without_roles_answers_with_none(house: House, embedder: ScriptedEmbedder) -> None:
    assert await found(house, embedder, "bank") == []


async def test_a_submitted_role_is_found_by_its_owner_alone_and_by_words_before_it_has_a_vector(
    house: House, embedder: ScriptedEmbedder
) -> None:
    owner, other = await add_accounts(house, 2)
    await add_role(house, "Banker", description="bank")
    await embedded(house)
    await add_role(house, "Yacht Broker", description="yacht charter", owner=owner, status="submitted")
    hits = await found(house, embedder, "yacht", "charter", viewer=AccountId(owner))
    assert titles(hits)[0] == "Yacht Broker"
    assert hits[0].cosine is None
    assert titles(await found(house, embedder, "yacht", viewer=AccountId(other))) == ["Banker"]
    await embedded(house)
    assert titles(await found(house, embedder, "yacht", viewer=AccountId(other))) == ["Banker"]


async def test_a_retired_role_is_not_found(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Banker", description="bank", available=False)
    assert await found(house, embedder, "bank") == []


async def test_what_people_type_is_no_query_language(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Banker", description="bank")
    await embedded(house)
    for title in ("'", "a & | ! ( :*", "\\", "the of and", "bank' | 'x", "銀行 職員", "<->", "bank:*"):
        assert titles(await found(house, embedder, title, "'; DROP TABLE roles; --")) == ["Banker"]


async def test_a_named_level_decides_between_roles_that_are_alike(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Risk Officer", description="risk", level="associate")
    await add_role(house, "Risk Officer", description="risk", level="director")
    await embedded(house)
    for level in ("associate", "director"):
        assert (await found(house, embedder, "risk", level=level))[0].hierarchy_level == level


async def test_vectors_of_another_length_are_left_out_of_the_comparison(house: House, embedder: ScriptedEmbedder) -> None:
    await add_role(house, "Banker", description="bank")
    await embedded(house)
    [hit] = await found(house, embedder, "bank", vector=(1.0, 2.0))
    assert hit.cosine is None


async def test_the_answer_is_that_of_brute_force(house: House, embedder: ScriptedEmbedder) -> None:
    """Vectors alone: no word of the questions is in a role."""
    dice = random.Random(7)  # noqa: S311 - the same in every run
    async with house.database.driver() as driver:
        for number in range(60):
            await add_role(house, f"Role {number}", industry=dice.choice((BANKING, HOTELS)))
        await embedded(house)
        vectors = {row["id"]: [dice.gauss(0, 1) for _ in range(9)] for row in await driver.fetch("SELECT id FROM roles")}
        for role, vector in vectors.items():
            await driver.execute("UPDATE role_vectors SET vector = $2::text::vector WHERE role = $1", role, str(vector))
        of = {row["id"]: row["industry"] for row in await driver.fetch("SELECT id, industry FROM roles")}
    for _ in range(25):
        industry, asked = dice.choice((BANKING, HOTELS)), tuple(dice.gauss(0, 1) for _ in range(9))
        wanted = sorted((role for role in vectors if of[role] == industry), key=lambda role: -_cosine(vectors[role], asked))[:5]
        hits = await found(house, embedder, "zzz", vector=asked, industry=industry)
        assert [hit.id for hit in hits] == wanted
        assert [hit.cosine for hit in hits] == pytest.approx([_cosine(vectors[role], asked) for role in wanted], abs=1e-5)
        assert [hit.score for hit in hits] == pytest.approx([1 / (K + place) for place in range(1, 6)])


def _cosine(one: list[float], other: tuple[float, ...]) -> float:
    def length(vector: list[float] | tuple[float, ...]) -> float:
        return sum(value * value for value in vector) ** 0.5

    return sum(a * b for a, b in zip(one, other, strict=True)) / length(one) / length(other)
