"""Run by Alembic, on a connection that `smidgen.studies.migrate` has opened."""

from alembic import context

from smidgen.studies.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
