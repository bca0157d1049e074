"""The tables of the ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from db.metadata import DOCUMENT, IDENTITY, INSTANT, metadata

events = Table(
    "events",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("stream", Text),
    Column("version", Integer),
    Column("name", Text, nullable=False),
    Column("v", SmallInteger, nullable=False),
    Column("key", Text),
    Column("subject", IDENTITY),
    Column("data", DOCUMENT, nullable=False),
    Column("meta", DOCUMENT, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("personal", DOCUMENT),
    UniqueConstraint("stream", "version"),
    comment="Event store and audit trail; append-only.",
)

feed = Table(
    "feed",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event", IDENTITY, ForeignKey("events.id"), nullable=False, unique=True),
    Column("area", Text, nullable=False),
    Column("key", Text),
    Column("subject", IDENTITY),
    # Without a name where a relay of the build before the column gave the position.
    Column("name", Text),
    Column("actor", IDENTITY),
    Index(None, "area", "position"),
    Index(None, "subject", "position"),
    Index(None, "name", "position"),
    Index(None, "actor", "position", postgresql_where=text("actor IS NOT NULL")),
    comment="The one gap-free order of all events, given by the relay after commit.",
)

outbox = Table(
    "outbox",
    metadata,
    Column("n", BigInteger, Identity(), nullable=False),
    Column("id", IDENTITY, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text),
    Column("due", INSTANT),
    Column("lease", INSTANT),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("begun", Boolean, nullable=False, server_default="false"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("envelope", DOCUMENT),
    Index("ix_outbox_events", "n", postgresql_where=text("kind = 'event'")),
    Index("ix_outbox_due", "due", postgresql_where=text("kind = 'command'")),
    Index("uq_outbox_key", "key", unique=True, postgresql_where=text("kind = 'command'")),
    comment="What has to leave: an event until it is in the feed, a command until the transaction that executes it.",
)

done = Table(
    "done",
    metadata,
    Column("reaction", Text, primary_key=True),
    Column("message", IDENTITY, primary_key=True),
    Column("at", INSTANT, primary_key=True),
    postgresql_partition_by="RANGE (at)",
    comment="The inbox: which reaction has had which event. Partitioned by the time of the event, so that equal entries meet.",
)

deliveries = Table(
    "deliveries",
    metadata,
    # The defaults are for processes of the build before these columns.
    Column("id", IDENTITY, nullable=False, unique=True, server_default=text("gen_random_uuid()")),
    Column("at", INSTANT, nullable=False, server_default=text("now()")),
    Column("reaction", Text, primary_key=True),
    Column("message", IDENTITY, primary_key=True),
    Column("state", Text, nullable=False),
    Column("key", Text),
    Column("position", BigInteger),
    Column("tries", Integer, nullable=False),
    Column("due", INSTANT),
    Column("error", Text),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("envelope", DOCUMENT, nullable=False),
    Index("ix_deliveries_due", "due", postgresql_where=text("state = 'waiting'")),
    Index(None, "reaction", "key", "position"),
    Index(None, "at", "id", postgresql_where=text("state = 'dead'")),
    comment="What a reaction or a sent command still owes: waiting, parked behind its key, or dead.",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("lease", INSTANT, nullable=False),
    Column("at", INSTANT, nullable=False),
    Index(None, "at"),
    comment="Answers by idempotency key: hashed key, MAC of the request, sealed answer.",
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", IDENTITY, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until", INSTANT, nullable=False),
    comment="Who leads: the relay, and the one consumer of each ordered reaction.",
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("area", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    comment="The last position that the relay wrote to each stream.",
)

seals = Table(
    "seals",
    metadata,
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("after", BigInteger, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("kept", Boolean, nullable=False, server_default="false"),
    Index(None, "n", postgresql_where=text("NOT kept")),
    comment="Signed checkpoints of the feed, each hash covering the one before; kept says that one lies outside the database too.",
)

groups = Table(
    "groups",
    metadata,
    Column("area", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("moved_at", INSTANT, nullable=False),
    comment="Confirmed positions of every consumer group, ours or not; the streams are rebuilt from here.",
)
