"""The vectors of roles."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import UserDefinedType

revision = "c3c9c32b1003"
down_revision = "c2b8b21a0f02"


class Vector(UserDefinedType[object]):
    def get_col_spec(self, **_: object) -> str:
        return "vector"


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "embedding_models",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("serving", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_embedding_models")),
        comment="Models with which roles are, or are being, embedded; searches use the one that serves.",
    )
    op.create_index("ix_embedding_models_serving", "embedding_models", ["serving"], unique=True, postgresql_where=sa.text("serving"))
    op.create_table(
        "role_vectors",
        sa.Column("role", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("vector", Vector(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["role"], ["roles.id"], name=op.f("fk_role_vectors_role"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model"], ["embedding_models.model"], name=op.f("fk_role_vectors_model"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("role", "model", name=op.f("pk_role_vectors")),
        comment="Each with the SHA-256 of the text that it was made of.",
    )
    # Every search reads all vectors of an industry: beside their rows they would cost a second look each.
    op.execute("ALTER TABLE role_vectors ALTER COLUMN vector SET STORAGE MAIN")
