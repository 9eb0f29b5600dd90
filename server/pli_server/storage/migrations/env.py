"""Alembic's entry: runs the steps on the connection that `storage.database` hands over."""

from alembic import context

from pli_server.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
