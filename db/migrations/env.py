"""Run by Alembic; the connection is given by `db.migrate`, already in its one transaction."""

from alembic import context

from db.metadata import COMPARISON
from db.migrate import every_table

context.configure(connection=context.config.attributes["connection"], target_metadata=every_table(), **COMPARISON)
context.run_migrations()
