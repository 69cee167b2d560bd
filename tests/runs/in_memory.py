"""Executors without a database: a record and a display in memory, and a command that the tests kill.

`python in_memory.py FOLDER EXECUTOR` does some small jobs and writes their numbers and what happened into FOLDER.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from sakbench.errors import INTERRUPTED, UserError
from sakbench.experiments.rows import multi_task, sak, single_task
from sakbench.runs.executor import Claim, Taken
from sakbench.runs.jobs import Bank, Job, jobs
from sakbench.runs.place import Place
from sakbench.runs.plan import plan
from tests.runs.tiny_command import SCALE


@dataclass
class Store:
    """What several commands share: who is at which run, and the results."""

    holders: dict[str, str] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Notes:
    """The record and the display of one command: what happened, as (word, job's label), in `events`."""

    name: str = "this"
    store: Store = field(default_factory=Store)
    hear: Callable[[Job], None] = lambda job: None  # of a job's progress
    events: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def take(self, job: Job) -> Taken:
        with self.store.lock:
            if job.id in self.store.results:
                return Claim.DONE
            holder = self.name if isinstance(job.work, Bank) else self.store.holders.setdefault(job.id, self.name)
            if holder != self.name:
                return holder
            self.taken.add(job.id)
            return Claim.OURS

    def lost(self) -> set[str]:
        return {job for job in self.taken if self.store.holders.get(job, self.name) != self.name}

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        if job.id in self.taken:  # the record hears of it first, then the display
            self._give_back("stored", job)
            if not isinstance(job.work, Bank):
                self.store.results[job.id] = result
        else:
            self.events.append(("finished", job.label))

    def failed(self, job: Job, reason: str) -> None:
        self._give_back(f"failed: {reason}", job)

    def interrupted(self, job: Job) -> None:
        self._give_back("interrupted", job)

    def died(self, job: Job, reason: str) -> None:
        self.events.append((f"died: {reason}", job.label))

    def started(self, job: Job) -> None:
        self.events.append(("started", job.label))

    def progressed(self, job: Job, progress: object) -> None:
        self.hear(job)

    def elsewhere(self, job: Job, holder: str) -> None:
        self.taken.discard(job.id)
        self.events.append((f"elsewhere: {holder}", job.label))

    def done_elsewhere(self, job: Job) -> None:
        self.events.append(("done elsewhere", job.label))

    def stopping(self) -> None:
        self.events.append(("stopping", ""))

    def _give_back(self, word: str, job: Job) -> None:
        with self.store.lock:
            self.taken.remove(job.id)
            self.store.holders.pop(job.id, None)
        self.events.append((word, job.label))


def small_jobs() -> list[Job]:
    """A baseline, a student with its stage 1, and the features that they read."""
    wanted = [single_task(SCALE, 0, "semseg"), multi_task(SCALE, 0), sak(SCALE, 0, ("CLIP",))]
    return jobs(plan(wanted, is_stored=lambda run: False, has_weights=lambda run: False))


def endless_job() -> Job:
    """A training that ends in a test's time only when it is ended."""
    return Job(multi_task(replace(SCALE, tune=replace(SCALE.tune, steps=10**6)), 0), (), 1.0)


def numbers(store: Store) -> dict[str, dict[str, float]]:
    """What was measured of each run."""
    return {run: {m["task"]: m["value"] for m in result["metrics"]} for run, result in store.results.items()}


def job_processes(command: psutil.Process) -> list[psutil.Process]:
    """The processes below a command that do its jobs: those that its fork servers, or those of its tasks, started."""
    parents = {}
    for process in command.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if any("forkserver" in word for word in process.cmdline()):
                parents[process] = process.ppid()
    servers = {process.pid for process in parents}
    return [process for process, parent in parents.items() if parent in servers]


def interrupt(*signal_and_frame: object) -> None:
    raise KeyboardInterrupt


def main(folder: Path, kind: str) -> int:
    signal.signal(signal.SIGTERM, interrupt)
    notes = Notes()
    place = Place(folder / "runs")
    if kind == "ray":
        from sakbench.runs.on_ray import RayExecutor

        executor: Any = RayExecutor(place)
    else:
        from sakbench.runs.local import LocalExecutor

        executor = LocalExecutor(["cpu"] * 2, place)
    try:
        executor.run(small_jobs(), notes, notes)
    except KeyboardInterrupt:
        return INTERRUPTED
    except UserError as error:
        print(error)
        return 2
    finally:
        (folder / "events.json").write_text(json.dumps(notes.events))
        (folder / "numbers.json").write_text(json.dumps(numbers(notes.store)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
