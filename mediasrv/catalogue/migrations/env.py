"""Alembic's entry: runs the steps on the connection and in the transaction that `catalogue.migrate` hands over."""

from alembic import context

from mediasrv.catalogue.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
