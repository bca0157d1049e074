"""The tables of practice. Whatever a person wrote, or quotes them, is sealed under that person's key."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Numeric, SmallInteger, Table, Text, text

from db.metadata import IDENTITY, INSTANT, VALUES, metadata

personal_keys = Table(
    "personal_keys",
    metadata,
    Column("account", IDENTITY, ForeignKey("accounts.id"), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    comment="A key for each person, wrapped under the secret key. Deleting a row erases all that was sealed under it.",
)

scenarios = Table(
    "scenarios",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("slug", Text, unique=True),
    Column("owner", IDENTITY, ForeignKey("accounts.id")),
    Column("industry", Text),
    Column("situation", Text),
    Column("partner", Text),
    Column("version", Integer, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("body", VALUES),
    Column("sealed", LargeBinary),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Index(None, "owner", "created_at", "id"),
    Index(None, "industry", "situation"),
    comment="Those of the seeds have a body; those that a learner wrote are sealed, and theirs alone.",
)

scenario_versions = Table(
    "scenario_versions",
    metadata,
    Column("scenario", IDENTITY, ForeignKey("scenarios.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("body", VALUES),
    Column("sealed", LargeBinary),
    comment="What scenarios said before they were changed, for the conversations that began with it.",
)

learner_scenarios = Table(
    "learner_scenarios",
    metadata,
    Column("account", IDENTITY, ForeignKey("accounts.id"), primary_key=True),
    Column("scenario", IDENTITY, ForeignKey("scenarios.id"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("request", IDENTITY, nullable=False),
    Column("reason", VALUES, nullable=False),
    Column("given_at", INSTANT, nullable=False),
    Index(None, "account", "position", unique=True),
    comment="Which scenarios were chosen for a learner, in which order, and why.",
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("account", IDENTITY, ForeignKey("accounts.id"), nullable=False),
    Column("scenario", IDENTITY, nullable=False),
    Column("parent", IDENTITY),
    Column("parent_version", Integer),
    Column("version", Integer, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("phase", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("pieces", Integer, nullable=False, server_default="0"),
    Column("lease", INSTANT),
    Column("call", IDENTITY),
    Column("title", LargeBinary),
    Column("turns", Integer, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("score", SmallInteger),
    Column("archived", Boolean, nullable=False),
    Column("support", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Column("deleted_at", INSTANT),
    Index(None, "account", "updated_at", "id"),
    Index(None, "updated_at", "id"),
    Index("ix_conversations_busy", "phase", "id", postgresql_where=text("phase <> 'idle'")),
    comment="The head of each conversation: its last version, the last number of its log, and who answers in it under which fence.",
)

conversation_log = Table(
    "conversation_log",
    metadata,
    Column("conversation", IDENTITY, primary_key=True),
    Column("n", BigInteger, primary_key=True),
    Column("at", INSTANT, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer),
    Column("turn", IDENTITY),
    Column("attempt", Integer),
    Column("data", LargeBinary, nullable=False),
    postgresql_partition_by="RANGE (at)",
    comment="What readers of a conversation are told, without a gap in n: facts as their events have them, sealed pieces of answers.",
)

conversation_snapshots = Table(
    "conversation_snapshots",
    metadata,
    Column("conversation", IDENTITY, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("checksum", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("at", INSTANT, nullable=False),
    comment="Folds that were kept, to fold fewer events; each with its SHA-256. They may be deleted at any time.",
)

model_calls = Table(
    "model_calls",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("conversation", IDENTITY, nullable=False),
    Column("account", IDENTITY, nullable=False),
    Column("turn", IDENTITY, nullable=False),
    Column("purpose", Text, nullable=False, server_default="partner"),
    Column("attempt", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("reserved", Integer, nullable=False),
    Column("tokens_in", Integer),
    Column("tokens_out", Integer),
    Column("cost", Numeric(14, 6)),
    Column("begun_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Index(None, "conversation", "turn", "purpose", "attempt", unique=True),
    Index(None, "begun_at"),
    comment="One row for each call of a model, made before it: running, answered, stopped, failed, orphaned; for partner or coach.",
)

token_budgets = Table(
    "token_budgets",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("reserved", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("at", INSTANT, nullable=False),
    Index(None, "at"),
    comment="Tokens of a conversation, and of a learner on a day (UTC): reserved before a call, settled after it.",
)

stream_generation = Table(
    "stream_generation",
    metadata,
    Column("one", Boolean, primary_key=True),
    Column("generation", Integer, nullable=False),
    comment="Grows with every restore of the database; ids of streams begin with it.",
)
