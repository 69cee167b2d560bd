"""The database's tables. A change of any of them is a new `VERSION`."""

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Inspector, Integer, MetaData, String, Table

from sakbench.errors import UserError

VERSION = 1

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

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


def check_version(found: object, location: str) -> None:
    """Raises `UserError` if a store's schema is not the one of this package."""
    if str(found) != str(VERSION):
        raise UserError(
            f"the store {location} has schema version {found}, this sakbench knows version {VERSION}: "
            "read it with the sakbench that wrote it, or choose another file with --store."
        )


def check_columns(found: Inspector, location: str) -> None:
    """Raises `UserError` if a database lacks one of the tables or columns of a store."""
    names = set(found.get_table_names())
    for table in metadata.tables.values():
        columns = {column["name"] for column in found.get_columns(table.name)} if table.name in names else set()
        if missing := {column.name for column in table.columns} - columns:
            raise UserError(
                f"{location} is not a whole sakbench store (its table {table.name} lacks {', '.join(sorted(missing))}):"
                " choose another file with --store."
            )
