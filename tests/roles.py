"""Roles and embedders for tests of what finds them."""

from collections.abc import Sequence
from uuid import UUID

from app.bootstrap import House
from domain.catalogue.identity import entry_id
from handlers.ports import UnknownModel

BANKING = entry_id("industry", "banking_finance")
HOTELS = entry_id("industry", "hotels_hospitality")


class ScriptedEmbedder:
    """Knows the models it is given, and counts words of a small world; raises the `failures` first, one for each call."""

    WORLD = ("bank", "money", "loan", "risk", "guest", "room", "kitchen", "bar")

    def __init__(self, model: str = "scripted-1", *others: str) -> None:
        self.model = model
        self.known = {model, *others}
        self.failures: list[Exception] = []
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        self.asked.append((model, tuple(texts)))
        if self.failures:
            raise self.failures.pop(0)
        if model not in self.known:
            raise UnknownModel
        return [(*(float(text.casefold().count(word)) for word in self.WORLD), 0.1) for text in texts]

    def texts(self, model: str) -> list[str]:
        """Every text that was embedded with this model, by its title."""
        return [text.partition("\n")[0] for asked, texts in self.asked for text in texts if asked == model]


async def add_industries(house: House) -> None:
    async with house.database.driver() as driver:
        for position, (industry, slug) in enumerate(((BANKING, "banking_finance"), (HOTELS, "hotels_hospitality"))):
            await driver.execute(_INDUSTRY, industry, slug, position, house.clock())


async def add_role(
    house: House,
    title: str,
    *,
    industry: UUID = BANKING,
    description: str = "Does what it says.",
    aliases: str = "",
    keywords: str = "",
    duties: str = "",
    level: str = "associate",
    owner: UUID | None = None,
    status: str = "published",
    available: bool = True,
) -> UUID:
    """Straight into its table, with no event: as if it had been there."""
    role = house.new_id()
    async with house.database.driver() as driver:
        await driver.execute(
            _ROLE, role, industry, level, title, description, keywords, duties, aliases, available, owner, status, house.clock()
        )
    return role


_INDUSTRY = """
INSERT INTO catalogue_entries (id, kind, slug, name, description, labels, position, available, edited, created_at, updated_at, version)
VALUES ($1, 'industry', $2, $2, '', '{}', $3, true, false, $4, $4, 1)
"""

_ROLE = """
INSERT INTO roles (id, industry, hierarchy_level, title, description, keywords, duties, aliases, labels, position, available, owner, status,
    edited, created_at, updated_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '{}', 0, $9, $10, $11, false, $12, $12, 1)
"""
