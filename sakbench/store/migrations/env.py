"""What Alembic runs: the migrations, on the connection and in the transaction that `store.versions` hands over."""

from alembic import context

from sakbench.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
