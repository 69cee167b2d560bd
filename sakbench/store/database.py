"""The results database: one SQLite file, written by many processes and read as one tidy frame."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from sakbench.errors import UserError
from sakbench.store import schema
from sakbench.store.environment import environment
from sakbench.store.jsonl import read_jsonl
from sakbench.store.records import Measurement, RowRecord, RunRecord

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".db", ".sqlite", ".sqlite3")
BUSY_SECONDS = 60.0  # how long to wait for another process's transaction

RUN_COLUMNS = tuple(f.name for f in fields(RunRecord) if f.name != "metrics")
ROW_COLUMNS = ("table", "row", "position", "scale", "dataset", "seed", "baseline")
METRIC_COLUMNS = ("metric", "value", "unit", "higher_is_better", "protocol")


class Store:
    """Runs, their measurements and the rows of tables that they fill. Opened by `open_store`.

    Every method is one short transaction of its own, so processes can share a store. Methods raise `UserError` when the
    database is locked, read-only, full or damaged.
    """

    def __init__(self, engine: Engine, location: str, *, writable: bool):
        self.location = location
        self.writable = writable
        self._engine = engine
        event.listen(engine, "begin", _begin)

    def find(self, run_id: str) -> RunRecord | None:
        """The run with that id if it is complete, otherwise None."""
        with self._reading() as connection:
            record = _load(connection, run_id)
        return record if record and record.status == "done" else None

    def lookup(self, prefix: str) -> RunRecord:
        """The run, complete or not, whose id starts with `prefix`. Raises `UserError` for none or several."""
        with self._reading() as connection:
            known = connection.scalars(select(schema.runs.c.id).order_by(schema.runs.c.id)).all()
            matching = [run_id for run_id in known if run_id.startswith(prefix)] if prefix else []
            record = _load(connection, matching[0]) if len(matching) == 1 else None
        if record is None:
            found = f"{len(matching)} runs: {', '.join(matching[:5])}" if matching else "no run"
            raise UserError(f"{prefix!r} is the beginning of {found} in {self.location}; `sakbench ls` lists the runs.")
        return record

    def begin(
        self,
        run_id: str,
        spec: Mapping[str, Any],
        *,
        kind: str,
        label: str,
        seed: int,
        scale: str,
        dataset: str,
        gpu: str | None = None,
    ) -> RunRecord:
        """Notes that a run has started on this machine, and returns its record, to be completed for `finish`.

        A run that was begun before keeps when it started and how long it has taken so far. One that is complete, and
        is done again for its weights, stays complete in the store until then.
        """
        with self._writing() as connection:
            former = _load(connection, run_id)
            again = former is not None and former.status == "done"
            if again:
                former = None
            record = RunRecord(
                id=run_id,
                kind=kind,
                label=label,
                spec=dict(spec),
                seed=seed,
                scale=scale,
                dataset=dataset,
                started=former.started if former else _now(),
                duration_s=former.duration_s if former else 0.0,
                gpu=gpu,
                **environment(),
            )
            if not again:
                _save(connection, record)
        return record

    def abandon_running(self, reason: str) -> None:
        """Notes that the runs that seem to be running were interrupted; for the only process that may run any."""
        with self._writing() as connection:
            running = select(schema.runs.c.id).where(schema.runs.c.status == "running")
            ids = connection.scalars(running).all()
        for run_id in ids:
            self.fail(run_id, reason, status="interrupted")

    def finish(self, record: RunRecord) -> None:
        """Stores a run with its measurements as complete, all or nothing."""
        self.add(replace(record, status="done", finished=_now()))

    def fail(
        self,
        run_id: str,
        reason: str,
        *,
        status: Literal["failed", "interrupted"] = "failed",
        duration_s: float | None = None,
    ) -> None:
        """Notes why a run that was begun did not end, and how long it has taken so far.

        One that is complete, by another process, stays so.
        """
        with self._writing() as connection:
            record = _load(connection, run_id)
            if record is None:
                raise ValueError(f"run {run_id} was not begun.")
            if record.status != "done":
                spent = record.duration_s if duration_s is None else duration_s
                notes = {**record.notes, "error": reason}
                _save(connection, replace(record, status=status, finished=_now(), duration_s=spent, notes=notes))

    def add(self, record: RunRecord) -> None:
        """Stores a record as it is, in place of any former one with its id."""
        with self._writing() as connection:
            _save(connection, record)

    def record_row(
        self,
        table: str,
        row: str,
        *,
        position: int,
        scale: str,
        dataset: str,
        seed: int,
        runs: Mapping[str, str],
        baseline: bool = False,
    ) -> None:
        """Says which run gives which number of a row: `runs` maps tasks and other quantities to ids of runs.

        Whatever the same row of that table, scale, data set and seed consisted of before is forgotten. `position` is
        the row's place in the table, `baseline` marks the row that Δm is taken against. Raises `ValueError` for a run
        that is not in the store.
        """
        key = {"table": table, "row": row, "scale": scale, "dataset": dataset, "seed": seed}
        columns = schema.entries.c
        with self._writing() as connection:
            known = set(connection.scalars(select(schema.runs.c.id).where(schema.runs.c.id.in_(runs.values()))))
            if missing := set(runs.values()) - known:
                raise ValueError(
                    f"{row} of {table} names runs that {self.location} lacks: {', '.join(sorted(missing))}."
                )
            connection.execute(delete(schema.entries).where(*(columns[name] == value for name, value in key.items())))
            shared = {**key, "position": position, "baseline": baseline}
            for task, run_id in runs.items():
                connection.execute(insert(schema.entries).values(**shared, task=task, run=run_id))

    def frame(self) -> "pd.DataFrame":
        """Every number of every table, from complete runs: the tidy frame that all tables and figures are made of.

        Columns: table, row, position, scale, dataset, seed, baseline, task, metric, value, unit, higher_is_better
        (missing for a quantity that is neither), protocol, run, label. `(table, row, scale, dataset, seed, task)` is
        unique; lines are ordered by table, scale, dataset, position, seed and task.
        """
        import pandas as pd  # here, because most who open a store write runs or look for one

        entries, runs, metrics = schema.entries.c, schema.runs.c, schema.metrics.c
        query = (
            select(
                *(entries[name] for name in ROW_COLUMNS),
                entries.task,
                *(metrics[name] for name in METRIC_COLUMNS),
                entries.run,
                runs.label,
            )
            .join_from(schema.entries, schema.runs, runs.id == entries.run)
            .join(schema.metrics, (metrics.run == runs.id) & (metrics.task == entries.task))
            .where(runs.status == "done")
            .order_by(entries.table, entries.scale, entries.dataset, entries.position, entries.row)
            .order_by(entries.seed, entries.task)
        )
        with self._reading() as connection:
            found = connection.execute(query).mappings().all()
        columns = [*ROW_COLUMNS, "task", *METRIC_COLUMNS, "run", "label"]
        return pd.DataFrame(found, columns=columns).astype({"baseline": bool, "higher_is_better": "boolean"})

    def runs(self) -> "pd.DataFrame":
        """One line per run, complete or not, in the order in which they were begun.

        Columns: those of `RunRecord` but spec, versions, machine, notes and metrics, as plain values, None where a run
        has none.
        """
        import pandas as pd

        columns = [name for name in RUN_COLUMNS if name not in ("spec", "versions", "machine", "notes")]
        query = select(*(schema.runs.c[name] for name in columns)).order_by(schema.runs.c.started, schema.runs.c.id)
        with self._reading() as connection:
            return pd.DataFrame(connection.execute(query).mappings().all(), columns=columns, dtype=object)

    def complete(self) -> tuple[list[RunRecord], list[RowRecord]]:
        """All complete runs, and all rows whose runs are complete, sorted: what an export holds."""
        with self._reading() as connection:
            ids = connection.scalars(select(schema.runs.c.id).where(schema.runs.c.status == "done")).all()
            records = [record for run_id in sorted(ids) if (record := _load(connection, run_id))]
            key = [schema.entries.c[name] for name in (*ROW_COLUMNS, "task", "run")]
            entries = connection.execute(select(*key).order_by(*key)).mappings().all()
        rows: dict[tuple[Any, ...], dict[str, str]] = {}
        for entry in entries:
            rows.setdefault(tuple(entry[name] for name in ROW_COLUMNS), {})[entry["task"]] = entry["run"]
        whole = [
            RowRecord(**dict(zip(ROW_COLUMNS, place, strict=True)), runs=runs)
            for place, runs in rows.items()
            if set(runs.values()) <= set(ids)
        ]
        return records, whole

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _plainly(self.location), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if not self.writable:
            raise UserError(f"the store {self.location} is open for reading only.")
        with _plainly(self.location), self._engine.execution_options(write=True).begin() as connection:
            yield connection

    def _prepare(self) -> None:
        """Makes the tables of a new database. Raises `UserError` for one that is not a store, or of another version."""
        with self._writing() if self.writable else self._reading() as connection:
            existing = inspect(connection).get_table_names()
            if not existing and self.writable:
                schema.metadata.create_all(connection)
                connection.execute(insert(schema.meta).values(key="schema", value=str(schema.VERSION)))
            elif "meta" not in existing or "runs" not in existing:
                raise UserError(f"{self.location} is not a sakbench store: choose another file with --store.")
            else:
                schema.check_version(
                    connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "schema")), self.location
                )
                schema.check_columns(inspect(connection), self.location)


def open_store(location: str | Path, *, write: bool) -> Store:
    """The store at a path: a SQLite file (`.db`, `.sqlite`, `.sqlite3`) or an export (`.jsonl`, for reading only).

    With `write`, a SQLite file that does not exist is made. Raises `UserError` for a path of another kind, a missing
    file when reading, and a file that is damaged, locked, not a store or of another version.
    """
    path = Path(location)
    if "://" in str(location) or path.suffix not in (*SUFFIXES, ".jsonl"):
        given = "a URL" if "://" in str(location) else path  # a URL may hold a password, so it is not repeated
        raise UserError(f"{given} cannot be a store: give a path that ends in {', '.join(SUFFIXES)} or .jsonl.")
    if path.suffix == ".jsonl" and write:
        raise UserError(f"{path} is an export, for reading only: runs are stored in a file ending in .db.")
    if not path.exists() and path.suffix == ".jsonl":
        raise UserError(f"there is no export at {path}: `sakbench export results --output FILE` writes one.")
    if not write and not path.exists():
        raise UserError(
            f"there is no store at {path}: `sakbench run table7` makes one, "
            "and `--store results/mini.jsonl` reads the results that come with sakbench."
        )
    return _open_export(path) if path.suffix == ".jsonl" else _open_sqlite(path, write=write)


def _open_export(path: Path) -> Store:
    def connect() -> sqlite3.Connection:
        return _configured(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))

    records, rows = read_jsonl(path)
    store = Store(create_engine("sqlite://", creator=connect, poolclass=StaticPool), str(path), writable=True)
    store._prepare()
    try:
        with store._writing() as connection:
            _fill(connection, records, rows)
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} holds what no sakbench export does ({reason}): copy the export again.") from error
    store.writable = False
    return store


def _open_sqlite(path: Path, *, write: bool) -> Store:
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {path.parent} of the store cannot be made: {error.strerror}.") from error
        if path.exists() and not os.access(path, os.W_OK):
            # SQLite would open it for reading and complain at the end of the first run.
            raise _in_words(sqlite3.OperationalError("readonly"), str(path))

    mode = "mode=rwc" if write else "mode=ro"
    if not write and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        # Readers share a small file beside the database; in a folder that forbids it nobody writes either.
        mode += "&immutable=1"

    def connect() -> sqlite3.Connection:
        # One connection for each transaction: a pool would hand the same one to forked workers.
        uri = f"{path.absolute().as_uri()}?{mode}"
        return _configured(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None))

    store = Store(create_engine("sqlite://", creator=connect, poolclass=NullPool), str(path), writable=write)
    store._prepare()
    if write:
        _use_write_ahead_log(connect, str(path))
    return store


def _load(connection: Connection, run_id: str) -> RunRecord | None:
    found = connection.execute(select(schema.runs).where(schema.runs.c.id == run_id)).mappings().one_or_none()
    if found is None:
        return None
    columns = [schema.metrics.c[name] for name in ("task", *METRIC_COLUMNS)]
    query = select(*columns).where(schema.metrics.c.run == run_id).order_by(schema.metrics.c.task)
    measured = connection.execute(query).mappings()
    return RunRecord(**found, metrics=tuple(Measurement(**values) for values in measured))


def _fill(connection: Connection, records: Sequence[RunRecord], rows: Sequence[RowRecord]) -> None:
    """Put an export's content into an empty database, a statement for each table."""
    entries = [
        {**{name: getattr(row, name) for name in ROW_COLUMNS}, "task": task, "run": run}
        for row in rows
        for task, run in row.runs.items()
    ]
    for table, lines in {
        schema.runs: [_run_values(record) for record in records],
        schema.metrics: [values for record in records for values in _metric_values(record)],
        schema.entries: entries,
    }.items():
        if lines:
            connection.execute(insert(table), lines)


def _save(connection: Connection, record: RunRecord) -> None:
    values = _run_values(record)
    changed = connection.execute(update(schema.runs).where(schema.runs.c.id == record.id).values(**values))
    if not changed.rowcount:
        connection.execute(insert(schema.runs).values(**values))
    connection.execute(delete(schema.metrics).where(schema.metrics.c.run == record.id))
    if record.metrics:
        connection.execute(insert(schema.metrics), _metric_values(record))


def _run_values(record: RunRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in RUN_COLUMNS}


def _metric_values(record: RunRecord) -> list[dict[str, Any]]:
    return [{"run": record.id, **asdict(measurement)} for measurement in record.metrics]


def _begin(connection: Connection) -> None:
    # A transaction that reads before it writes must hold the write lock from its start: SQLite lets none wait later.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _configured(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _use_write_ahead_log(connect: Callable[[], sqlite3.Connection], location: str) -> None:
    """Lets readers read while a process writes. The mode stays with the file."""
    connection = connect()
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself here for the others that open a new store at the same moment.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise _in_words(error, location) from error
                time.sleep(0.01)
    finally:
        connection.close()


@contextmanager
def _plainly(location: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _in_words(error.orig, location) from error
    except json.JSONDecodeError as error:
        raise _in_words(sqlite3.DatabaseError("malformed"), location) from error


def _in_words(error: BaseException | None, location: str) -> Exception:
    """A database's complaint as one sentence; one that is no state of the file is given back as it is."""
    complaint = str(error)
    sentences = {
        "locked": "is locked by another process: end that process, or try again when it is done",
        "readonly": "cannot be written to: check its permissions, or choose another file with --store",
        "unable to open": "cannot be opened: check that its path is a file and its folder is writable",
        "not a database": "is not a SQLite file, or is damaged: choose another file with --store",
        "malformed": "is damaged: restore a copy of it, or choose another file with --store",
        "full": "cannot grow, the disk is full: free some space and run the same command again",
        "disk I/O": "cannot be read or written, the disk reports an error",
    }
    for symptom, sentence in sentences.items():
        if symptom in complaint:
            return UserError(f"the store {location} {sentence}.")
    return error if isinstance(error, Exception) else RuntimeError(complaint)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
