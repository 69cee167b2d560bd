"""Which job comes next and what becomes of those that end: the same for every executor."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sakbench.errors import UserError
from sakbench.runs.executor import Claim, Display, Record
from sakbench.runs.jobs import Job
from sakbench.training.progress import Progress

ASK_SECONDS = 3.0  # between two questions to the record about jobs of others, or about lost ones
_STARTS = 3  # of a job whose process dies


@dataclass(frozen=True)
class Done:
    """A job is done; `result` is what the store keeps of it."""

    result: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """A job will not end, however often it is started."""

    reason: str


@dataclass(frozen=True)
class Died:
    """A job's process ended without a word."""

    reason: str


End = Done | Failed | Died


class Pool(Protocol):
    """Has the processes of jobs under way."""

    def fits(self, job: Job) -> bool:
        """Whether it could begin now."""

    def start(self, job: Job) -> None:
        """Begin it, or go on with it."""

    def messages(self, seconds: float) -> Iterator[tuple[Job, Progress | End]]:
        """What jobs under way tell, after so many seconds at most; with its end a job leaves the pool."""

    def kill(self, job: Job) -> None:
        """End it at once; on return it does nothing any more."""

    def stop(self) -> None:
        """Tell all to stop and wait until they have saved their checkpoints."""


class Schedule:
    """The jobs that wait and those under way. Longest chains stand first in `jobs`, none before those it comes after.

    What ends is told to the record and shown on the display.
    """

    def __init__(self, jobs: list[Job], display: Display, record: Record) -> None:
        self.display = display
        self.record = record
        self.waiting = {job.id: job for job in jobs}
        self.running: dict[str, Job] = {}
        self.deaths = Counter[str]()
        self._ask_at: dict[str, float] = {}  # jobs that others are at, and when to ask for them again
        self._look_at = 0.0

    @property
    def complete(self) -> bool:
        """Whether all is done."""
        return not self.waiting and not self.running

    def next(self, fits: Callable[[Job], bool]) -> Job | None:
        """The next job to begin, taken for this command; None while there is none."""
        for job in list(self.waiting.values()):
            if any(before in self.waiting or before in self.running for before in job.after):
                continue
            held = job.id in self._ask_at
            if held and time.monotonic() < self._ask_at[job.id]:
                continue
            if not fits(job):
                if held:
                    continue  # most likely it still is
                return None  # a smaller job behind it would keep it waiting
            if self._take(job):
                return job
        return None

    def heard(self, job: Job, message: Progress | End) -> bool:
        """Take note of what a job tells; whether it must be started again. Raises `UserError` if it has failed."""
        if job.id not in self.running:
            return False  # it is lost
        if isinstance(message, Progress):
            self.display.progressed(job, message)
            return False
        if job.id in self.record.lost():
            self._lose(job)
            return False
        match message:
            case Done(result):
                del self.running[job.id]
                self.record.finished(job, result)
                self.display.finished(job, result)
            case Failed(reason):
                del self.running[job.id]
                self.record.failed(job, reason)
                raise UserError(f"{job.label}: {reason}")
            case Died(reason):
                self.deaths[job.id] += 1
                if self.deaths[job.id] < _STARTS:
                    self.record.died(job, reason)
                    self.display.died(job, reason)
                    return True
                del self.running[job.id]
                self.record.failed(job, f"its process died {_STARTS} times, the last time with {reason}")
                raise UserError(
                    f"the process of {job.label!r} died {_STARTS} times ({reason}; was it killed, or out of memory?):"
                    " call the same command again, what is finished is kept."
                )
        return False

    def lost(self) -> list[Job]:
        """The jobs under way that are another command's by now, to be killed; the record is asked now and then."""
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + ASK_SECONDS
        lost = [self.running[job] for job in self.record.lost() & self.running.keys()]
        for job in lost:
            self._lose(job)
        return lost

    def interrupted(self) -> None:
        """All that was under way has been stopped."""
        while self.running:
            self.record.interrupted(self.running.popitem()[1])

    def _take(self, job: Job) -> bool:
        taken = self.record.take(job)
        if isinstance(taken, str):
            if job.id not in self._ask_at:
                self.display.elsewhere(job, taken)
            self._ask_at[job.id] = time.monotonic() + ASK_SECONDS
            return False
        del self.waiting[job.id]
        self._ask_at.pop(job.id, None)
        if taken is Claim.DONE:
            self.display.done_elsewhere(job)
            return False
        self.running[job.id] = job
        self.display.started(job)
        return True

    def _lose(self, job: Job) -> None:
        self.waiting[job.id] = self.running.pop(job.id)
        self._ask_at[job.id] = time.monotonic() + ASK_SECONDS
        self.display.elsewhere(job, "another command, since this one was silent for too long")


def carry_out(jobs: list[Job], pool: Pool, display: Display, record: Record) -> None:
    """Do all `jobs` in a pool: see `Executor.run`."""
    schedule = Schedule(jobs, display, record)
    try:
        while not schedule.complete:
            while job := schedule.next(pool.fits):
                pool.start(job)
            for job in schedule.lost():
                pool.kill(job)
            for job, message in pool.messages(ASK_SECONDS):
                if schedule.heard(job, message):
                    pool.start(job)
    except BaseException:
        if schedule.running:
            display.stopping()
        try:
            pool.stop()
        finally:
            schedule.interrupted()
        raise
