"""Which role of the catalogue somebody has, from their own words: what is asked and answered, and how sure an answer is."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from bus.message import Command, Event, FieldError, Wire
from domain.onboarding.words import COMMON, RANKS, Spelling, stem, tokens
from domain.types import AccountId

MATCHES = 5
TITLE_LENGTH = (2, 200)
DESCRIPTION_LENGTH = (10, 1000)

Degraded = Literal["provider_unavailable", "model_changing"]
"""Why only words were compared: the embedder does not answer, or nothing is embedded by a model that can still be asked."""


class MatchedRole(msgspec.Struct, frozen=True, kw_only=True):
    """`confidence` is the probability, 0 to 1, that this is the person's role. `words` are theirs, `duties` the role's."""

    id: UUID
    slug: str | None
    title: str
    description: str
    hierarchy_level: str
    confidence: float
    words: tuple[str, ...]
    duties: tuple[str, ...]


class RoleMatches(msgspec.Struct, frozen=True, kw_only=True):
    """The surest first. With `none_fits` even that one is less likely than an answer should be."""

    industry: UUID
    matches: tuple[MatchedRole, ...]
    none_fits: bool
    degraded: Degraded | None = None


class MatchRoles(Command[RoleMatches], frozen=True, kw_only=True):
    """In the industry of the person's journey. `hierarchy_level` is the slug of a level."""

    account: AccountId
    job_title: str
    job_description: str
    hierarchy_level: str | None = None


class ScoredRole(msgspec.Struct, frozen=True, kw_only=True):
    role: UUID
    confidence: float


class RolesMatched(Event, frozen=True, kw_only=True):
    """`model` is None when only words were compared."""

    wire: ClassVar[Wire] = Wire(name="onboarding.roles_matched", key="account", subject="account")
    account: AccountId
    matches: tuple[ScoredRole, ...]
    none_fits: bool
    degraded: bool
    model: str | None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A role that was found, as the search saw it.

    `cosine` is None for a role without a vector, and for all of them when only words were compared. `cosine_mean` is that of all roles of
    the industry, `elsewhere` the best of other industries' roles. `rank` is that of the full-text search.
    """

    id: UUID
    slug: str | None
    title: str
    description: str
    hierarchy_level: str
    aliases: tuple[str, ...]
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    cosine: float | None
    cosine_mean: float | None
    elsewhere: float | None
    rank: float


def match_problems(values: Mapping[str, object]) -> list[FieldError]:
    """What is wrong with a question, field by field."""
    problems: list[FieldError] = []
    for field, (least, most) in {"job_title": TITLE_LENGTH, "job_description": DESCRIPTION_LENGTH}.items():
        value = values.get(field)
        if isinstance(value, str) and not least <= len(value.strip()) <= most:
            problems.append(FieldError(f"/{field}", "length", f"Write {least} to {most} characters."))
    return problems


# The words by which people say how high they stand; the first that is found in a title decides.
_LEVEL_WORDS: Mapping[str, frozenset[str]] = {
    "executive": frozenset({"chief", "ceo", "cfo", "coo", "cto", "president", "gm", "owner", "partner", "md"}),
    "director": frozenset({"director", "vp", "head", "avp", "svp"}),
    "manager": frozenset({"manager"}),
    "supervisor": frozenset({"supervisor", "foreman", "captain", "leader", "lead"}),
    "associate": frozenset(
        {"assistant", "associate", "trainee", "junior", "intern", "clerk", "officer", "agent", "analyst", "graduate", "apprentice"}
    ),
}
_NOT_THE_HEAD = ("assistant", "deputy", "trainee", "junior")
LEVELS: Sequence[str] = ("associate", "supervisor", "manager", "director", "executive")


def level_in(title: str) -> str | None:
    """The hierarchy level that the words of a title name; None where they name none."""
    words = tokens(title)
    if "vice" in words and "president" in words:
        return "director"
    if any(word in words for word in _NOT_THE_HEAD) and "manager" in words:
        return "supervisor"
    return next((level for level, named in _LEVEL_WORDS.items() if not named.isdisjoint(words)), None)


_ALIKE = 0.6
_LONG_ENOUGH = 5
_MOST_WORDS = 8


class Reasons(msgspec.Struct, frozen=True, kw_only=True):
    """`title_share` and `all_share` are how much of the title, and of all that was said, the role's words cover, 0 to 1."""

    words: tuple[str, ...]
    duties: tuple[str, ...]
    title_share: float
    all_share: float


class _Vocabulary(msgspec.Struct, frozen=True):
    """The stems of a role: of its names and keywords, of each duty, and of all that is said of it."""

    named: set[str]
    duties: dict[str, set[str]]
    known: set[str]


def reasons(title: str, description: str, roles: Sequence[Candidate]) -> list[Reasons]:
    """For each role, which of the person's words it has, in their order, and which of its duties these speak of."""
    said = {word: stem(word) for word in tokens(f"{title} {description}") if word not in COMMON and word not in RANKS}
    titled = [word for word in dict.fromkeys(tokens(title)) if word in said]
    vocabularies = [_vocabulary(role) for role in roles]
    spelling = Spelling(word for vocabulary in vocabularies for word in vocabulary.known)
    meant = {form: [form, *_misspelled(form, spelling)] for form in set(said.values())}
    return [_reasons(said, titled, meant, vocabulary) for vocabulary in vocabularies]


def _vocabulary(role: Candidate) -> _Vocabulary:
    named = _telling(" ".join((role.title, *role.aliases, *role.keywords)))
    duties = {duty: _telling(duty) for duty in role.duties}
    return _Vocabulary(named, duties, named.union(_telling(role.description), *duties.values()))


def _misspelled(form: str, spelling: Spelling) -> list[str]:
    """The known words that this one may have been meant for, the likeliest first."""
    return [known for known, _ in spelling.alike(form, _ALIKE)] if len(form) >= _LONG_ENOUGH else []


def _reasons(said: Mapping[str, str], titled: Sequence[str], meant: Mapping[str, Sequence[str]], role: _Vocabulary) -> Reasons:
    named, duties = role.named, role.duties
    found = {word: next((one for one in meant[form] if one in role.known), None) for word, form in said.items()}
    shared = {word: one for word, one in found.items() if one is not None}
    spoken = set(shared.values())
    telling = named.union(*duties.values())
    covered = sorted(duties, key=lambda duty: -len(duties[duty] & spoken))
    return Reasons(
        words=tuple(word for word, meant in shared.items() if meant in telling)[:_MOST_WORDS],
        duties=tuple(duty for duty in covered if duties[duty] & spoken),
        title_share=sum(word in shared and shared[word] in named for word in titled) / len(titled) if titled else 0.0,
        all_share=len(shared) / len(said) if said else 0.0,
    )


def _telling(text: str) -> set[str]:
    return {stem(word) for word in tokens(text) if word not in COMMON and word not in RANKS}


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A logistic model of the probability that a candidate is the person's role, and below which of it none fits.

    Fitted on the tuning half of the labelled set by `python -m tests.evaluation --fit`, which prints these very numbers.
    """

    bias: float
    weights: tuple[float, ...]
    threshold: float


FEATURES = ("cosine", "cosine_lead", "home_lead", "rank", "rank_lead", "title_share", "all_share", "level")
MEANING = ("cosine", "cosine_lead", "home_lead", "all_share", "level")
WORDS = ("rank", "rank_lead", "title_share", "all_share", "level")
BY_MEANING = Calibration(bias=-2.695, weights=(2.439, 6.389, 2.293, 4.097, 0.124), threshold=0.20)
BY_WORDS = Calibration(bias=-3.369, weights=(-0.158, 3.851, 1.270, 7.248, 0.320), threshold=0.31)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    matches: tuple[MatchedRole, ...]
    none_fits: bool


def judge(title: str, description: str, level: str | None, candidates: Sequence[Candidate]) -> Judged:
    """What the search found, each with its confidence and reasons, the surest first; of those as sure, in the order of the search.

    A role that has no vector yet is judged by its words.
    """
    why = reasons(title, description, candidates)
    by_meaning, by_words = (features_of(candidates, why, level, names) for names in (MEANING, WORDS))
    sure = [
        probability(BY_WORDS, worded) if candidate.cosine is None else probability(BY_MEANING, meant)
        for candidate, meant, worded in zip(candidates, by_meaning, by_words, strict=True)
    ]
    matches = [
        MatchedRole(
            id=candidate.id,
            slug=candidate.slug,
            title=candidate.title,
            description=candidate.description,
            hierarchy_level=candidate.hierarchy_level,
            confidence=round(confidence, 3),
            words=reason.words,
            duties=reason.duties,
        )
        for candidate, reason, confidence in zip(candidates, why, sure, strict=True)
    ]
    matches.sort(key=lambda match: -match.confidence)
    calibration = BY_MEANING if any(candidate.cosine is not None for candidate in candidates) else BY_WORDS
    return Judged(matches=tuple(matches), none_fits=not matches or matches[0].confidence < calibration.threshold)


def features_of(
    candidates: Sequence[Candidate], why: Sequence[Reasons], level: str | None, names: Sequence[str] = FEATURES
) -> list[tuple[float, ...]]:
    """For each candidate, the numbers of these features. A lead is over the best of the others, and none where there are no others.

    Others' leads are taken over a role without a vector as if it meant what roles of its industry mean on average.
    """
    cosines = [candidate.cosine if candidate.cosine is not None else candidate.cosine_mean or 0.0 for candidate in candidates]
    ranks = [candidate.rank for candidate in candidates]
    top = max(ranks, default=0.0) or 1.0
    features: list[tuple[float, ...]] = []
    for place, candidate in enumerate(candidates):
        values = {
            "cosine": cosines[place],
            "cosine_lead": cosines[place] - _best_other(cosines, place),
            "home_lead": cosines[place] - (candidate.elsewhere or 0.0),
            "rank": ranks[place],
            "rank_lead": (ranks[place] - _best_other(ranks, place)) / top,
            "title_share": why[place].title_share,
            "all_share": why[place].all_share,
            "level": _agreement(level, candidate.hierarchy_level),
        }
        features.append(tuple(values[name] for name in names))
    return features


def probability(calibration: Calibration, features: Sequence[float]) -> float:
    said = calibration.bias + sum(weight * value for weight, value in zip(calibration.weights, features, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, said))))


def _best_other(values: Sequence[float], place: int) -> float:
    return max((value for other, value in enumerate(values) if other != place), default=values[place])


def _agreement(level: str | None, other: str) -> float:
    """1 for the same level, less for each step between them; 0 where no level is named or one is not of the ladder we know."""
    if level not in LEVELS or other not in LEVELS:
        return 0.0
    return 1.0 - abs(LEVELS.index(level) - LEVELS.index(other)) / 2
