"""Run the migrations on the connection that `npu_jupyter.registry.database` hands over."""

from __future__ import annotations

from alembic import context

from npu_jupyter.registry.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table only by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
