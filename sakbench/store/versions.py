"""Which version a store's tables are of, and how an older one becomes today's."""

from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select
from sqlalchemy.sql import column, table

from sakbench.errors import UserError
from sakbench.store import schema
from sakbench.store.location import Location

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"  # the last file in migrations/versions
_FIRST = "0001"


def version(connection: Connection, location: Location) -> str | None:
    """The version of a store's tables, None for a database without any.

    Raises `UserError` for a database that is something else, or of a version that is not known yet.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" in tables:
        found = connection.scalar(select(column("version_num")).select_from(table("alembic_version")))
    elif {"meta", "runs"} <= tables:
        found = f"{connection.scalar(select(column('value')).select_from(table('meta')))!s:0>4}"
    else:
        raise UserError(f"{location} is not a sakbench store: choose another one with --store.")
    if not (str(found).isdecimal() and _FIRST <= str(found) <= HEAD):
        raise UserError(
            f"the store {location} has schema version {found}, this sakbench knows versions up to {HEAD}:"
            " use the sakbench that wrote it, or choose another one with --store."
        )
    return str(found)


def require_head(connection: Connection, location: Location) -> None:
    """Raise `UserError` unless a database is a whole store of today's version."""
    found = version(connection, location)
    if found is None:
        raise UserError(f"{location} is not a sakbench store yet, it is empty: `sakbench run` makes one of it.")
    if found != HEAD:
        raise UserError(
            f"the store {location} was written by an older sakbench (schema version {found}, today's is {HEAD}):"
            f" `sakbench store upgrade --store {location}` brings it up to date and loses nothing."
        )
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    for expected in schema.metadata.tables.values():
        columns = {c["name"] for c in inspector.get_columns(expected.name)} if expected.name in tables else set()
        if missing := {c.name for c in expected.columns} - columns:
            raise UserError(
                f"{location} is not a whole sakbench store (its table {expected.name} lacks"
                f" {', '.join(sorted(missing))}): choose another one with --store."
            )


def upgrade(connection: Connection, location: Location) -> None:
    """Bring the tables up to date, or make them, within the connection's transaction."""
    from alembic import command  # here, because a store of today's version needs none of it

    config = _config()
    config.attributes["connection"] = connection
    if version(connection, location) == _FIRST and not inspect(connection).has_table("alembic_version"):
        command.stamp(config, _FIRST)  # made before Alembic kept the version
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("sakbench.store") / "migrations").replace("%", "%%"))
    return config
