"""What a call of a model was for: the partner's answer, or the coach's feedback. The build before knows the partner's only."""

import sqlalchemy as sa
from alembic import op

revision = "d3c0ac413b05"
down_revision = "d2e6b62d3a04"


def upgrade() -> None:
    op.add_column("model_calls", sa.Column("purpose", sa.Text(), server_default="partner", nullable=False))
    op.drop_index(op.f("ix_model_calls_conversation_turn_attempt"), table_name="model_calls")
    op.create_index(
        op.f("ix_model_calls_conversation_turn_purpose_attempt"), "model_calls", ["conversation", "turn", "purpose", "attempt"], unique=True
    )
    op.create_table_comment(
        "model_calls",
        "One row for each call of a model, made before it: running, answered, stopped, failed, orphaned; for partner or coach.",
    )
