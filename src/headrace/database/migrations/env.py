"""Alembic's environment: runs on the connection that headrace.database.migration hands over."""

from alembic import context

from headrace.database.migration import VERSION_TABLE
from headrace.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
