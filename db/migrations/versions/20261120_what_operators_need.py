"""What operators need."""

import sqlalchemy as sa
from alembic import op

revision = "7c1d2f0a9b35"
down_revision = "0bbe7904b936"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False))
    op.add_column("deliveries", sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False))
    op.create_unique_constraint(op.f("uq_deliveries_id"), "deliveries", ["id"])
    op.create_index(op.f("ix_deliveries_at_id"), "deliveries", ["at", "id"], unique=False, postgresql_where=sa.text("state = 'dead'"))
    op.add_column("deliveries", sa.Column("fence", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "tickets",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("session", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_tickets_account")),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name=op.f("fk_tickets_session")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_tickets")),
        comment="Tickets that nobody has brought yet, each as its SHA-256; they live for half a minute.",
    )
    op.add_column("outbox", sa.Column("begun", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("feed", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("feed", sa.Column("actor", sa.Uuid(), nullable=True))
    op.execute(
        """
        UPDATE feed SET name = e.name, actor = coalesce(e.meta->'actor'->>'id', e.meta->'actor'->>'on_behalf_of')::uuid
        FROM events e WHERE e.id = feed.event
        """
    )
    op.create_index(op.f("ix_feed_name_position"), "feed", ["name", "position"], unique=False)
    op.create_index(
        op.f("ix_feed_actor_position"), "feed", ["actor", "position"], unique=False, postgresql_where=sa.text("actor IS NOT NULL")
    )
    op.create_table(
        "seals",
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("kept", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_seals")),
        comment="Signed checkpoints of the feed, each hash covering the one before; kept says that one lies outside the database too.",
    )
    op.create_index(op.f("ix_seals_n"), "seals", ["n"], unique=False, postgresql_where=sa.text("NOT kept"))


def downgrade() -> None:
    op.drop_index(op.f("ix_seals_n"), table_name="seals")
    op.drop_table("seals")
    op.drop_index(op.f("ix_feed_actor_position"), table_name="feed")
    op.drop_index(op.f("ix_feed_name_position"), table_name="feed")
    op.drop_column("feed", "actor")
    op.drop_column("feed", "name")
    op.drop_column("outbox", "begun")
    op.drop_table("tickets")
    op.drop_column("deliveries", "fence")
    op.drop_index(op.f("ix_deliveries_at_id"), table_name="deliveries")
    op.drop_column("deliveries", "at")
    op.drop_column("deliveries", "id")
