"""Claims, events and artifacts; a checkpoint's path no longer begins with the folder of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the new tables, shorten the paths, and drop the table that told the version before Alembic did."""
    op.create_table(
        "artifacts",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("call", sa.String, nullable=False),
    )
    op.create_table(
        "claims",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("born", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
        sa.Column("lease_s", sa.Float, nullable=False),
    )
    runs = sa.table("runs", sa.column("id", sa.String), sa.column("checkpoint", sa.String))
    connection = op.get_bind()
    for run, checkpoint in connection.execute(sa.select(runs.c.id, runs.c.checkpoint)).all():
        if checkpoint is not None:
            shorter = checkpoint.partition("/")[2]
            connection.execute(sa.update(runs).where(runs.c.id == run).values(checkpoint=shorter))
    if sa.inspect(connection).has_table("meta"):
        op.drop_table("meta")
