"""What scenarios said before they were changed, so that a conversation goes on as it began."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "d2e6b62d3a04"
down_revision = "d1d5a51c2f01"


def upgrade() -> None:
    op.create_table(
        "scenario_versions",
        sa.Column("scenario", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["scenario"], ["scenarios.id"], name=op.f("fk_scenario_versions_scenario")),
        sa.PrimaryKeyConstraint("scenario", "version", name=op.f("pk_scenario_versions")),
        comment="What scenarios said before they were changed, for the conversations that began with it.",
    )
