"""The journeys of learners."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c2b8b21a0f02"
down_revision = "c1a7a1090e01"


def upgrade() -> None:
    op.create_table(
        "journeys",
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("answers", postgresql.JSONB(), nullable=False),
        sa.Column("void", postgresql.JSONB(), nullable=False),
        sa.Column("reminders", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("abandoned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_journeys_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_journeys")),
    )
    op.create_table(
        "journey_steps",
        sa.Column("account", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_journey_steps_account")),
        sa.PrimaryKeyConstraint("account", "step", name=op.f("pk_journey_steps")),
        comment="When each learner first reached and first answered each step. A reset leaves it: the funnel counts people, not attempts.",
    )
    op.create_index(op.f("ix_journey_steps_step"), "journey_steps", ["step"], unique=False)
