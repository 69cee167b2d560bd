"""Opening stores: files, databases and exports; making new ones and bringing old ones up to date."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from sakbench.errors import UserError
from sakbench.store import connection as databases
from sakbench.store import lines, schema, versions
from sakbench.store.connection import Database
from sakbench.store.database import Store
from sakbench.store.jsonl import read_jsonl
from sakbench.store.location import SUFFIXES, Location, locate


def open_store(location: str | Path | Location, *, write: bool) -> Store:
    """The store at a path or URL: a SQLite file (`.db`, `.sqlite`, `.sqlite3`), a PostgreSQL database
    (`postgresql+psycopg://USER@HOST/DATABASE`), or an export (`.jsonl`, for reading only).

    With `write`, a SQLite file that does not exist is made, and so are the tables of an empty database. Raises
    `UserError` for a path of another kind, a missing file when reading, and a database that is damaged, locked, out of
    reach, not a store or of another version.
    """
    place = location if isinstance(location, Location) else locate(location)
    if place.kind == "export":
        if write:
            raise UserError(
                f"{place} is an export, for reading only: runs are stored in a file ending in {SUFFIXES[0]}."
            )
        return _open_export(place)
    if not write:
        _require_file(place)
    database = _database(place, write=write)

    def prepare(connection: Connection) -> None:
        if write and versions.version(connection, place) is None:
            versions.upgrade(connection, place)
        versions.require_head(connection, place)

    # A store that has its tables is opened without waiting for whoever writes in it.
    database.write(prepare) if write and not _has_tables(database) else database.read(prepare)
    if write and place.kind == "sqlite":
        databases.use_write_ahead_log(database)
    return Store(database)


def has_tables(location: Location) -> bool:
    """Whether a PostgreSQL database has tables already."""
    return _has_tables(_database(location, write=False))


def upgrade_store(location: Location) -> tuple[str, str]:
    """Bring a store of an older version up to date, all or nothing; returns the version before and after.

    Raises `UserError` as `open_store` does.
    """
    if location.kind == "export":
        raise UserError(f"{location} is an export, which is read whatever its version: there is nothing to upgrade.")
    _require_file(location)
    database = _database(location, write=True)
    before = database.read(lambda connection: versions.version(connection, location))
    if before is None:
        raise UserError(f"{location} is not a sakbench store yet, it is empty: there is nothing to upgrade.")
    database.write(lambda connection: versions.upgrade(connection, location))
    return before, versions.HEAD


def _database(place: Location, *, write: bool) -> Database:
    if place.kind == "postgresql":
        return databases.postgresql(place, write=write)
    return databases.sqlite(place, write=write)


def _has_tables(database: Database) -> bool:
    return database.read(lambda connection: versions.version(connection, database.location)) is not None


def _require_file(place: Location) -> None:
    if place.kind == "sqlite" and not place.path.exists():
        raise UserError(
            f"there is no store at {place}: `sakbench run table7 --store {place}` makes one, and the repository's"
            " results/mini.jsonl holds the results that come with sakbench."
        )


def _open_export(place: Location) -> Store:
    if not place.path.exists():
        raise UserError(f"there is no export at {place}: `sakbench store export FILE` writes one.")
    records, rows = read_jsonl(place.path)
    database = databases.in_memory(place)

    def fill(connection: Connection) -> None:
        schema.metadata.create_all(connection)
        lines.fill(connection, records, rows)

    try:
        database.write(fill)
    except (SQLAlchemyError, sqlite3.Error, OverflowError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{place} holds what no sakbench export does ({reason}): copy the export again.") from error
    database.writable = False
    return Store(database)
