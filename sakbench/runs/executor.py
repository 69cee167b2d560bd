"""Runs jobs in processes of this machine, one process a job, each on one core.

A job's process talks with this one through a pipe: it sends its progress and its result, and it stops when it is told
to or when the pipe breaks, so no process outlives the command. Nothing but this process writes to the store.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import psutil

from sakbench.errors import UserError
from sakbench.runs.jobs import Job

_MEMORY_OF_A_JOB = 1.5 * 2**30  # bytes; a run at scale mini takes about 1 GiB, torch included


class Display(Protocol):
    """Shows what happens. The command line brings one for terminals and one for pipes."""

    def started(self, job: Job) -> None:
        """A job has begun."""

    def progressed(self, job: Job, step: int, steps: int, losses: dict[str, float]) -> None:
        """A job has done `step` of `steps`."""

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """A job is done; `result` is what its process sent."""


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    pipe: Connection


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_processes() -> int:
    """One process per core, as far as the free memory goes."""
    return max(1, min(cores(), int(psutil.virtual_memory().available / _MEMORY_OF_A_JOB)))


class LocalExecutor:
    """Runs jobs in up to `count` processes at once."""

    def __init__(self, count: int, folder: Path) -> None:
        self.count = count
        self.folder = folder
        self.context = _processes()

    def run(self, jobs: list[Job], display: Display, record: "Record") -> None:
        """Do all `jobs`, none before those it comes after; `record` learns how each begins and ends.

        Raises `UserError` when a job fails. Then, as on Ctrl-C, the others are told to stop and keep their checkpoints.
        """
        waiting, done, running = list(jobs), set[str](), list[_Running]()
        ids = {job.id for job in jobs}
        try:
            while waiting or running:
                for job in [j for j in waiting if all(a in done or a not in ids for a in j.after)]:
                    if len(running) == self.count:
                        break
                    waiting.remove(job)
                    record.started(job)
                    running.append(self._start(job))
                    display.started(job)
                for pipe in wait([r.pipe for r in running]):
                    current = next(r for r in running if r.pipe is pipe)
                    result = self._receive(current, display, record)
                    if result is not None:
                        running.remove(current)
                        current.process.join()
                        record.finished(current.job, result)
                        display.finished(current.job, result)
                        done.add(current.job.id)
        except BaseException:
            self._stop(running)
            for current in running:
                record.interrupted(current.job)
            raise

    def _start(self, job: Job) -> _Running:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(job, self.folder, theirs), daemon=True)
        process.start()
        theirs.close()
        return _Running(job, process, ours)

    def _receive(self, current: _Running, display: Display, record: "Record") -> dict[str, Any] | None:
        """Take one message; returns the result when it is the last one."""
        try:
            kind, content = current.pipe.recv()
        except EOFError:
            current.process.join()
            record.failed(current.job, f"its process died with exit code {current.process.exitcode}")
            raise UserError(
                f"the process of {current.job.label!r} died (exit code {current.process.exitcode}; was it killed, or"
                " out of memory?): call the same command again, what is finished is kept."
            ) from None
        if kind == "progress":
            display.progressed(current.job, *content)
            return None
        if kind == "error":
            record.failed(current.job, content)
            raise UserError(f"{current.job.label}: {content}")
        return content

    def _stop(self, running: list[_Running]) -> None:
        for current in running:
            try:
                current.pipe.send("stop")
            except OSError:
                continue  # it has ended by itself
        for current in running:
            current.process.join(timeout=30)
            if current.process.is_alive():
                current.process.kill()


class Record(Protocol):
    """Keeps how jobs begin and end."""

    def started(self, job: Job) -> None:
        """It is about to begin."""

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """It is done; `result` is what its process sent."""

    def failed(self, job: Job, reason: str) -> None:
        """It will not end."""

    def interrupted(self, job: Job) -> None:
        """It was stopped, unless it had failed; what it had done is in its checkpoint."""


def _processes() -> ForkServerContext | SpawnContext:
    """A fork server imports torch once for all jobs; elsewhere each job pays for its own import."""
    if not sys.platform.startswith("linux"):  # Windows has none, and macOS's libraries do not survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sakbench.runs.perform"])
    # The server would answer a Ctrl-C during its imports with a traceback; it keeps the mask that it starts with.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _serve(job: Job, folder: Path, pipe: Connection) -> None:
    """What a job's process does: the job, its progress and its result into `pipe`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    from sakbench.runs.perform import Stopped, perform  # here, because it imports torch

    def report(step: int, steps: int, losses: dict[str, float]) -> None:
        pipe.send(("progress", (step, steps, losses)))

    def stop() -> bool:
        return pipe.poll()  # a message or, when the parent is gone, the end of the pipe

    try:
        pipe.send(("result", perform(job.work, folder, report, stop)))
    except Stopped:
        return
    except UserError as error:
        pipe.send(("error", str(error)))
    except BrokenPipeError:
        return  # nobody listens any more
    except Exception as error:
        traceback.print_exc()  # a defect of ours: whoever mends it needs to see where
        pipe.send(("error", f"{type(error).__name__}: {error}"))
