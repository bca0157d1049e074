"""How many pieces were written under the present fence of a conversation, so that none is written twice, however late it arrives."""

import sqlalchemy as sa
from alembic import op

revision = "d4b1d8526c06"
down_revision = "d3c0ac413b05"


def upgrade() -> None:
    op.add_column("conversations", sa.Column("pieces", sa.Integer(), server_default="0", nullable=False))
