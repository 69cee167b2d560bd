"""The database's tables. A change of any of them is a new file in `migrations/versions`."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("label", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("scale", String, nullable=False),
    Column("dataset", String, nullable=False),
    Column("status", String, nullable=False),
    Column("started", String),
    Column("finished", String),
    Column("duration_s", Float, nullable=False),
    Column("peak_memory_mb", Float),
    Column("git_commit", String),
    Column("versions", JSON, nullable=False),
    Column("machine", JSON, nullable=False),
    Column("gpu", String),
    Column("checkpoint", String),
    Column("notes", JSON, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("task", String, primary_key=True),
    Column("metric", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("unit", String, nullable=False),
    Column("higher_is_better", Boolean),
    Column("protocol", String, nullable=False),
)

# The files that a run left, relative to the folder of runs.
artifacts = Table(
    "artifacts",
    metadata,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("path", String, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
)

# Which run gives which number of a table.
entries = Table(
    "entries",
    metadata,
    Column("table", String, primary_key=True),
    Column("row", String, primary_key=True),
    Column("scale", String, primary_key=True),
    Column("dataset", String, primary_key=True),
    Column("seed", Integer, primary_key=True),
    Column("task", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("baseline", Boolean, nullable=False),
    Column("run", ForeignKey("runs.id"), nullable=False),
)

# What happened to a run, in the order in which it happened; it stays where it happened and is not exported.
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("by", String, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("call", String, nullable=False),  # of the transaction that noted it, which may be tried twice
)

# Who is at which run: see `claims`.
claims = Table(
    "claims",
    metadata,
    Column("run", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("machine", String, nullable=False),
    Column("process", Integer, nullable=False),
    Column("born", String, nullable=False),
    Column("name", String, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("lease_s", Float, nullable=False),
)
