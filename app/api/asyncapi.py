"""The AsyncAPI document of this build, for those who read its streams and its feed."""

import hashlib
from functools import lru_cache

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from app.api.accounts import IfNoneMatch
from app.api.preconditions import etag_of, is_known
from app.asyncapi import document
from bus.catalog import MessageType
from bus.dispatch import Bus


@get("/api/asyncapi", include_in_schema=False, opt={"public": True}, sync_to_thread=False)
def get_asyncapi(bus: NamedDependency[Bus], if_none_match: IfNoneMatch = None) -> Response[bytes | None]:
    body, digest = _rendered(tuple(bus.catalog.messages))
    headers = {"ETag": etag_of(digest), "Cache-Control": "public, max-age=300"}
    if is_known(if_none_match, digest):
        return Response(None, status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@lru_cache(maxsize=1)
def _rendered(messages: tuple[MessageType, ...]) -> tuple[bytes, str]:
    """What is served, and what it is known by."""
    body = msgspec.json.encode(document(messages))
    return body, hashlib.sha256(body).hexdigest()[:32]
