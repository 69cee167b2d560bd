"""Runs jobs in this very process, one after the other: for models that live in it alone."""

import time

import torch

from sakbench.errors import UserError
from sakbench.runs.executor import Display, Record
from sakbench.runs.jobs import Job
from sakbench.runs.perform import Stopped, perform
from sakbench.runs.place import Place
from sakbench.runs.schedule import ASK_SECONDS, Done, Failed, Schedule
from sakbench.training.progress import Progress


class HereExecutor:
    """Does one job at a time at `place`. Ctrl-C ends it; its last checkpoint is kept."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs`: see `Executor`."""
        schedule, threads = Schedule(jobs, display, record), torch.get_num_threads()
        try:
            while not schedule.complete:
                job = schedule.next(fits=lambda job: True)
                if job:
                    self._do(job, schedule)
                elif not schedule.complete:
                    time.sleep(ASK_SECONDS)  # others are at what is left
        except BaseException:
            schedule.interrupted()
            raise
        finally:
            torch.set_num_threads(threads)

    def _do(self, job: Job, schedule: Schedule) -> None:
        def report(progress: Progress) -> None:
            schedule.heard(job, progress)

        def stop() -> bool:
            schedule.lost()
            return job.id not in schedule.running

        try:
            result = perform(job.work, self.place, report, stop)
        except Stopped:
            return  # another command has taken it over
        except UserError as error:
            schedule.heard(job, Failed(str(error)))
        else:
            schedule.heard(job, Done(result))
