"""The results database, written by many processes and read as one tidy frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, delete, select

from sakbench.errors import UserError
from sakbench.store import lines, schema
from sakbench.store.claims import Claims, claimed, drop_abandoned, orphans
from sakbench.store.connection import Database
from sakbench.store.environment import environment
from sakbench.store.location import Location
from sakbench.store.records import Event, RowRecord, RunRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """A number of a run that is not the same in two stores; None where one of them has no such number."""

    task: str
    protocol: str
    here: float | None
    there: float | None


@dataclass
class Merged:
    """What came of merging other results into a store: runs that are new, the same, or here with other numbers (and
    stay as they are); rows of tables that are new, and those that are here of other runs (and stay)."""

    added: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    different: dict[str, list[Difference]] = field(default_factory=dict)
    rows_added: int = 0
    rows_kept: int = 0


class Store:
    """Runs, their measurements and the rows of tables that they fill. Opened by `open_store`.

    Every method is one short transaction of its own, so processes can share a store. Methods raise `UserError` when the
    database is locked, read-only, full, damaged or out of reach.
    """

    def __init__(self, database: Database):
        self._database = database

    @property
    def location(self) -> Location:
        """Where it is."""
        return self._database.location

    def claims(self) -> Claims:
        """What this command uses to claim runs, so that no other does them at the same time."""
        return Claims(self._database)

    def find(self, run_id: str) -> RunRecord | None:
        """The run with that id if it is complete, otherwise None."""
        record = self._database.read(lambda connection: lines.load(connection, run_id))
        return record if record and record.status == "done" else None

    def lookup(self, prefix: str) -> RunRecord:
        """The run, complete or not, whose id starts with `prefix`. Raises `UserError` for none or several."""

        def search(connection: Connection) -> tuple[list[str], RunRecord | None]:
            known = connection.scalars(select(schema.runs.c.id)).all()
            matching = sorted(run_id for run_id in known if run_id.startswith(prefix)) if prefix else []
            return matching, lines.load(connection, matching[0]) if len(matching) == 1 else None

        matching, record = self._database.read(search)
        if record is None:
            found = f"{len(matching)} runs: {', '.join(matching[:5])}" if matching else "no run"
            raise UserError(f"{prefix!r} is the beginning of {found} in {self.location}; `sakbench ls` lists the runs.")
        return record

    def history(self, run_id: str) -> list[Event]:
        """What happened to a run, the oldest first."""
        columns = [schema.events.c[f.name] for f in fields(Event)]
        query = select(*columns).where(schema.events.c.run == run_id).order_by(schema.events.c.id)
        return self._database.read(lambda connection: [Event(**e) for e in connection.execute(query).mappings()])

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
        command: str = "",
    ) -> RunRecord:
        """Notes that a run has started on this machine, and returns its record, to be completed for `finish`.

        A run that was begun before keeps when it started and how long it has taken so far. One that is complete, and
        is done again for its weights, stays complete in the store until then. `command` is what a user typed for it.
        """
        about = environment()

        def start(connection: Connection) -> RunRecord:
            former = lines.load(connection, run_id)
            if former is not None and lines.was_noted(connection, run_id):
                return former
            again = former is not None and former.status == "done"
            kept = None if again else former
            record = RunRecord(
                id=run_id,
                kind=kind,
                label=label,
                spec=dict(spec),
                seed=seed,
                scale=scale,
                dataset=dataset,
                started=kept.started if kept else lines.now(),
                duration_s=kept.duration_s if kept else 0.0,
                gpu=gpu,
                **about,
            )
            if not again:
                lines.save(connection, record)
            what = "weights again" if again else "resumed" if kept else "started"
            lines.note(connection, run_id, what, command=command, git_commit=about["git_commit"])
            return record

        return self._database.write(start)

    def orphans(self) -> list[str]:
        """The runs that seem to be running, and at which certainly nobody is."""
        return self._database.read(orphans)

    def claimed(self) -> set[str]:
        """The runs that somebody is at, or may be."""
        return self._database.read(claimed)

    def sweep(self, reason: str) -> None:
        """Notes that the `orphans` were interrupted, and drops the claims of processes that are gone."""

        def mark(connection: Connection) -> None:
            for run_id in orphans(connection):
                lines.fail(connection, run_id, reason, "interrupted")
            drop_abandoned(connection)

        self._database.write(mark)

    def finish(self, record: RunRecord) -> None:
        """Stores a run with its measurements as complete, all or nothing."""
        done = replace(record, status="done", finished=lines.now())

        def store(connection: Connection) -> None:
            lines.save(connection, done)
            lines.note(connection, record.id, "finished")

        self._database.write(store)

    def interrupt(self, run_id: str, reason: str) -> None:
        """Notes that a run that is under way was stopped, without patience for a server that is away."""

        def mark(connection: Connection) -> None:
            record = lines.load(connection, run_id)
            if record is not None and record.status == "running":
                lines.fail(connection, run_id, reason, "interrupted")

        self._database.write(mark, patience=0.0)

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
        self._database.write(lambda connection: lines.fail(connection, run_id, reason, status, duration_s))

    def note(self, run_id: str, kind: str, **detail: Any) -> None:
        """Adds to the history of a run."""
        self._database.write(lambda connection: lines.note(connection, run_id, kind, **detail))

    def add(self, record: RunRecord) -> None:
        """Stores a record as it is, in place of any former one with its id."""
        self._database.write(lambda connection: lines.save(connection, record))

    def forget_artifacts(self, paths: Sequence[str]) -> None:
        """Forgets files that are gone; the numbers of their runs stay."""
        left = schema.artifacts.c

        def forget(connection: Connection) -> None:
            for run_id in connection.scalars(select(left.run).where(left.path.in_(paths)).distinct()).all():
                gone = [path for path in paths if path.startswith(f"{run_id}/")]
                lines.note(connection, run_id, "files gone", files=", ".join(gone))
            connection.execute(delete(schema.artifacts).where(left.path.in_(paths)))

        self._database.write(forget)

    def merge(self, records: Sequence[RunRecord], rows: Sequence[RowRecord]) -> Merged:
        """Takes in the results of another store, all or nothing. Doing it twice changes nothing.

        A run that is complete here stays as it is, and so does a row that is complete here.
        """

        def take_in(connection: Connection) -> Merged:
            came, here, rows_here = Merged(), lines.numbers_by_run(connection), lines.rows_by_key(connection)
            for record in records:
                if record.id not in here:
                    came.added.append(record.id)
                elif here[record.id] == (there := lines.numbers_of(record)):
                    came.same.append(record.id)
                else:
                    came.different[record.id] = _differences(here[record.id], there)
            new = []
            for row in rows:
                runs_here = rows_here.get(lines.key_of(row), {})
                if not runs_here or not set(runs_here.values()) <= set(here):
                    new.append(row)
                else:
                    came.rows_kept += runs_here != row.runs
            lines.take_in_runs(connection, [record for record in records if record.id not in here])
            lines.take_in_rows(connection, new)
            came.rows_added = len(new)
            return came

        return self._database.write(take_in)

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
        line = RowRecord(table, row, position, scale, dataset, seed, dict(runs), baseline)

        def store(connection: Connection) -> None:
            known = set(connection.scalars(select(schema.runs.c.id).where(schema.runs.c.id.in_(runs.values()))))
            if missing := set(runs.values()) - known:
                raise ValueError(
                    f"{row} of {table} names runs that {self.location} lacks: {', '.join(sorted(missing))}."
                )
            lines.save_row(connection, line)

        self._database.write(store)

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
                *(entries[name] for name in lines.ROW_COLUMNS),
                entries.task,
                *(metrics[name] for name in lines.METRIC_COLUMNS),
                entries.run,
                runs.label,
            )
            .join_from(schema.entries, schema.runs, runs.id == entries.run)
            .join(schema.metrics, (metrics.run == runs.id) & (metrics.task == entries.task))
            .where(runs.status == "done")
        )
        order = ("table", "scale", "dataset", "position", "row", "seed", "task")
        found = self._sorted(query, order)
        columns = [*lines.ROW_COLUMNS, "task", *lines.METRIC_COLUMNS, "run", "label"]
        return pd.DataFrame(found, columns=columns).astype({"baseline": bool, "higher_is_better": "boolean"})

    def runs(self) -> "pd.DataFrame":
        """One line per run, complete or not, in the order in which they were begun.

        Columns: those of `RunRecord` but spec, versions, machine, notes, metrics and artifacts, as plain values, None
        where a run has none.
        """
        import pandas as pd

        columns = [name for name in lines.RUN_COLUMNS if name not in ("spec", "versions", "machine", "notes")]
        found = self._sorted(select(*(schema.runs.c[name] for name in columns)), ("started", "id"))
        return pd.DataFrame(found, columns=columns, dtype=object)

    def complete(self) -> tuple[list[RunRecord], list[RowRecord]]:
        """All complete runs, and all rows whose runs are complete, sorted: what an export holds."""

        def load(connection: Connection) -> tuple[list[RunRecord], list[Mapping[Any, Any]]]:
            ids = connection.scalars(select(schema.runs.c.id).where(schema.runs.c.status == "done")).all()
            records = [record for run_id in sorted(ids) if (record := lines.load(connection, run_id))]
            key = [schema.entries.c[name] for name in (*lines.ROW_COLUMNS, "task", "run")]
            return records, [dict(line) for line in connection.execute(select(*key)).mappings()]

        records, entries = self._database.read(load)
        rows: dict[tuple[Any, ...], dict[str, str]] = {}
        for entry in sorted(entries, key=lambda entry: tuple(entry.values())):
            rows.setdefault(tuple(entry[name] for name in lines.ROW_COLUMNS), {})[entry["task"]] = entry["run"]
        ids = {record.id for record in records}
        whole = [
            RowRecord(**dict(zip(lines.ROW_COLUMNS, place, strict=True)), runs=runs)
            for place, runs in rows.items()
            if set(runs.values()) <= ids
        ]
        return records, whole

    def troubles(self) -> list[str]:
        """What the database itself finds wrong with its content, a sentence each."""

        def ask(connection: Connection) -> list[str]:
            if connection.dialect.name != "sqlite":
                return []  # a server looks after its files and its foreign keys
            told = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            return [line for line in told if line != "ok"] + [f"a line of {line[0]} has lost its run" for line in lost]

        return self._database.read(ask)

    def _sorted(self, query: Any, order: Sequence[str]) -> list[dict[str, Any]]:
        """The lines of a query, in an order that no database's language settings change."""
        found = self._database.read(lambda connection: [dict(line) for line in connection.execute(query).mappings()])
        return sorted(found, key=lambda line: tuple("" if line[name] is None else line[name] for name in order))


def _differences(here: lines.Numbers, there: lines.Numbers) -> list[Difference]:
    return [
        Difference(*which, here.get(which), there.get(which))
        for which in sorted(here.keys() | there.keys())
        if here.get(which) != there.get(which)
    ]
