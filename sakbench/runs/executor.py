"""Runs jobs in processes of this machine: one for each core or GPU that a job takes.

A job's processes talk with this one through pipes: the first sends its progress and its result, and all stop when they
are told to or when the pipe breaks, so no process outlives the command. Nothing but this process writes to the store.
"""

import multiprocessing
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from sakbench.errors import UserError
from sakbench.runs.jobs import Job
from sakbench.runs.place import Place, Seat
from sakbench.training.progress import Progress

_SECONDS_TO_STOP = 300  # a large checkpoint may be on its way to the disk


class Display(Protocol):
    """Shows what happens. The command line brings one for terminals and one for pipes."""

    def started(self, job: Job) -> None:
        """A job has begun."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A job has come so far."""

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """A job is done; `result` is what its process sent."""

    def stopping(self) -> None:
        """The jobs under way are told to stop, which takes a step of each."""


@dataclass
class _Running:
    job: Job
    devices: list[str]
    processes: list[BaseProcess]
    pipes: list[Connection]  # the first process's is the one that gives the result
    meeting: Path | None  # the file where several processes find each other

    def join(self, seconds: float | None = None) -> None:
        """Wait for the processes to end, at most so long each, then end them."""
        for process in self.processes:
            process.join(seconds)
            if process.is_alive():
                process.kill()
        if self.meeting:
            shutil.rmtree(self.meeting.parent, ignore_errors=True)


class Executor(Protocol):
    """Does jobs somewhere."""

    def run(self, jobs: list[Job], display: Display, record: "Record") -> None:
        """Do all `jobs`, none before those it comes after; `record` learns how each begins and ends.

        Raises `UserError` when a job fails. Then, as on Ctrl-C, the others are told to stop and keep their checkpoints.
        """


class LocalExecutor:
    """Runs jobs at `place` on `devices`, each on as many as it asks for: cores ("cpu"), or GPUs by their numbers."""

    def __init__(self, devices: Sequence[str], place: Place) -> None:
        self.devices = list(devices)
        self.place = place

    @cached_property
    def context(self) -> ForkServerContext | SpawnContext:
        """How processes are started; made for the first job, since its server keeps this process's output open."""
        return _processes()

    def run(self, jobs: list[Job], display: Display, record: "Record") -> None:
        """Do all `jobs`: see `Executor`."""
        waiting, done, running = list(jobs), set[str](), list[_Running]()
        free = list(self.devices)
        ids = {job.id for job in jobs}
        try:
            while waiting or running:
                for job in [j for j in waiting if all(a in done or a not in ids for a in j.after)]:
                    if len(free) < job.devices:
                        break  # a smaller job behind it would keep it waiting
                    waiting.remove(job)
                    record.started(job)
                    taken, free = free[: job.devices], free[job.devices :]
                    running.append(self._start(job, taken))
                    display.started(job)
                for pipe in _ready([pipe for current in running for pipe in current.pipes]):
                    current = next((r for r in running if pipe in r.pipes), None)
                    if current is None:
                        continue  # its job ended with the message of another of its pipes
                    result = self._receive(current, current.pipes.index(pipe), display, record)
                    if result is not None:
                        running.remove(current)
                        free += current.devices
                        current.join()
                        record.finished(current.job, result)
                        display.finished(current.job, result)
                        done.add(current.job.id)
        except BaseException:
            if running:
                display.stopping()
            self._stop(running)
            for current in running:
                record.interrupted(current.job)
            raise

    def _start(self, job: Job, devices: list[str]) -> _Running:
        meeting = Path(tempfile.mkdtemp(prefix="sakbench-")) / "meeting" if len(devices) > 1 else None
        current = _Running(job, devices, [], [], meeting)
        for rank in range(len(devices)):
            ours, theirs = self.context.Pipe()
            seat = Seat(rank, tuple(devices), meeting)
            # A daemon could not have the processes that read images.
            daemon = not self.place.workers
            process = self.context.Process(target=_serve, args=(job, self.place, seat, theirs), daemon=daemon)
            process.start()
            theirs.close()
            current.processes.append(process)
            current.pipes.append(ours)
        return current

    def _receive(self, current: _Running, rank: int, display: Display, record: "Record") -> dict[str, Any] | None:
        """Take one message; returns the result when it is the last one."""
        try:
            kind, content = current.pipes[rank].recv()
        except EOFError:
            process = current.processes[rank]
            process.join()
            if rank and process.exitcode == 0:
                del current.pipes[rank], current.processes[rank]  # done; the first process tells the result
                return None
            record.failed(current.job, f"its process died with exit code {process.exitcode}")
            raise UserError(
                f"the process of {current.job.label!r} died (exit code {process.exitcode}; was it killed, or"
                " out of memory?): call the same command again, what is finished is kept."
            ) from None
        if kind == "progress":
            display.progressed(current.job, content)
            return None
        if kind == "error":
            record.failed(current.job, content)
            raise UserError(f"{current.job.label}: {content}")
        return content

    def _stop(self, running: list[_Running]) -> None:
        for pipe in (pipe for current in running for pipe in current.pipes):
            try:
                pipe.send("stop")
            except OSError:
                continue  # it has ended by itself
        for current in running:
            current.join(_SECONDS_TO_STOP)


def _ready(pipes: list[Connection]) -> list[Connection]:
    """The pipes that have a message, or an end; waits for the first."""
    found = wait(pipes)
    return [pipe for pipe in pipes if pipe in found]


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


def _serve(job: Job, place: Place, seat: Seat, pipe: Connection) -> None:
    """What a job's process does: the job or its share of it; the first one's progress and result go into `pipe`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    from sakbench.runs.perform import Stopped, perform  # here, because it imports torch
    from sakbench.training.group import seated

    def report(progress: Progress) -> None:
        if seat.rank == 0:
            pipe.send(("progress", progress))

    def stop() -> bool:
        return pipe.poll()  # a message or, when the parent is gone, the end of the pipe

    with seated(seat.rank, seat.devices, seat.meeting):
        # Told before the group is left: leaving it lets the others fail, who know less of the reason.
        try:
            result = perform(job.work, place, report, stop)
            if seat.rank == 0:
                pipe.send(("result", result))
        except Stopped:
            return
        except UserError as error:
            pipe.send(("error", str(error)))
        except BrokenPipeError:
            return  # nobody listens any more
        except Exception as error:
            traceback.print_exc()  # a defect of ours: whoever mends it needs to see where
            pipe.send(("error", f"{type(error).__name__}: {error}"))
