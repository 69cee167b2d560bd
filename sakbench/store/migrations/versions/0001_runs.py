"""Runs, their measurements, and the rows of tables that they fill."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of the first stores."""
    op.create_table(
        "runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("scale", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("started", sa.String),
        sa.Column("finished", sa.String),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("peak_memory_mb", sa.Float),
        sa.Column("git_commit", sa.String),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("machine", sa.JSON, nullable=False),
        sa.Column("gpu", sa.String),
        sa.Column("checkpoint", sa.String),
        sa.Column("notes", sa.JSON, nullable=False),
    )
    op.create_table(
        "metrics",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("task", sa.String, primary_key=True),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("unit", sa.String, nullable=False),
        sa.Column("higher_is_better", sa.Boolean),
        sa.Column("protocol", sa.String, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("table", sa.String, primary_key=True),
        sa.Column("row", sa.String, primary_key=True),
        sa.Column("scale", sa.String, primary_key=True),
        sa.Column("dataset", sa.String, primary_key=True),
        sa.Column("seed", sa.Integer, primary_key=True),
        sa.Column("task", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("baseline", sa.Boolean, nullable=False),
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), nullable=False),
    )
