"""Runs jobs in the processes that torchrun, accelerate or a cluster's launcher has started: all work on each job."""

import signal
from types import FrameType
from typing import Any

from torch import distributed

from sakbench.errors import UserError
from sakbench.runs.executor import Display, Record
from sakbench.runs.jobs import Job
from sakbench.runs.perform import Stopped, perform
from sakbench.runs.place import Place
from sakbench.training.group import launched


class LaunchedExecutor:
    """The first process's: it hands each job to all, and reports."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.stopped = False

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs` one after the other: see `Executor`."""
        before = [signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            with launched(on_cpu=self.place.on_cpu):
                for job in jobs:  # longest chain first: none stands before those it comes after
                    hand_out(job)
                    record.started(job)
                    display.started(job)
                    result = self._do(job, display, record)
                    record.finished(job, result)
                    display.finished(job, result)
                hand_out(None)
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(number, handler)

    def _do(self, job: Job, display: Display, record: Record) -> dict[str, Any]:
        try:
            return perform(
                job.work, self.place, lambda progress: display.progressed(job, progress), lambda: self.stopped
            )
        except Stopped:
            record.interrupted(job)
            raise KeyboardInterrupt from None
        except UserError as error:
            record.failed(job, str(error))
            raise UserError(f"{job.label}: {error}") from error

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True


def follow(place: Place) -> None:
    """What every process but the first does: its share of each job that is handed out."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with launched(on_cpu=place.on_cpu):
        while (job := hand_out(None)) is not None:
            try:
                perform(job.work, place, lambda progress: None, lambda: stopped)
            except Stopped:
                return


def hand_out(job: Job | None) -> Job | None:
    """Give the first process's job, or the word that there are no more, to all; returns it in each."""
    box = [job]
    distributed.broadcast_object_list(box)
    return box[0]
