"""The `Embedder` that needs no network and no download: what it knows of words, it knows from the roles of the seed catalogue.

A vector has two parts. The first says for each role of the seeds how much of the text that role explains: words weighted by how few roles
of the same industry use them, with the role's aliases among them, and a word that nobody uses taken for those that are spelled alike.
The second is signed hashes of words and character n-grams, so that roles and texts that the seeds know nothing of are compared as well.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import msgspec

import db.seeds
from domain.onboarding.words import RANKS, Spelling, grams, stem, stems
from handlers.ports import UnknownModel

_VERSION = "builtin-1"
_HASHED = 384
_FIRST_LINE = 2.5
_FIELDS = {"title": 3.0, "aliases": 3.0, "keywords": 2.0, "duties": 1.0, "description": 1.0}
_NAMES = ("title", "aliases", "keywords")
_SATURATION = 1.0
_UNKNOWN = 2.0
_RANK = 0.3
_PAIR = 1.5
_ALIKE = 0.6
_LONG_ENOUGH = 4
_MEANINGS = 3
_SHARPNESS = 2.0
_EXPLAINED = 3.0
_FLOOR = 0.05


class SeedRole(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a role in the seed files."""

    industry: str
    title: str
    aliases: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    duties: tuple[str, ...] = ()
    description: str = ""


class _SeedFile(msgspec.Struct, frozen=True):
    industry: str
    roles: list[dict[str, object]]


def seed_roles(folder: Path | None = None) -> tuple[SeedRole, ...]:
    """Of the files that come with this build, in the order of their names."""
    places = sorted((folder or Path(db.seeds.__path__[0]) / "roles").glob("*.json"))
    files = [msgspec.json.decode(place.read_bytes(), type=_SeedFile) for place in places]
    return tuple(msgspec.convert({**role, "industry": file.industry}, SeedRole) for file in files for role in file.roles)


class BuiltInEmbedder:
    """Its model id changes with what it has learned, for vectors of different seeds cannot be compared."""

    def __init__(self, roles: Sequence[SeedRole], *, hashed: int = _HASHED) -> None:
        self._roles, self._hashed = tuple(roles), hashed
        self.model = f"{_VERSION}-{hashlib.sha256(msgspec.json.encode([self._roles, hashed])).hexdigest()[:12]}"

    @staticmethod
    def made(model: str) -> bool:
        """Whether a model of this id is a built-in one, of these seeds or of others."""
        return model.startswith("builtin-")

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        """Raises `UnknownModel` for vectors of other seeds."""
        if model != self.model:
            raise UnknownModel
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> tuple[float, ...]:
        """Of length 1. The first line of a text is its title."""
        said = _said(text)
        parts = [*self._explained(said), *self._hashes(said), _FLOOR]
        length = math.sqrt(sum(part * part for part in parts))
        return tuple(part / length for part in parts)

    def _explained(self, said: Mapping[str, float]) -> list[float]:
        """How much of the text each role explains, sharpened."""
        scores = [0.0] * len(self._roles)
        total = 0.0
        for term, weight in said.items():
            meant = self._meant(term)
            total += weight * max((self._rarity[known] * likeness for known, likeness in meant), default=0 if "_" in term else _UNKNOWN)
            for known, likeness in meant:
                for role, value in self._used[known]:
                    scores[role] += weight * likeness * value
        return [_EXPLAINED * (score / total) ** _SHARPNESS if total else 0.0 for score in scores]

    def _hashes(self, said: Mapping[str, float]) -> list[float]:
        hashed = [0.0] * self._hashed
        for term, weight in said.items():
            if "_" in term:
                continue
            rarity = self._rarity.get(term, _UNKNOWN)
            pieces = [f"={term}", *grams(term)]
            share = weight * rarity / math.sqrt(len(pieces))
            for piece in pieces:
                number = int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=8).digest())
                hashed[number // 2 % self._hashed] += share if number % 2 else -share
        length = math.sqrt(sum(part * part for part in hashed))
        return [part / length for part in hashed] if length else hashed

    def _meant(self, term: str) -> list[tuple[str, float]]:
        """The known terms that this one may stand for, with how much it is like each."""
        if term in self._used:
            return [(term, 1.0)]
        if "_" in term or len(term) < _LONG_ENOUGH:
            return []
        return [(known, likeness**2) for known, likeness in self._spelling.alike(term, _ALIKE)[:_MEANINGS]]

    @cached_property
    def _terms(self) -> list[dict[str, float]]:
        """For each role, its terms and how often and where it uses them."""
        return [_terms_of(role) for role in self._roles]

    @cached_property
    def _used(self) -> dict[str, list[tuple[int, float]]]:
        """For each term, the roles that use it and what it says there."""
        users: dict[str, Counter[str]] = defaultdict(Counter)
        for role, terms in zip(self._roles, self._terms, strict=True):
            for term in terms:
                users[term][role.industry] += 1
        sizes = Counter(role.industry for role in self._roles)
        used: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (role, terms) in enumerate(zip(self._roles, self._terms, strict=True)):
            for term, count in terms.items():
                rarity = math.log1p(sizes[role.industry] / users[term][role.industry]) * _worth(term)
                used[term].append((number, rarity * count / (count + _SATURATION)))
        return dict(used)

    @cached_property
    def _rarity(self) -> dict[str, float]:
        """What a term says at most, for any role."""
        return {term: max(value for _, value in roles) for term, roles in self._used.items()}

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(term for term in self._used if "_" not in term and len(term) >= _LONG_ENOUGH)


def _said(text: str) -> dict[str, float]:
    """The terms of a text, each with its weight: the more often it is said the more, but less each time."""
    title, _, rest = text.strip().partition("\n")
    counts: defaultdict[str, float] = defaultdict(float)
    for line, weight in ((title, _FIRST_LINE), (rest, 1.0)):
        for term in _line(line):
            counts[term] += weight
    return {term: math.sqrt(count) for term, count in counts.items()}


def _terms_of(role: SeedRole) -> dict[str, float]:
    counts: defaultdict[str, float] = defaultdict(float)
    for field, weight in _FIELDS.items():
        value = getattr(role, field)
        for line in [value] if isinstance(value, str) else value:
            for term in set(_line(line)):
                if "_" not in term or field in _NAMES:
                    counts[term] += weight
    return dict(counts)


def _line(text: str) -> Iterator[str]:
    """Stems, and pairs of neighbours."""
    found = stems(text)
    yield from found
    yield from (f"{one}_{other}" for one, other in pairwise(found))


_RANK_STEMS = frozenset(stem(word) for word in RANKS)


def _worth(term: str) -> float:
    if "_" in term:
        return _PAIR
    return _RANK if term in _RANK_STEMS else 1.0
