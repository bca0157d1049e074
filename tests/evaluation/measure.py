"""The labelled items put to the real search, and how good the answers are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import msgspec

from app.bootstrap import House
from db.connection import Driver
from db.reads import Reads
from domain.onboarding.matching import MatchRoles
from domain.types import AccountId
from handlers.onboarding.matching import found_for
from handlers.ports import Embedder

HERE = Path(__file__).parent
BINS = 10


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """`role` is the slug of the role that it is, None where no role of the industry fits."""

    id: str
    industry: str
    job_title: str
    job_description: str
    hierarchy_level: str | None = None
    role: str | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered to an item: slugs, the best first, and how sure the first was; None for an answer without a probability."""

    item: Item
    slugs: tuple[str | None, ...]
    none_fits: bool
    confidence: float | None = None

    @property
    def place(self) -> int | None:
        """Where the right role is, from 1. An answer that says that none fits has no right role in it, whatever it lists."""
        if self.none_fits or self.item.role not in self.slugs:
            return None
        return self.slugs.index(self.item.role) + 1

    def right(self, within: int) -> bool:
        """An item that fits no role is answered rightly by `none_fits`, and by that alone."""
        if self.item.role is None:
            return self.none_fits
        return self.place is not None and self.place <= within


def items(name: str) -> list[Item]:
    return msgspec.json.decode((HERE / name).read_bytes(), type=list[Item])


async def industries(house: House) -> dict[str, UUID]:
    async with house.database.driver() as driver:
        rows = await driver.fetch("SELECT slug, id FROM catalogue_entries WHERE kind = 'industry'")
    return {row["slug"]: row["id"] for row in rows}


def question(item: Item) -> MatchRoles:
    return MatchRoles(
        account=AccountId(uuid4()), job_title=item.job_title, job_description=item.job_description, hierarchy_level=item.hierarchy_level
    )


async def by_search(asked: Sequence[Item], reads: Reads, embedder: Embedder, places: Mapping[str, UUID]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for item in asked:
        found = (await found_for(question(item), places[item.industry], item.hierarchy_level, embedder, reads)).matches
        outcomes.append(
            Outcome(
                item=item,
                slugs=tuple(match.slug for match in found.matches),
                none_fits=found.none_fits,
                confidence=found.matches[0].confidence if found.matches else 0.0,
            )
        )
    return outcomes


async def by_plain_text(asked: Sequence[Item], driver: Driver, places: Mapping[str, UUID]) -> list[Outcome]:
    """PostgreSQL's full-text search alone: any word may match, sorted by its rank. None fits when nothing matches."""
    outcomes: list[Outcome] = []
    for item in asked:
        rows = await driver.fetch(_PLAIN, places[item.industry], f"{item.job_title} {item.job_description}")
        outcomes.append(Outcome(item=item, slugs=tuple(row["slug"] for row in rows), none_fits=not rows))
    return outcomes


_PLAIN = """
WITH words AS (
    SELECT unnest(tsvector_to_array(to_tsvector('english', $2))) AS word
), said AS (
    SELECT (SELECT coalesce(string_agg(quote_literal(word), ' | '), '') FROM words)::tsquery AS words
)
SELECT r.slug FROM said, roles r
WHERE r.industry = $1 AND r.available AND r.status = 'published' AND r.search @@ said.words
ORDER BY ts_rank(r.search, said.words) DESC, r.id LIMIT 5
"""


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """R@1, R@5, mean reciprocal rank; and the expected calibration error of the first answer's confidence, in ten bins of equal width."""
    count = len(outcomes)
    reciprocal = sum(1.0 if one.item.role is None and one.none_fits else 1 / one.place if one.place else 0.0 for one in outcomes)
    found = {
        "r1": sum(one.right(1) for one in outcomes) / count,
        "r5": sum(one.right(5) for one in outcomes) / count,
        "mrr": reciprocal / count,
    }
    if all(one.confidence is not None for one in outcomes):
        found["ece"] = _calibration_error(outcomes)
    return found


def _calibration_error(outcomes: Sequence[Outcome]) -> float:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for one in outcomes:
        sure = one.confidence or 0.0
        first_is_right = one.item.role is not None and bool(one.slugs) and one.slugs[0] == one.item.role
        bins.setdefault(min(int(sure * BINS), BINS - 1), []).append((sure, first_is_right))
    return sum(abs(sum(sure for sure, _ in one) - sum(right for _, right in one)) for one in bins.values()) / len(outcomes)
