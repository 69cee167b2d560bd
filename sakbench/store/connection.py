"""Databases behind short transactions, SQLite's and PostgreSQL's, with one sentence for each of their complaints."""

import json
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psutil
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from sakbench.errors import UserError
from sakbench.store.location import Location

BUSY_SECONDS = 60.0  # how long to wait for another process's transaction
PATIENCE_SECONDS = 600.0  # how long to wait for a server that answered before
_FIRST_PAUSE = 0.1  # seconds before the server is asked again; each is twice the one before
_MET = ("40001", "40P01", "55P03")  # PostgreSQL's codes for transactions that got in each other's way
_SILENCE = "30s"  # after which PostgreSQL ends the transaction of a writer that says nothing, for others wait for it
_KEEPALIVE = {  # a server or a client that has vanished is noticed after a minute, not after hours
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.sshfs", "9p", "afs")
# What pools log, with a traceback, is of connections that are thrown away: Ctrl-C may come while one is closed. Whoever
# sets up logging sees it; without that it would reach the terminal.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
_WRITERS = 7_250_511  # the key of the lock that PostgreSQL's writers take in turn

T = TypeVar("T")


class Database:
    """Reads and writes in transactions, each a function of a connection; it may be called again if the server fails.

    Writers take turns, so a function that reads before it writes sees what it writes upon. `UserError` is raised when
    the database is locked, read-only, full, damaged or out of reach.
    """

    def __init__(self, engine: Engine, location: Location, *, writable: bool):
        self.location = location
        self.writable = writable
        self._engine = engine
        self._has_answered = False
        self._is_told = False  # that it does not answer
        event.listen(engine, "begin", _begin)

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, all of it as it was at one moment."""
        return self._transact(work, write=False, patience=PATIENCE_SECONDS)

    def write(self, work: Callable[[Connection], T], *, patience: float | None = None) -> T:
        """Do `work` wholly or not at all; wait so many seconds for a server that is gone."""
        if not self.writable:
            raise UserError(f"the store {self.location} is open for reading only.")
        return self._transact(work, write=True, patience=PATIENCE_SECONDS if patience is None else patience)

    def _transact(self, work: Callable[[Connection], T], *, write: bool, patience: float) -> T:
        began, pause, call = time.monotonic(), _FIRST_PAUSE, uuid4().hex
        while True:
            try:
                with self._engine.execution_options(write=write, call=call).begin() as connection:
                    answer = work(connection)
                if self._is_told:
                    self._is_told = False
                    warnings.warn(f"the store {self.location} answers again", stacklevel=2)
                self._has_answered = True
                return answer
            except DBAPIError as error:
                waited = time.monotonic() - began
                if not (self._has_answered and _may_come_back(error, write=write)) or waited > patience:
                    raise in_words(error.orig, self.location) from error
                if not self._is_told and _is_away(error):
                    self._is_told = True
                    warnings.warn(
                        f"the store {self.location} does not answer; what is measured is kept, and the store is asked"
                        f" again for {patience / 60:.0f} minutes",
                        stacklevel=2,
                    )
                time.sleep(pause)
                pause = min(2 * pause, 10.0)
            except json.JSONDecodeError as error:
                raise in_words(sqlite3.DatabaseError("malformed"), self.location) from error


def in_memory(location: Location) -> Database:
    """An empty database that goes with this process."""

    def connect() -> sqlite3.Connection:
        return _configured(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))

    return Database(create_engine("sqlite://", creator=connect, poolclass=StaticPool), location, writable=True)


def sqlite(location: Location, *, write: bool) -> Database:
    """The file of a SQLite database; with `write` it is made if it is not there."""
    path = location.path
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {path.parent} of the store cannot be made: {error.strerror}.") from error
        if path.exists() and not os.access(path, os.W_OK):
            # SQLite would open it for reading and complain at the end of the first run.
            raise in_words(sqlite3.OperationalError("readonly"), location)
        _warn_of_network(path)

        if not path.exists():
            _make(path, location)

    # Made once: a file that is moved away meanwhile must not come back empty.
    mode = "mode=rw" if write else "mode=ro"
    if not write and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        # Readers share a small file beside the database, which they cannot make here.
        mode += "&immutable=1"

    def connect() -> sqlite3.Connection:
        # One connection for each transaction: a pool would hand the same one to forked workers.
        uri = f"{path.absolute().as_uri()}?{mode}"
        return _configured(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None))

    return Database(create_engine("sqlite://", creator=connect, poolclass=NullPool), location, writable=write)


def postgresql(location: Location, *, write: bool) -> Database:
    """A database of a PostgreSQL server."""
    try:
        # One connection for each transaction: they are seldom, and many processes share a server.
        engine = create_engine(location.url, poolclass=NullPool, connect_args=_KEEPALIVE)
    except ImportError as error:
        raise UserError("stores in PostgreSQL need psycopg: pip install 'sakbench[postgresql]'.") from error
    except (SQLAlchemyError, NoSuchModuleError, ValueError) as error:
        raise UserError(f"{location} is no URL of a database.") from error
    return Database(engine, location, writable=write)


def use_write_ahead_log(database: Database) -> None:
    """Let readers of a SQLite file read while a process writes. The mode stays with the file."""
    connection = database._engine.raw_connection()
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        cursor = connection.cursor()
        while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal" and time.monotonic() < deadline:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself here for the others that open a new store at the same moment.
                if "locked" not in str(error):
                    raise in_words(error, database.location) from error
                time.sleep(0.01)
    finally:
        connection.close()


def _make(path: Path, location: Location) -> None:
    try:
        path.touch()
    except OSError as error:
        raise UserError(f"the store {location} cannot be made ({error.strerror}): {_OTHER}.") from error


def _warn_of_network(path: Path) -> None:
    """SQLite's locks, and the memory that its writers share, end at the machine; PostgreSQL's do not."""
    here = path.resolve()
    mounts = [m for m in psutil.disk_partitions(all=True) if here.is_relative_to(m.mountpoint)]
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
    if kind.startswith(_NETWORK):
        warnings.warn(
            f"{path} lies on a network file system ({kind}), where SQLite serves one machine at a time: to share a"
            " table between machines, use PostgreSQL (--store postgresql+psycopg://USER@HOST/DATABASE)",
            stacklevel=2,
        )


def in_words(error: BaseException | None, location: Location) -> Exception:
    """A database's complaint as one sentence; one that is no state of the store is given back as it is."""
    complaint = str(error)
    for symptom, sentence in _SENTENCES[location.kind].items():
        if symptom in complaint:
            return UserError(f"the store {location} {sentence}.")
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if location.kind == "postgresql" and kinds & {"OperationalError", "DataError", "InternalError"}:
        return UserError(f"the store {location} complains: {complaint.splitlines()[0] if complaint else 'no reason'}.")
    return error if isinstance(error, Exception) else RuntimeError(complaint)


_OTHER = "choose another one with --store"
_SQLITE = {
    "locked": "is locked by another process: end that process, or try again when it is done",
    "readonly": f"cannot be written to: check its permissions, or {_OTHER}",
    "unable to open": "cannot be opened: check that its path is a file and its folder is writable",
    "not a database": f"is not a SQLite file, or is damaged: {_OTHER}",
    "malformed": f"is damaged: restore a copy of it, or {_OTHER}",
    "full": "cannot grow, the disk is full: free some space and run the same command again",
    "disk I/O": "cannot be read or written, the disk reports an error",
    "no such table": f"is empty: it was replaced while it was in use; {_OTHER}",
}
_POSTGRESQL = {
    "lock timeout": "is locked by another process: try again when it is done",
    "password": "refuses the user or the password: give it in the URL, in PGPASSWORD or in ~/.pgpass",
    "role": "refuses the user: name one that the server knows, USER in postgresql+psycopg://USER@HOST/DATABASE",
    "No space left": "cannot grow, its server's disk is full: free some space and run the same command again",
    "read-only": f"cannot be written to, its server is read-only: {_OTHER}",
    "permission denied": f"cannot be written to by this user: ask its owner for the rights, or {_OTHER}",
    "does not exist": "does not exist: make the database with `createdb`, sakbench makes the tables",
    "no pg_hba.conf entry": "refuses this machine: its server must allow the connection (pg_hba.conf)",
    "invalid connection option": "has an option in its URL that PostgreSQL does not know",
    "connection": "does not answer: check host and port and that the server is running; what is finished is kept",
    "resolve host": "does not answer: its host has no address",
    "terminat": "does not answer: its server closed the connection; what is finished is kept",
    "starting up": "does not answer yet: its server is starting",
    "shutting down": "does not answer: its server is shutting down; what is finished is kept",
}
_SENTENCES = {"sqlite": _SQLITE, "export": _SQLITE, "postgresql": _POSTGRESQL}


def _may_come_back(error: DBAPIError, *, write: bool) -> bool:
    """Whether it is worth while to try again: other transactions were in the way, or a server is away."""
    if isinstance(error.orig, sqlite3.Error):
        # Beside a writer who is just making or removing its log, a reader who may not do so fails.
        return not write and "readonly" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in _MET or _is_away(error)


def _is_away(error: DBAPIError) -> bool:
    """Whether a server has closed the connection, or cannot be reached."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    state = getattr(error.orig, "sqlstate", None)
    lost = isinstance(error, OperationalError) and (state is None or state.startswith(("08", "57P", "25P03")))
    return error.connection_invalidated or lost


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    if connection.dialect.name == "sqlite":
        # What reads before it writes must hold the write lock from its start: SQLite lets none wait later.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif write:
        for name, value in {
            "lock_timeout": f"{BUSY_SECONDS:.0f}s",
            "idle_in_transaction_session_timeout": _SILENCE,
        }.items():
            connection.exec_driver_sql("SELECT set_config(%s, %s, true)", (name, value))
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_WRITERS,))
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _configured(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
