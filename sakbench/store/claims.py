"""Who is at which run, so that many commands on many machines share the work of a table.

A claim is a line in the store that its holder counts up every quarter of its lease. No machine's clock is compared with
another's: whoever would like a run that somebody else has claimed watches the count, and takes the run over when the
count has stood still for a whole lease by the watcher's own monotonic clock. A holder that ran on this machine and is
certainly dead need not be waited for; one that is alive here keeps its claims however slow it is.
"""

import threading
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from sakbench.errors import UserError
from sakbench.holder import Holder, this_process
from sakbench.store import schema
from sakbench.store.connection import Database

LEASE_SECONDS = 60.0
_BEATS = 4  # per lease
_COLUMNS = schema.claims.c


@dataclass(frozen=True)
class _Watch:
    """What is known of another's claim: its owner and count, since when that has not changed, when it was last seen."""

    count: tuple[str, int]
    since: float
    seen: float


class Claims:
    """The runs that one command has claimed. As a context it keeps its claims alive, and gives them back at the end."""

    def __init__(self, database: Database, *, lease: float = LEASE_SECONDS):
        self.owner = uuid.uuid4().hex
        self.lease = lease
        self._database = database
        self._held: set[str] = set()
        self._lost: set[str] = set()
        self._watched: dict[str, _Watch] = {}  # others' claims
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        mine = delete(schema.claims).where(_COLUMNS.owner == self.owner)
        try:
            self._database.write(lambda connection: connection.execute(mine), patience=0.0)
        except UserError as trouble:
            warnings.warn(f"{trouble} Others take over what this command leaves in a minute.", stacklevel=1)

    def take(self, run: str) -> Holder | None:
        """Claim a run; None if it is this command's now, otherwise who is at it."""
        holder = self._database.write(lambda connection: self._take(connection, run))
        if holder is None:
            self._held.add(run)
            self._lost.discard(run)
        return holder

    def release(self, run: str, *, patience: float | None = None) -> bool:
        """Give a run back; whether it still was this command's. `patience` is for a server that is away (seconds)."""
        self._held.discard(run)
        self._lost.discard(run)
        mine = delete(schema.claims).where(_COLUMNS.run == run, _COLUMNS.owner == self.owner)
        return self._database.write(lambda connection: connection.execute(mine).rowcount, patience=patience) == 1

    def lost(self) -> set[str]:
        """The runs that were this command's until another took them over, because it was silent for too long."""
        return set(self._lost)

    def beat(self) -> None:
        """Tell the others that this command is alive; see which claims are another's by now."""

        def count(connection: Connection) -> set[str]:
            mine = select(_COLUMNS.run).where(_COLUMNS.owner == self.owner)
            connection.execute(update(schema.claims).where(_COLUMNS.owner == self.owner).values(beat=_COLUMNS.beat + 1))
            return set(connection.scalars(mine))

        before = set(self._held)
        still = self._database.write(count)
        self._lost |= (before - still) & self._held

    def _keep_alive(self) -> None:
        while not self._ended.wait(self.lease / _BEATS):
            try:
                self.beat()
            except Exception as trouble:  # whatever it is, the next beat may succeed; without any, claims are lost
                warnings.warn(f"the claims in the store could not be renewed: {trouble}", stacklevel=1)

    def _take(self, connection: Connection, run: str) -> Holder | None:
        found = connection.execute(select(schema.claims).where(_COLUMNS.run == run)).mappings().one_or_none()
        if found is not None and found["owner"] != self.owner:
            holder = _holder(found)
            if not (holder.is_gone() if holder.is_here() else self._is_silent(found)):
                return holder
        me = this_process()
        connection.execute(delete(schema.claims).where(_COLUMNS.run == run))
        connection.execute(
            insert(schema.claims).values(
                run=run,
                owner=self.owner,
                machine=me.machine,
                process=me.process,
                born=me.born,
                name=me.name,
                beat=0,
                lease_s=self.lease,
            )
        )
        return None

    def _is_silent(self, claim: Mapping[Any, Any]) -> bool:
        now, count = time.monotonic(), (claim["owner"], claim["beat"])
        before = self._watched.get(claim["run"])
        # Who could not look for a while, since the server was away, knows nothing of the holder in that time.
        watches = before is not None and before.count == count and now - before.seen < claim["lease_s"] / _BEATS
        since = before.since if before is not None and watches else now
        self._watched[claim["run"]] = _Watch(count, since, now)
        return now - since > claim["lease_s"]


def claimed(connection: Connection) -> set[str]:
    """The runs whose holders may be alive."""
    return {run for run, holder in _holders(connection).items() if not holder.is_gone()}


def orphans(connection: Connection) -> list[str]:
    """The runs that seem to be running and that nobody can be at."""
    running = connection.scalars(select(schema.runs.c.id).where(schema.runs.c.status == "running")).all()
    return sorted(set(running) - claimed(connection))


def drop_abandoned(connection: Connection) -> None:
    """Drop the claims of processes that are certainly gone."""
    abandoned = set(_holders(connection)) - claimed(connection)
    connection.execute(delete(schema.claims).where(_COLUMNS.run.in_(abandoned)))


def _holders(connection: Connection) -> dict[str, Holder]:
    return {claim["run"]: _holder(claim) for claim in connection.execute(select(schema.claims)).mappings()}


def _holder(claim: Mapping[Any, Any]) -> Holder:
    return Holder(claim["machine"], claim["process"], claim["born"], claim["name"])
