"""Practice: conversations, the log of what their readers are told, scenarios, calls of models, and a key for each person."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "d1d5a51c2f01"
down_revision = "c3c9c32b1003"


def upgrade() -> None:
    op.create_table(
        "conversation_log",
        sa.Column("conversation", sa.Uuid(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("turn", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("conversation", "n", "at", name=op.f("pk_conversation_log")),
        comment="What readers of a conversation are told, without a gap in n: facts as their events have them, sealed pieces of answers.",
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "conversation_snapshots",
        sa.Column("conversation", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation", "version", name=op.f("pk_conversation_snapshots")),
        comment="Folds that were kept, to fold fewer events; each with its SHA-256. They may be deleted at any time.",
    )
    op.create_table(
        "model_calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("turn", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column("cost", sa.Numeric(precision=14, scale=6), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_calls")),
        comment="One row for each call of a model, made before the call: running, answered, stopped, failed, or orphaned by a lost worker.",
    )
    op.create_index(op.f("ix_model_calls_begun_at"), "model_calls", ["begun_at"], unique=False)
    op.create_index(op.f("ix_model_calls_conversation_turn_attempt"), "model_calls", ["conversation", "turn", "attempt"], unique=True)
    op.create_table(
        "stream_generation",
        sa.Column("one", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_stream_generation")),
        comment="Grows with every restore of the database; ids of streams begin with it.",
    )
    op.create_table(
        "token_budgets",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_token_budgets")),
        comment="Tokens of a conversation, and of a learner on a day (UTC): reserved before a call, settled after it.",
    )
    op.create_index(op.f("ix_token_budgets_at"), "token_budgets", ["at"], unique=False)
    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("scenario", sa.Uuid(), nullable=False),
        sa.Column("parent", sa.Uuid(), nullable=True),
        sa.Column("parent_version", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease", sa.DateTime(timezone=True), nullable=True),
        sa.Column("call", sa.Uuid(), nullable=True),
        sa.Column("title", sa.LargeBinary(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("score", sa.SmallInteger(), nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("support", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_conversations_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
        comment="The head of each conversation: its last version, the last number of its log, and who answers in it under which fence.",
    )
    op.create_index(op.f("ix_conversations_account_updated_at_id"), "conversations", ["account", "updated_at", "id"], unique=False)
    op.create_index("ix_conversations_busy", "conversations", ["phase", "id"], unique=False, postgresql_where=sa.text("phase <> 'idle'"))
    op.create_index(op.f("ix_conversations_updated_at_id"), "conversations", ["updated_at", "id"], unique=False)
    op.create_table(
        "personal_keys",
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_personal_keys_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_personal_keys")),
        comment="A key for each person, wrapped under the secret key. Deleting a row erases all that was sealed under it.",
    )
    op.create_table(
        "scenarios",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=True),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("industry", sa.Text(), nullable=True),
        sa.Column("situation", sa.Text(), nullable=True),
        sa.Column("partner", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["accounts.id"], name=op.f("fk_scenarios_owner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scenarios")),
        sa.UniqueConstraint("slug", name=op.f("uq_scenarios_slug")),
        comment="Those of the seeds have a body; those that a learner wrote are sealed, and theirs alone.",
    )
    op.create_index(op.f("ix_scenarios_industry_situation"), "scenarios", ["industry", "situation"], unique=False)
    op.create_index(op.f("ix_scenarios_owner_created_at_id"), "scenarios", ["owner", "created_at", "id"], unique=False)
    op.create_table(
        "learner_scenarios",
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("scenario", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("request", sa.Uuid(), nullable=False),
        sa.Column("reason", postgresql.JSONB(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_learner_scenarios_account")),
        sa.ForeignKeyConstraint(["scenario"], ["scenarios.id"], name=op.f("fk_learner_scenarios_scenario")),
        sa.PrimaryKeyConstraint("account", "scenario", name=op.f("pk_learner_scenarios")),
        comment="Which scenarios were chosen for a learner, in which order, and why.",
    )
    op.create_index(op.f("ix_learner_scenarios_account_position"), "learner_scenarios", ["account", "position"], unique=True)
    op.add_column("events", sa.Column("personal", postgresql.JSON(), nullable=True))

    op.execute(
        """
        CREATE FUNCTION make_log_day(day date) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            partition text := 'conversation_log_' || to_char(day, 'YYYYMMDD');
            begins timestamptz := day::timestamp AT TIME ZONE 'UTC';
            ends timestamptz := begins + interval '1 day';
        BEGIN
            IF to_regclass(partition) IS NOT NULL THEN
                RETURN;
            END IF;
            -- What came before its partition lies in the default one, which would refuse it.
            EXECUTE format('CREATE TABLE %I (LIKE conversation_log INCLUDING ALL)', partition);
            EXECUTE format(
                'WITH late AS (DELETE FROM conversation_log_other WHERE at >= %L AND at < %L RETURNING *) '
                'INSERT INTO %I SELECT * FROM late',
                begins, ends, partition
            );
            EXECUTE format('ALTER TABLE conversation_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition, begins, ends);
        END $$
        """
    )
    op.execute("CREATE TABLE conversation_log_other PARTITION OF conversation_log DEFAULT")
    op.execute("SELECT make_log_day((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(0, 2) AS n")
    op.execute("INSERT INTO stream_generation (one, generation) VALUES (true, 1)")
