"""The AsyncAPI 3.0 document: the streams and the personal feed as others see them, made of the types of the events."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from app.evolution import published
from bus.catalog import MessageType
from bus.message import Event
from bus.transport import FIELDS, PREFIX

Document = dict[str, Any]

# The version of what is said here of every event: entry ids, fields, delivery. Each event has a version of its own besides.
VERSION = "1.0.0"
SCHEMAS = "#/components/schemas/"
FEED = "/api/v2/events"
INTRODUCTION = """Everything that has happened, as it is published to other services and to the person whom it concerns.

The document speaks for FluentPro, so its operations *send*; a reader receives the same messages on the same channels. Messages are in
their current versions. Entries that were recorded earlier keep their version, whose schema is in the repository under `docs/schemas`.
How to read a stream so that every effect happens once is said in `docs/consuming.md`."""
STREAM = """A Redis stream with one entry for each event, delivered at least once, and in order for each `key`. The id of an entry is
`<position>-0`; positions grow through all streams and never repeat, so a reader drops those that it has had. Read it with a consumer
group of your own."""
PERSONAL = """Server-sent events for the account of the access token: `id` is the position, `event` the `type`, `data` the JSON that is
described here. `Last-Event-ID` goes on behind a position; `0` is everything that is kept."""

_UUID: Document = {"type": "string", "format": "uuid"}
_INSTANT: Document = {"type": "string", "format": "date-time"}
_ENTRY: dict[str, Document] = {
    "id": {**_UUID, "description": "The event's own id."},
    "position": {"type": "string", "pattern": "^[1-9][0-9]*$", "description": "Its place in the order of all events."},
    "type": {"type": "string", "description": "The wire name."},
    "version": {"type": "string", "pattern": "^[1-9][0-9]*$", "description": "Which version of the type `data` is of."},
    "occurred_at": {**_INSTANT, "description": "In UTC."},
    "subject": {"type": "string", "description": "The account that it concerns, a UUID; empty when it concerns none."},
    "key": {"type": "string", "description": "Entries of one key are in order; empty when the order means nothing."},
    "correlation_id": {"type": "string", "description": "The request that everything else came from."},
    "causation_id": {"type": "string", "description": "The message that led to this one."},
    "traceparent": {"type": "string", "description": "The W3C trace context, or empty."},
    "actor": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "Who did it: `kind`, and ids as far as they are known.",
    },
}


def _object(properties: dict[str, Document]) -> Document:
    return {"type": "object", "properties": properties, "required": list(properties)}


_CONTROLS: dict[str, Document] = {
    "stream.reset": {
        "name": "stream.reset",
        "summary": "The id cannot be resumed. Read the full state at `read`; what follows begins behind `position`.",
        "payload": _object({"read": {"type": "string"}, "position": {"type": "integer"}}),
    },
    "stream.reconnect": {
        "name": "stream.reconnect",
        "summary": "The stream ends here; connect again with the last id.",
        "payload": {"type": "object"},
    },
}


def document(messages: Iterable[MessageType]) -> Document:
    events = sorted((message for message in messages if issubclass(message, Event)), key=lambda event: event.wire.name)
    references, schemas = msgspec.json.schema_components([published(event) for event in events], ref_template=SCHEMAS + "{name}")
    streams = {area: [event for event in events if event.wire.area == area] for area in sorted({event.wire.area for event in events})}
    payloads = dict(zip(events, references, strict=True))
    entries = {_id(event): _entry(event, payload) for event, payload in payloads.items()}
    pushed = {f"feed.{_id(event)}": _pushed(event, payload) for event, payload in payloads.items() if event.wire.seen} | _CONTROLS
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "FluentPro", "version": VERSION, "description": INTRODUCTION},
        "defaultContentType": "application/json",
        "servers": {
            "redis": {"host": "{redis}", "protocol": "redis", "variables": {"redis": {"default": "127.0.0.1:6379"}}},
            "web": {"host": "{web}", "protocol": "http", "variables": {"web": {"default": "127.0.0.1:8000"}}},
        },
        "channels": {
            **{
                PREFIX + area: _channel(PREFIX + area, "redis", STREAM, [_id(event) for event in members])
                for area, members in streams.items()
            },
            "feed": _channel(FEED, "web", PERSONAL, pushed),
        },
        "operations": {
            **{f"publish.{area}": {"action": "send", "channel": {"$ref": f"#/channels/{PREFIX}{area}"}} for area in streams},
            "stream_own_events": {
                "action": "send",
                "channel": {"$ref": "#/channels/feed"},
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
                "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "messages": {**entries, **pushed},
            "schemas": {
                "Entry": _object({name: _ENTRY[name] for name in FIELDS if name != "data"}),
                **_draft_07(dict(sorted(schemas.items()))),
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _draft_07(part: Any) -> Any:
    """Schemas in the words of AsyncAPI, which are those of JSON Schema draft 07; a tag is said by its `enum` anyway."""
    if isinstance(part, list):
        return [_draft_07(item) for item in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    found = {name: _draft_07(value) for name, value in cast("Document", part).items()}
    if "anyOf" in found:
        found.pop("discriminator", None)
    if isinstance(found.get("prefixItems"), list):
        found |= {"items": found.pop("prefixItems"), "additionalItems": False}
    return found


def _id(event: type[Event]) -> str:
    return f"{event.wire.name}.v{event.wire.version}"


def _channel(address: str, server: str, description: str, messages: Iterable[str]) -> Document:
    return {
        "address": address,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        **({"bindings": {"redis": {}}} if server == "redis" else {}),
    }


def _entry(event: type[Event], payload: Document) -> Document:
    """The payload is the field `data`; the other fields of the entry are its headers."""
    told = {"type": {"const": event.wire.name}, "version": {"const": str(event.wire.version)}}
    return {
        **_about(event),
        "correlationId": {"location": "$message.header#/correlation_id"},
        "headers": {"type": "object", "allOf": [{"$ref": f"{SCHEMAS}Entry"}, {"properties": told}]},
        "payload": payload,
        "x-key": event.wire.key,
        "x-subject": event.wire.subject,
    }


def _pushed(event: type[Event], payload: Document) -> Document:
    return {
        **_about(event),
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "payload": _object(
            {
                "id": _UUID,
                "type": {"const": event.wire.name},
                "version": {"const": event.wire.version},
                "occurred_at": _INSTANT,
                "subject": _UUID,
                "correlation_id": {"type": "string"},
                "data": payload,
            }
        ),
    }


def _about(event: type[Event]) -> Document:
    summary = " ".join((event.__doc__ or "").split())
    return {"name": event.wire.name, "title": event.__name__, **({"summary": summary} if summary else {})}
