"""The composition root: settings -> engine, Redis, ports, bus; one `async with`."""

import importlib
import pkgutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec
import uuid_utils
from faststream.redis import RedisBroker

import domain
import handlers
from app.announcing import Announcer
from app.checkpoints import CheckpointFolder
from app.ports.builtin_embedder import BuiltInEmbedder, seed_roles
from app.ports.embedder import Embedders
from app.ports.fallback import FallbackChain
from app.ports.fingerprint import HmacFingerprint
from app.ports.mail import FolderMailer, SmtpMailer
from app.ports.passwords import Argon2Passwords
from app.ports.scripted_model import ScriptedModel
from app.sealing import PersonVault, Sealer
from app.settings import Settings
from app.stream_log import StreamWriter
from app.tokens import SigningKey
from bus.catalog import Catalog, messages_in, upcasters_in
from bus.dispatch import Bus
from bus.inbox import Inbox, InboxSettings
from bus.registry import Registry
from bus.relay import Relay, RelaySettings
from bus.transport import Streams, make_broker
from bus.work import Jobs
from bus.worker import Worker
from db.accounts import CONSTRAINTS
from db.bell import Bell
from db.catalogue.repositories import CONSTRAINTS as CATALOGUE_CONSTRAINTS
from db.connection import Database
from db.ledger import PostgresLedger
from db.practice.log import LogAppender
from db.reads import Reads
from db.seeds import load as load_seeds
from db.seeds import load_scenarios
from db.session import Work, unit
from handlers.policy import POLICY
from handlers.ports import (
    Clock,
    Embedder,
    Fingerprint,
    InboxWindow,
    KeyMaker,
    LanguageModel,
    Mailer,
    NewId,
    NewSigningKey,
    Passwords,
    PracticeLimits,
    ScenarioSource,
    SeedSource,
    SessionLifetime,
    StreamLog,
    Vault,
)
from tasks.turns import TurnQueue

PORTS = (Mailer, Passwords, Fingerprint, KeyMaker, Embedder, LanguageModel, SeedSource, ScenarioSource, StreamLog, Reads)


def utc_now() -> datetime:
    return datetime.now(UTC)


def uuid7() -> UUID:
    return UUID(int=uuid_utils.uuid7().int)


class Ports(msgspec.Struct, kw_only=True, frozen=True):
    """What tests may replace. None is the shipped adapter."""

    clock: Clock = utc_now
    new_id: NewId = uuid7
    mailer: Mailer | None = None
    embedder: Embedder | None = None
    language_model: LanguageModel | None = None
    seeds: SeedSource = load_seeds
    scenarios: ScenarioSource = load_scenarios


def modules_of(package: ModuleType) -> list[ModuleType]:
    """Every module of a package, imported."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(module.name) for module in found]


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a process of the house may need, put together."""

    settings: Settings
    clock: Clock
    new_id: NewId
    sealer: Sealer
    database: Database
    bell: Bell
    ledger: PostgresLedger
    reads: Reads
    broker: RedisBroker
    streams: Streams
    bus: Bus
    inbox: Inbox
    vault: Vault
    limits: PracticeLimits
    log: LogAppender
    writer: StreamWriter

    def relay(self, jobs: Jobs, heard: Callable[[float], Any] | None = None) -> Relay:
        settings = self.settings
        return Relay(
            self.ledger,
            self.streams,
            jobs,
            CheckpointFolder(settings.checkpoint_path, self.sealer),
            areas=self.bus.catalog.areas,
            reactions=self.bus.registry.reactions,
            clock=self.clock,
            holder=self.new_id(),
            heard=heard or self.bell.heard,
            settings=RelaySettings(
                lease=settings.relay_lease,
                poll=settings.relay_poll,
                seal_every=settings.seal_every,
                job_lease=settings.job_lease,
                stream_days=settings.stream_days,
            ),
        )

    def turns(self) -> TurnQueue:
        async def waiting(most: int) -> list[UUID]:
            return await self.log.waiting(most, now=self.clock())

        return TurnQueue(self.bus, waiting, self.bell.heard, self.writer.let_go, most=self.settings.turns_at_once)

    def worker(self) -> Worker:
        return Worker(
            self.bus.registry,
            self.inbox,
            self.ledger,
            self.streams,
            clock=self.clock,
            holder=self.new_id(),
            lease=self.settings.relay_lease,
            reclaim_idle=self.settings.reclaim_idle,
        )


def make_registry(
    settings: Settings,
    *,
    sealer: Sealer,
    ports: Mapping[Any, object],
    clock: Clock,
    new_id: NewId,
    modules: tuple[ModuleType, ...] = (),
) -> Registry:
    """Raises `CannotStart` with everything that is missing. `modules` are added to those of the house, for tests of the bus."""
    declaring = [*modules_of(domain), *modules]
    policy = dict(POLICY)
    for module in modules:
        policy |= getattr(module, "POLICY", {})
    return Registry(
        [*modules_of(handlers), *modules],
        Catalog(messages_in(declaring), sealer, upcasters_in(declaring)),
        policy=policy,
        work=Work,
        values={
            Clock: clock,
            NewId: new_id,
            SessionLifetime: timedelta(days=settings.session_days),
            InboxWindow: timedelta(days=settings.done_days),
            PracticeLimits: limits_of(settings),
            Vault: PersonVault(sealer),
        },
        ports=ports,
    )


def limits_of(settings: Settings) -> PracticeLimits:
    return PracticeLimits(
        conversation=settings.tokens_per_conversation,
        day=settings.tokens_per_day,
        answer=settings.tokens_per_answer,
        context=settings.tokens_of_context,
        lease=timedelta(seconds=settings.turn_lease),
        kept=timedelta(days=settings.log_days),
        price_in=settings.llm_price_in,
        price_out=settings.llm_price_out,
    )


def make_mailer(settings: Settings) -> Mailer:
    if settings.smtp_url:
        return SmtpMailer(settings.smtp_url, settings.mail_from)
    return FolderMailer(settings.data_path / "mail", settings.mail_from)


@asynccontextmanager
async def opened_embedder(settings: Settings) -> AsyncGenerator[Embedder, None]:
    """The configured one, or else the built-in."""
    built_in = BuiltInEmbedder(seed_roles())
    if not settings.embedder_url:
        yield Embedders(built_in, built_in)
        return
    from app.ports.openai_api import OpenAIEmbedder  # noqa: PLC0415 - most of a second, for those who have configured it only

    configured = OpenAIEmbedder(settings.embedder_url, settings.embedder_key, settings.embedder_model, timeout=settings.embedder_timeout)
    async with aclosing(configured):
        yield Embedders(configured, built_in)


@asynccontextmanager
async def opened_language_model(settings: Settings, clock: Clock) -> AsyncGenerator[LanguageModel, None]:
    """The configured one with its fallbacks, or else the scripted."""
    if not settings.llm_url:
        yield ScriptedModel(pace=settings.scripted_pace, attempts=settings.llm_attempts)
        return
    from app.ports.openai_api import Limits, OpenAIModel  # noqa: PLC0415 - the same

    limits = Limits(
        connect=settings.llm_connect_timeout,
        first_token=settings.llm_first_token_timeout,
        between_tokens=settings.llm_between_tokens_timeout,
    )
    model = OpenAIModel(settings.llm_url, settings.llm_key, settings.llm_model, timeout=settings.llm_timeout, limits=limits)
    async with aclosing(model):
        yield FallbackChain(model, settings.llm_fallbacks, attempts=settings.llm_attempts, clock=clock)


@asynccontextmanager
async def open_house(
    settings: Settings, ports: Ports | None = None, *, modules: tuple[ModuleType, ...] = ()
) -> AsyncGenerator[House, None]:
    """The house for one process, and its end. Neither PostgreSQL nor Redis must answer yet."""
    ports = ports or Ports()
    sealer = Sealer(settings.secret_key)
    async with AsyncExitStack() as stack:
        database = Database(
            settings.database_url,
            direct_url=settings.database_direct_url,
            pool=settings.database_pool,
            constraints={**CONSTRAINTS, **CATALOGUE_CONSTRAINTS},
        )
        stack.push_async_callback(database.close)
        passwords = Argon2Passwords(settings.hash_concurrency)
        stack.push_async_callback(passwords.close)
        broker = make_broker(settings.redis_url)
        stack.push_async_callback(broker.stop)
        reads = Reads(database)
        announcer = Announcer(settings.redis_url)
        await stack.enter_async_context(announcer.running())
        # Of its own, for a lease and a word must not wait behind a hundred commands.
        beside = Database(settings.database_url, pool=2)
        stack.push_async_callback(beside.close)
        appender = LogAppender(beside)
        writer = StreamWriter(appender, announcer, clock=ports.clock, lease=timedelta(seconds=settings.turn_lease))
        await stack.enter_async_context(writer.running())
        registry = make_registry(
            settings,
            sealer=sealer,
            ports={
                Mailer: ports.mailer or make_mailer(settings),
                Passwords: passwords,
                Fingerprint: HmacFingerprint(sealer, "sign_in.address"),
                KeyMaker: partial(_new_signing_key, sealer, ports.clock),
                Embedder: ports.embedder or await stack.enter_async_context(opened_embedder(settings)),
                LanguageModel: ports.language_model or await stack.enter_async_context(opened_language_model(settings, ports.clock)),
                SeedSource: ports.seeds,
                ScenarioSource: ports.scenarios,
                Reads: reads,
                StreamLog: writer,
            },
            clock=ports.clock,
            new_id=ports.new_id,
            modules=modules,
        )
        bell = Bell(database)
        await stack.enter_async_context(bell.ringing())
        ledger = PostgresLedger(database, bell, partial(unit, snapshot_every=settings.snapshot_every))
        bus = Bus(registry, ledger, clock=ports.clock, new_id=ports.new_id, claim_lease=settings.claim_lease, announce=announcer)
        inbox_settings = InboxSettings(
            tries=settings.reaction_tries,
            first=settings.backoff_first,
            most=settings.backoff_most,
            done_days=settings.done_days,
            lease=settings.job_lease,
        )
        yield House(
            settings=settings,
            clock=ports.clock,
            new_id=ports.new_id,
            sealer=sealer,
            database=database,
            bell=bell,
            ledger=ledger,
            reads=reads,
            broker=broker,
            streams=Streams(broker),
            bus=bus,
            inbox=Inbox(bus, ledger, clock=ports.clock, settings=inbox_settings),
            vault=PersonVault(sealer),
            limits=limits_of(settings),
            log=appender,
            writer=writer,
        )


def _new_signing_key(sealer: Sealer, clock: Clock) -> NewSigningKey:
    key = SigningKey.generate(clock())
    return NewSigningKey(kid=key.kid, sealed=key.sealed(sealer))
