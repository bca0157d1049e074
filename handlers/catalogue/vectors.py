"""Vectors of roles, kept up by a job; the model that serves changes when the new one has them all."""

import msgspec
import structlog

from bus.registry import handles, prepares, reacts
from db.catalogue.vectors import NewVector, ServingModel
from db.reads import Reads
from db.session import Work
from domain.catalogue.commands import EmbedRoles, KeepVectors
from domain.catalogue.events import CatalogueSeeded, EntryAdded, EntryChanged
from domain.catalogue.submissions import RoleApproved, RoleSubmitted
from domain.catalogue.vectors import EmbeddingModelChanged
from domain.errors import Unavailable
from handlers.ports import Clock, Embedder, ProviderRefused, UnknownModel

BATCH = 96
EMBED_ROLES = "catalogue.embed_roles"
"""The key of the job: however many roles change at once, it waits once."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """`configured` is the model that is to serve."""

    configured: str
    made: tuple[tuple[ServingModel, tuple[NewVector, ...]], ...]


class Wanted(msgspec.Struct, frozen=True):
    anything: bool


@prepares(KeepVectors)
async def find_stale_roles(cmd: KeepVectors, embedder: Embedder, reads: Reads) -> Wanted:  # noqa: ARG001 - it asks for nothing in particular
    serving = await reads.role_search.serving()
    changed = serving is not None and serving.model != embedder.model
    return Wanted(changed or await reads.role_search.missing(embedder.model) > 0)


@handles(KeepVectors)
async def keep_vectors(cmd: KeepVectors, work: Work, wanted: Wanted) -> None:  # noqa: ARG001 - the same
    """Under its key the job waits once, however long the embedder is away."""
    if wanted.anything:
        work.send(EmbedRoles(), key=EMBED_ROLES)


@prepares(EmbedRoles)
async def embed_stale_roles(cmd: EmbedRoles, embedder: Embedder, reads: Reads) -> Embedded:  # noqa: ARG001 - it asks for nothing in particular
    serving = await reads.role_search.serving()
    made = [await _embedded(embedder.model, embedder, reads)]
    if serving is not None and serving.model != embedder.model:
        try:
            made.append(await _embedded(serving.model, embedder, reads))
        except (Unavailable, UnknownModel) as error:
            # Its vectors grow old, which words make up for until the new model serves; that must not wait for it.
            _log.warning("vectors.old_model_unavailable", model=serving.model, error=error.code)
    return Embedded(configured=embedder.model, made=tuple(one for one in made if one is not None))


async def _embedded(model: str, embedder: Embedder, reads: Reads) -> tuple[ServingModel, tuple[NewVector, ...]] | None:
    texts = await reads.role_search.stale(model, limit=BATCH)
    if not texts:
        return None
    vectors = await embedder.embed([text.text for text in texts], model=model)
    made = tuple(NewVector(role=text.role, digest=text.digest, vector=vector) for text, vector in zip(texts, vectors, strict=True))
    return ServingModel(model=model, dimensions=len(vectors[0])), made


@handles(EmbedRoles)
async def embed_roles(cmd: EmbedRoles, work: Work, embedded: Embedded, clock: Clock) -> None:
    now = clock()
    await work.vectors.lock()
    serving = await work.vectors.serving()
    for model, vectors in embedded.made:
        # The old one may have gone since this was prepared.
        if model.model != embedded.configured and (serving is None or serving.model != model.model):
            continue
        if await work.vectors.know(model, now=now) != model.dimensions:
            raise ProviderRefused(f"The vectors of {model.model} have other dimensions than before: give the model another name.")
        await work.vectors.keep(model, vectors, now=now)
    if await work.vectors.missing(embedded.configured):
        if embedded.made:
            work.send(cmd, key=EMBED_ROLES)
    elif serving is None or serving.model != embedded.configured:
        work.record(*await _served(work, embedded.configured, serving))


async def _served(work: Work, model: str, previous: ServingModel | None) -> tuple[EmbeddingModelChanged, ...]:
    """Quiet while there is no role at all, and so no vector of the model either."""
    dimensions = await work.vectors.serve(model)
    if dimensions is None:
        return ()
    return (EmbeddingModelChanged(model=model, previous=previous.model if previous else None, dimensions=dimensions),)


@reacts("catalogue.embed_changed_roles")
async def embed_changed_roles(event: CatalogueSeeded | EntryAdded | EntryChanged | RoleApproved | RoleSubmitted, work: Work) -> None:
    if getattr(event, "kind", "role") == "role":
        work.send(EmbedRoles(), key=EMBED_ROLES)
