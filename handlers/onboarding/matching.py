"""Matching somebody's own words with the roles of their industry."""

from uuid import UUID

import msgspec
import structlog

from bus.message import FieldError
from bus.registry import handles, prepares
from db.reads import Reads
from db.reads.role_search import RoleQuery
from db.session import Work
from domain.errors import Invalid, Unavailable
from domain.onboarding.errors import StepNotReached
from domain.onboarding.matching import (
    MATCHES,
    Candidate,
    Degraded,
    MatchRoles,
    RoleMatches,
    RolesMatched,
    ScoredRole,
    judge,
    level_in,
    match_problems,
)
from handlers.ports import Embedder, UnknownModel

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class FoundMatches(msgspec.Struct, frozen=True, kw_only=True):
    """What was found before the unit of work began. `model` is that of the vectors that were compared."""

    matches: RoleMatches
    model: str | None


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    model: str | None = None
    vector: tuple[float, ...] | None = None
    degraded: Degraded | None = None


@prepares(MatchRoles)
async def find_matches(cmd: MatchRoles, embedder: Embedder, reads: Reads) -> FoundMatches:
    if problems := match_problems(msgspec.structs.asdict(cmd)):
        raise Invalid(errors=tuple(problems))
    level: str | None = None
    if cmd.hierarchy_level is not None:
        found = await reads.catalogue.resolve("hierarchy_level", [cmd.hierarchy_level])
        if cmd.hierarchy_level not in found:
            raise Invalid(errors=(FieldError("/hierarchy_level", "unknown", "Send a hierarchy level of the catalogue."),))
        level = found[cmd.hierarchy_level].slug
    industry = await reads.onboarding.industry_of(cmd.account)
    if industry is None:
        raise StepNotReached("Choose an industry first: roles are looked for in it.")
    return await found_for(cmd, industry, level, embedder, reads)


async def found_for(cmd: MatchRoles, industry: UUID, level: str | None, embedder: Embedder, reads: Reads) -> FoundMatches:
    """`level` is the slug of the level that was named, or None. What `make eval-roles` measures."""
    meant = level or level_in(cmd.job_title)
    asked = await _embedded(f"{cmd.job_title.strip()}\n{cmd.job_description.strip()}", embedder, reads)
    hits = await reads.role_search.find(
        RoleQuery(
            industry=industry,
            viewer=cmd.account,
            title=cmd.job_title,
            description=cmd.job_description,
            level=meant,
            model=asked.model or "",
            vector=asked.vector,
            limit=MATCHES,
        )
    )
    candidates = [msgspec.convert(hit, Candidate, from_attributes=True) for hit in hits]
    judged = judge(cmd.job_title, cmd.job_description, meant, candidates)
    matches = RoleMatches(industry=industry, matches=judged.matches, none_fits=judged.none_fits, degraded=asked.degraded)
    return FoundMatches(matches=matches, model=asked.model)


async def _embedded(text: str, embedder: Embedder, reads: Reads) -> _Asked:
    """With the model that serves; without a vector and why, when there is none or it cannot be asked."""
    serving = await reads.role_search.serving()
    if serving is None:
        return _Asked(degraded="model_changing")
    try:
        [vector] = await embedder.embed([text], model=serving.model)
    except UnknownModel:
        return _Asked(degraded="model_changing")
    except Unavailable as error:
        _log.warning("matching.by_words_alone", model=serving.model, error=error.code)
        return _Asked(degraded="provider_unavailable")
    if len(vector) != serving.dimensions:
        _log.warning("matching.by_words_alone", model=serving.model, error="dimensions")
        return _Asked(degraded="provider_unavailable")
    return _Asked(model=serving.model, vector=vector)


@handles(MatchRoles)
async def match_roles(cmd: MatchRoles, work: Work, found: FoundMatches) -> RoleMatches:
    matches = found.matches
    work.record(
        RolesMatched(
            account=cmd.account,
            matches=tuple(ScoredRole(role=match.id, confidence=match.confidence) for match in matches.matches),
            none_fits=matches.none_fits,
            degraded=matches.degraded is not None,
            model=found.model,
        )
    )
    return matches
