"""Runs the migrations in the transaction that ``schema.upgrade`` began."""

from alembic import context

from privguard.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
