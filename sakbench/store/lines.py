"""How runs, rows and events lie in the tables: each function reads or writes them within a transaction."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from sakbench.holder import this_process
from sakbench.store import schema
from sakbench.store.records import Artifact, Event, Measurement, RowRecord, RunRecord, Status

RUN_COLUMNS = tuple(f.name for f in fields(RunRecord) if f.name not in ("metrics", "artifacts"))
ROW_COLUMNS = ("table", "row", "position", "scale", "dataset", "seed", "baseline")
METRIC_COLUMNS = ("metric", "value", "unit", "higher_is_better", "protocol")
_ARTIFACT_COLUMNS = ("path", "bytes", "sha256")
_KEY = ("table", "row", "scale", "dataset", "seed")

Numbers = dict[tuple[str, str], float]  # by task and protocol
Key = tuple[Any, ...]


def load(connection: Connection, run_id: str) -> RunRecord | None:
    """The run with that id, complete or not, with its measurements and files in the order of their names."""
    found = connection.execute(select(schema.runs).where(schema.runs.c.id == run_id)).mappings().one_or_none()
    if found is None:
        return None
    measured = _parts(connection, schema.metrics, run_id, ("task", *METRIC_COLUMNS))
    left = _parts(connection, schema.artifacts, run_id, _ARTIFACT_COLUMNS)
    metrics = tuple(sorted((Measurement(**values) for values in measured), key=lambda m: m.task))
    artifacts = tuple(sorted((Artifact(**values) for values in left), key=lambda a: a.path))
    return RunRecord(**found, metrics=metrics, artifacts=artifacts)


def _parts(connection: Connection, table: Table, run_id: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    query = select(*(table.c[name] for name in columns)).where(table.c.run == run_id)
    return [dict(line) for line in connection.execute(query).mappings()]


def fill(connection: Connection, records: Sequence[RunRecord], rows: Sequence[RowRecord]) -> None:
    """Put an export's content into an empty database, a statement for each table."""
    for table, values in {
        schema.runs: [_run_values(record) for record in records],
        schema.metrics: [line for record in records for line in _metric_values(record)],
        schema.artifacts: [line for record in records for line in _artifact_values(record)],
        schema.entries: [line for row in rows for line in _entry_values(row)],
    }.items():
        if values:
            connection.execute(insert(table), values)


def save(connection: Connection, record: RunRecord) -> None:
    """Put a record in the place of any former one with its id."""
    run = _run_values(record)
    changed = connection.execute(update(schema.runs).where(schema.runs.c.id == record.id).values(**run))
    if not changed.rowcount:
        connection.execute(insert(schema.runs).values(**run))
    parts: list[tuple[Table, Callable[[RunRecord], list[dict[str, Any]]]]] = [
        (schema.metrics, _metric_values),
        (schema.artifacts, _artifact_values),
    ]
    for table, values_of in parts:
        connection.execute(delete(table).where(table.c.run == record.id))
        if values := values_of(record):
            connection.execute(insert(table), values)


def fail(connection: Connection, run_id: str, reason: str, status: Status, duration_s: float | None = None) -> None:
    """Say why a run did not end, unless it is complete, and how long it has taken so far, if that is known."""
    record = load(connection, run_id)
    if record is None:
        raise ValueError(f"run {run_id} was not begun.")
    if record.status != "done":
        spent = record.duration_s if duration_s is None else duration_s
        notes = {**record.notes, "error": reason}
        save(connection, replace(record, status=status, finished=now(), duration_s=spent, notes=notes))
    note(connection, run_id, status, reason=reason)


def note(connection: Connection, run_id: str, kind: str, **detail: Any) -> None:
    """Add to the history of a run what this process does with it."""
    if was_noted(connection, run_id):
        return
    kept = {name: value for name, value in detail.items() if value}
    event = Event(now(), kind, str(this_process()), kept)
    call = connection.get_execution_options()["call"]
    connection.execute(insert(schema.events).values(run=run_id, call=call, **asdict(event)))


def was_noted(connection: Connection, run_id: str) -> bool:
    """Whether this very transaction was done already, and only the word of it was lost with the connection."""
    events, call = schema.events.c, connection.get_execution_options()["call"]
    return connection.scalar(select(events.id).where(events.run == run_id, events.call == call)) is not None


def save_row(connection: Connection, row: RowRecord) -> None:
    """Put a row in the place of any former one of its table, scale, data set and seed."""
    connection.execute(delete(schema.entries).where(*_place(row)))
    connection.execute(insert(schema.entries), _entry_values(row))


def take_in_runs(connection: Connection, records: Sequence[RunRecord]) -> None:
    """Put many records into the database, in few statements."""
    known = set(connection.scalars(select(schema.runs.c.id)))
    for record in records:
        if record.id in known:
            save(connection, record)
    fill(connection, [record for record in records if record.id not in known], [])
    call = connection.get_execution_options()["call"]
    event = {"call": call, **asdict(Event(now(), "imported", str(this_process()), {}))}
    if records:
        connection.execute(insert(schema.events), [{"run": record.id, **event} for record in records])


def take_in_rows(connection: Connection, rows: Sequence[RowRecord]) -> None:
    """Put many rows into the database, in few statements."""
    known = rows_by_key(connection)
    for row in rows:
        if key_of(row) in known:
            connection.execute(delete(schema.entries).where(*_place(row)))
    fill(connection, [], rows)


def numbers_by_run(connection: Connection) -> dict[str, Numbers]:
    """The numbers of every complete run."""
    runs, metrics = schema.runs.c, schema.metrics.c
    complete = connection.scalars(select(runs.id).where(runs.status == "done"))
    found: dict[str, Numbers] = {run: {} for run in complete}
    for run, task, protocol, value in connection.execute(
        select(metrics.run, metrics.task, metrics.protocol, metrics.value)
    ):
        if run in found:
            found[run][task, protocol] = value
    return found


def numbers_of(record: RunRecord) -> Numbers:
    """What is compared of two records of a run."""
    return {(m.task, m.protocol): m.value for m in record.metrics}


def rows_by_key(connection: Connection) -> dict[Key, dict[str, str]]:
    """The runs, by task, of every row, complete or not."""
    found: dict[Key, dict[str, str]] = {}
    columns = [schema.entries.c[name] for name in (*_KEY, "task", "run")]
    for *key, task, run in connection.execute(select(*columns)):
        found.setdefault(tuple(key), {})[task] = run
    return found


def key_of(row: RowRecord) -> Key:
    """What tells a row from all others."""
    return tuple(getattr(row, name) for name in _KEY)


def _place(row: RowRecord) -> list[Any]:
    return [schema.entries.c[name] == getattr(row, name) for name in _KEY]


def _run_values(record: RunRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in RUN_COLUMNS}


def _metric_values(record: RunRecord) -> list[dict[str, Any]]:
    return [{"run": record.id, **asdict(measurement)} for measurement in record.metrics]


def _artifact_values(record: RunRecord) -> list[dict[str, Any]]:
    return [{"run": record.id, **asdict(artifact)} for artifact in record.artifacts]


def _entry_values(row: RowRecord) -> list[dict[str, Any]]:
    place = {name: getattr(row, name) for name in ROW_COLUMNS}
    return [{**place, "task": task, "run": run} for task, run in row.runs.items()]


def now() -> str:
    """The time of day, UTC in ISO 8601: for people, since clocks jump and differ; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
