"""The ledger and the accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0bbe7904b936"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("date_of_birth", sa.Date(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("email", name=op.f("uq_accounts_email")),
    )
    op.create_table(
        "deliveries",
        sa.Column("reaction", sa.Text(), nullable=False),
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("envelope", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("reaction", "message", name=op.f("pk_deliveries")),
        comment="What a reaction or a sent command still owes: waiting, parked behind its key, or dead.",
    )
    op.create_index("ix_deliveries_due", "deliveries", ["due"], unique=False, postgresql_where=sa.text("state = 'waiting'"))
    op.create_index(op.f("ix_deliveries_reaction_key_position"), "deliveries", ["reaction", "key", "position"], unique=False)
    op.create_table(
        "done",
        sa.Column("reaction", sa.Text(), nullable=False),
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reaction", "message", "at", name=op.f("pk_done")),
        comment="The inbox: which reaction has had which event. Partitioned by the time of the event, so that equal entries meet.",
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("v", sa.SmallInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("subject", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("meta", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("stream", "version", name=op.f("uq_events_stream_version")),
        comment="Event store and audit trail; append-only.",
    )
    op.create_table(
        "groups",
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("area", "name", name=op.f("pk_groups")),
        comment="Confirmed positions of every consumer group, ours or not; the streams are rebuilt from here.",
    )
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("lease", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency")),
        comment="Answers by idempotency key: hashed key, MAC of the request, sealed answer.",
    )
    op.create_index(op.f("ix_idempotency_at"), "idempotency", ["at"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        comment="Who leads: the relay, and the one consumer of each ordered reaction.",
    )
    op.create_table(
        "outbox",
        sa.Column("n", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("envelope", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        comment="What has to leave: an event until it is in the feed, a command until the transaction that executes it.",
    )
    op.create_index("ix_outbox_due", "outbox", ["due"], unique=False, postgresql_where=sa.text("kind = 'command'"))
    op.create_index("ix_outbox_events", "outbox", ["n"], unique=False, postgresql_where=sa.text("kind = 'event'"))
    op.create_index("uq_outbox_key", "outbox", ["key"], unique=True, postgresql_where=sa.text("kind = 'command'"))
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        comment="Ed25519 keys of access tokens, sealed under the secret key; the newest signs, all verify.",
    )
    op.create_table(
        "watermarks",
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("area", name=op.f("pk_watermarks")),
        comment="The last position that the relay wrote to each stream.",
    )
    op.create_table(
        "feed",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", sa.Uuid(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("subject", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name=op.f("fk_feed_event")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_feed")),
        sa.UniqueConstraint("event", name=op.f("uq_feed_event")),
        comment="The one gap-free order of all events, given by the relay after commit.",
    )
    op.create_index(op.f("ix_feed_area_position"), "feed", ["area", "position"], unique=False)
    op.create_index(op.f("ix_feed_subject_position"), "feed", ["subject", "position"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_sessions_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_account"), "sessions", ["account"], unique=False)
    op.execute(
        """
        CREATE FUNCTION make_done_week(monday timestamptz) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            week text;
        BEGIN
            -- Marks of a week that came before its partition lie in the default one, which then refuses the partition.
            week := 'done_' || to_char(monday AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass(week) IS NOT NULL THEN
                RETURN;
            END IF;
            EXECUTE format('CREATE TABLE %I (LIKE done INCLUDING ALL)', week);
            EXECUTE format(
                'WITH late AS (DELETE FROM done_other WHERE at >= %L AND at < %L RETURNING *) INSERT INTO %I SELECT * FROM late',
                monday, monday + interval '7 days', week
            );
            EXECUTE format(
                'ALTER TABLE done ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', week, monday, monday + interval '7 days'
            );
        END $$
        """
    )
    op.execute("CREATE TABLE done_other PARTITION OF done DEFAULT")
    op.execute(
        """
        SELECT make_done_week(date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + n * interval '7 days')
        FROM generate_series(0, 2) AS n
        """
    )
