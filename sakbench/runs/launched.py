"""Runs jobs in the processes that torchrun, accelerate or a cluster's launcher has started: all work on each job."""

import signal
import time
from enum import Enum
from types import FrameType

from torch import distributed

from sakbench.errors import UserError
from sakbench.runs.executor import Display, Record
from sakbench.runs.jobs import Job
from sakbench.runs.perform import Stopped, perform
from sakbench.runs.place import Place
from sakbench.runs.schedule import ASK_SECONDS, Done, Failed, Schedule
from sakbench.training.group import launched
from sakbench.training.progress import Progress


class Word(Enum):
    """What the first process hands out instead of a job."""

    WAIT = "wait"  # others are at what is left; said every few seconds, since a group's patience has an end
    END = "end"


class LaunchedExecutor:
    """The first process's: it hands each job to all, and reports."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.stopped = False

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs` one after the other: see `Executor`."""
        before = [signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)]
        schedule = Schedule(jobs, display, record)
        try:
            with launched(on_cpu=self.place.on_cpu):
                while not schedule.complete and not self.stopped:
                    job = schedule.next(fits=lambda job: True)
                    hand_out(job or Word.WAIT)
                    if job:
                        self._do(job, schedule)
                    elif not schedule.complete:
                        self._rest()
                hand_out(Word.END)
            if not schedule.complete:
                schedule.interrupted()
                raise KeyboardInterrupt
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(number, handler)

    def _do(self, job: Job, schedule: Schedule) -> None:
        def report(progress: Progress) -> None:
            schedule.heard(job, progress)

        def stop() -> bool:
            schedule.lost()
            return self.stopped or job.id not in schedule.running

        try:
            result = perform(job.work, self.place, report, stop)
        except Stopped:
            # unless another command has taken it over, one of the processes was told to stop
            self.stopped |= job.id in schedule.running
        except UserError as error:
            schedule.heard(job, Failed(str(error)))
        else:
            schedule.heard(job, Done(result))

    def _rest(self) -> None:
        until = time.monotonic() + ASK_SECONDS
        while time.monotonic() < until and not self.stopped:
            time.sleep(0.1)

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
        while (word := hand_out()) is not Word.END:
            if isinstance(word, Job):
                try:
                    perform(word.work, place, lambda progress: None, lambda: stopped)
                except Stopped:
                    continue  # the first process tells what comes next


def hand_out(word: Job | Word = Word.WAIT) -> Job | Word:
    """Give the first process's word to all; returns it in each. What the others say does not count."""
    box = [word]
    distributed.broadcast_object_list(box)
    return box[0]
