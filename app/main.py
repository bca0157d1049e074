"""`create_app`: the web process as Litestar sees it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from types import ModuleType
from typing import Annotated, Any, cast

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Tag
from litestar.params import HeaderParameter
from redis.asyncio import Redis

from app.api import (
    accounts,
    admin_conversations,
    asyncapi,
    audit,
    catalogue,
    connections,
    dead_letters,
    events,
    health,
    pages,
    role_matches,
    role_submissions,
    sockets,
    tickets,
)
from app.api.catalogue_admin import entries as catalogue_entries
from app.api.catalogue_admin import files as catalogue_files
from app.api.catalogue_admin import roles as catalogue_roles
from app.api.cursors import Cursors
from app.api.envelope import Meta
from app.api.onboarding import funnel, journey
from app.api.practice import acting, conversations, drafts, scenario_files, scenarios, streams
from app.api.practice import sockets as conversation_sockets
from app.api.practice.streams import ConversationStreams
from app.auth import Authentication
from app.bootstrap import House, Ports, open_house
from app.connections import Connections
from app.conversation_stream import ConversationHub
from app.errors import exception_handlers
from app.jobs_page import jobs_page
from app.middleware import around
from app.ports.drafts import RedisDrafts
from app.ratelimit import Limit, RateLimit
from app.settings import Settings
from app.streaming import Hub, PersonalFeed
from app.validation import MAX_BODY, json_request
from bus.dispatch import Bus
from bus.message import ANONYMOUS, Actor, FieldError, Trace
from bus.pipeline import Once
from db.reads import Reads
from domain.errors import Invalid
from tasks.queue import close_queue, make_queue

VERSION = "2.0"
TAGS = [
    Tag(name="auth", description="Signing up and signing in."),
    Tag(name="users", description="A person's own account."),
    Tag(name="catalogue", description="What a learner can choose from."),
    Tag(name="onboarding", description="From the first screen to a work profile."),
    Tag(name="practice", description="Scenarios, and conversations in them."),
    Tag(name="events", description="What happens to a person, as it happens."),
    Tag(name="admin", description="For those who operate this installation."),
    Tag(name="health", description="For those who run the service."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", description="The same key with the same request gives the answer of the first, for 24 hours."),
]
KEY_LEAST = 22
KEY_MOST = 255


def create_app(
    settings: Settings, ports: Ports | None = None, *, modules: tuple[ModuleType, ...] = (), routes: Sequence[HTTPRouteHandler] = ()
) -> Litestar:
    """The application. Its lifespan opens the house; neither PostgreSQL nor Redis must answer yet.

    `modules` and `routes` are added to those of the house, for tests that need an area of their own.
    """
    ports = ports or Ports()

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
        async with open_house(settings, ports, modules=modules) as house:
            seen = house.bus.catalog.seen
            hub = Hub(house.streams, house.reads, areas=house.bus.catalog.areas, seen=seen, clock=house.clock)
            app.state.house = house
            app.state.authentication = Authentication(house.reads, house.sealer, settings, house.clock)
            app.state.hub = hub
            app.state.feed = PersonalFeed(hub, house.reads, seen=seen, clock=house.clock, kept_days=settings.feed_days)
            conversation_hub = ConversationHub(settings.redis_url, house.reads)
            hub.heard.append(conversation_hub.heard)
            hub.missed.append(conversation_hub.all_behind)
            app.state.conversation_streams = ConversationStreams(conversation_hub, hub, house.reads, house.vault, house.clock)
            app.state.connections = connected = Connections(
                settings.redis_url, ttl=settings.connection_ttl, clock=house.clock, new_id=house.new_id
            )
            app.state.drafts = kept = RedisDrafts(settings.redis_url, timedelta(days=settings.draft_days).total_seconds())
            app.state.jobs = jobs = make_queue(settings.redis_url)
            try:
                async with hub.running(), conversation_hub.running(), connected.running(), aclosing(kept), limiter:
                    yield
            finally:
                await close_queue(jobs)

    limiter: Redis = cast("Any", Redis).from_url(settings.redis_url, socket_connect_timeout=1, socket_timeout=1)
    limit = Limit(burst=settings.auth_rate_burst, per_minute=settings.auth_rate_per_minute)
    app = Litestar(
        route_handlers=[
            Router(
                "/api/v2",
                route_handlers=[
                    accounts.sign_up,
                    accounts.log_in,
                    tickets.issue_ticket,
                    accounts.get_own_profile,
                    accounts.change_own_profile,
                    events.stream_own_events,
                    sockets.follow,
                    catalogue.list_languages,
                    catalogue.list_industries,
                    catalogue.list_hierarchy_levels,
                    catalogue.list_roles,
                    catalogue.get_role,
                    catalogue.list_partners,
                    catalogue.list_situations,
                    journey.get_onboarding,
                    journey.choose_native_language,
                    journey.set_learning_goals,
                    journey.choose_industry,
                    journey.choose_role,
                    journey.choose_partners,
                    journey.choose_situations,
                    journey.choose_all_situations,
                    journey.switch_reminders,
                    journey.pause_onboarding,
                    journey.reset_onboarding,
                    journey.complete_onboarding,
                    funnel.get_onboarding_funnel,
                    dead_letters.list_dead_letters,
                    dead_letters.get_dead_letter,
                    dead_letters.replay_dead_letter,
                    dead_letters.drop_dead_letter,
                    audit.search_audit_trail,
                    connections.list_connections,
                    admin_conversations.list_admin_conversations,
                    admin_conversations.inspect_conversation,
                    admin_conversations.list_admin_versions,
                    role_matches.match_roles,
                    catalogue_entries.list_admin_entries,
                    catalogue_entries.add_entry,
                    catalogue_entries.get_admin_entry,
                    catalogue_entries.change_entry,
                    catalogue_entries.retire_entry,
                    catalogue_roles.list_admin_roles,
                    catalogue_roles.add_role,
                    catalogue_roles.get_admin_role,
                    catalogue_roles.change_role,
                    catalogue_roles.retire_role,
                    catalogue_files.export_entries,
                    catalogue_files.export_roles,
                    catalogue_files.import_entries,
                    catalogue_files.import_roles,
                    conversations.start_conversation,
                    conversations.list_conversations,
                    conversations.get_conversation,
                    conversations.change_conversation,
                    conversations.delete_conversation,
                    acting.submit_turn,
                    acting.retry_turn,
                    acting.stop_answer,
                    acting.undo_action,
                    acting.redo_action,
                    acting.end_scene,
                    acting.fork_conversation,
                    conversations.list_versions,
                    conversations.list_attempts,
                    conversations.export_conversation,
                    streams.stream_conversation,
                    conversation_sockets.converse,
                    drafts.keep_draft,
                    drafts.get_draft,
                    drafts.drop_draft,
                    scenarios.list_scenarios,
                    scenarios.get_scenario,
                    scenarios.write_scenario,
                    scenarios.rewrite_scenario,
                    scenarios.request_scenarios,
                    scenario_files.export_scenarios,
                    scenario_files.import_scenarios,
                    role_submissions.list_role_submissions,
                    role_submissions.get_role_submission,
                    role_submissions.approve_role_submission,
                    role_submissions.reject_role_submission,
                ],
            ),
            accounts.get_jwks,
            health.get_liveness,
            health.get_startup,
            health.get_readiness,
            asyncapi.get_asyncapi,
            pages.problem_list,
            pages.problem_page,
            jobs_page(),
            *routes,
        ],
        lifespan=[lifespan],
        dependencies={
            "house": Provide(provide_house, sync_to_thread=False),
            "bus": Provide(provide_bus, sync_to_thread=False),
            "reads": Provide(provide_reads, sync_to_thread=False),
            "authentication": Provide(provide_authentication, sync_to_thread=False),
            "feed": Provide(provide_feed, sync_to_thread=False),
            "connections": Provide(provide_connections, sync_to_thread=False),
            "drafts": Provide(provide_drafts, sync_to_thread=False),
            "conversation_streams": Provide(provide_conversation_streams, sync_to_thread=False),
            "actor": Provide(provide_actor, sync_to_thread=False),
            "trace": Provide(provide_trace, sync_to_thread=False),
            "meta": Provide(provide_meta, sync_to_thread=False),
            "cursors": Provide(provide_cursors, sync_to_thread=False),
            "once": Provide(provide_once, sync_to_thread=False),
            "screen": Provide(journey.provide_screen),
            "steps": Provide(journey.provide_steps),
        },
        middleware=[RateLimit(limiter, {"auth": limit})],
        exception_handlers=exception_handlers,
        request_class=json_request(ports.clock),
        request_max_body_size=MAX_BODY,
        openapi_config=pages.openapi_config(
            title="FluentPro", version=VERSION, description="Practising professional English with AI partners.", tags=TAGS
        ),
        debug=False,
        logging_config=None,
    )
    return around(app, ports.new_id)


def provide_house(state: State) -> House:
    return cast("House", state.house)


def provide_bus(state: State) -> Bus:
    return provide_house(state).bus


def provide_reads(state: State) -> Reads:
    return provide_house(state).reads


def provide_authentication(state: State) -> Authentication:
    return cast("Authentication", state.authentication)


def provide_conversation_streams(state: State) -> ConversationStreams:
    return cast("ConversationStreams", state.conversation_streams)


def provide_connections(state: State) -> Connections:
    return cast("Connections", state.connections)


def provide_drafts(state: State) -> RedisDrafts:
    return cast("RedisDrafts", state.drafts)


def provide_feed(state: State) -> PersonalFeed:
    return cast("PersonalFeed", state.feed)


def provide_actor(request: Request[Any, Any, Any]) -> Actor:
    return request.scope["state"].get("actor", ANONYMOUS)


def provide_trace(request: Request[Any, Any, Any]) -> Trace:
    return cast("Trace", request.scope["state"]["trace"])


def provide_meta(request: Request[Any, Any, Any], state: State) -> Meta:
    return Meta(request_id=provide_trace(request).correlation_id, timestamp=provide_house(state).clock())


def provide_cursors(state: State) -> Cursors:
    return Cursors(provide_house(state).sealer)


def provide_once(request: Request[Any, Any, Any], idempotency_key: IdempotencyKey = None) -> Once | None:
    """The idempotency key of the request. An anonymous caller is nobody, so their key must be hard to guess, and counts for its route."""
    key = idempotency_key
    if key is None:
        return None
    actor = provide_actor(request)
    if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= KEY_MOST:
        raise _bad_key(f"Send 1 to {KEY_MOST} printable ASCII characters.")
    if actor.id is None and len(key) < KEY_LEAST:
        raise _bad_key(f"Without a token the key must hold at least 128 random bits: a UUID, or {KEY_LEAST} random characters.")
    return Once(key, caller=f"anonymous {request.scope['path_template']}" if actor.id is None else f"person {actor.id}")


def _bad_key(message: str) -> Invalid:
    return Invalid(errors=(FieldError("/Idempotency-Key", "not_allowed", message),))
