"""Alembic runs this on the connection that the store hands it."""

from alembic import context

from sentinel.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
