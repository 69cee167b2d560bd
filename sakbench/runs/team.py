"""The processes of this machine that do one job together: one for each core or GPU that it takes.

They talk with the process that started them through pipes: the first one sends its progress and how it ends, and all
stop when they are told to. None outlives the process that started it.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from sakbench.errors import UserError
from sakbench.runs.jobs import Job
from sakbench.runs.place import Place, Seat
from sakbench.runs.schedule import Died, Done, End, Failed
from sakbench.training.progress import Progress

SECONDS_TO_STOP = 300.0  # a large checkpoint may be on its way to the disk
_SECONDS_TO_START = 30.0
_SECONDS_TO_EXPLAIN = 1.0  # until the death of one of several processes is known


class Team:
    """The processes of `job` on `devices`, "cpu" or the numbers of GPUs, once they are started by `begin`."""

    def __init__(self, job: Job, place: Place, devices: Sequence[str]) -> None:
        self.job = job
        self.place = place
        self.devices = tuple(devices)
        self.pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._folder = Path(tempfile.mkdtemp(prefix="sakbench-")) if len(devices) > 1 else None

    def begin(self) -> None:
        """Start them. Who is interrupted meanwhile can `kill` those that there are."""
        meeting = self._folder / "meeting" if self._folder else None
        for rank in range(len(self.devices)):
            ours, theirs = _context().Pipe()
            process = _context().Process(
                target=_serve,
                args=(self.job, self.place, Seat(rank, self.devices, meeting), theirs),
                daemon=not self.place.workers,  # a daemon could not have the processes that read images
            )
            self._processes.append(process)
            _begin(process)
            theirs.close()
            self.pipes.append(ours)

    def receive(self, pipe: Connection) -> Progress | End | None:
        """What a process tells, or None if it has done its share. With an `End` all processes are gone."""
        rank = self.pipes.index(pipe)
        try:
            message: Progress | End = pipe.recv()
        except (EOFError, OSError):  # an OSError in the middle of a message
            process = self._processes[rank]
            process.join()
            if rank and process.exitcode == 0:
                del self.pipes[rank], self._processes[rank]  # the first process tells the result
                return None
            message = Died(f"exit code {process.exitcode}")
        if isinstance(message, Progress):
            return message
        if isinstance(message, Failed):
            message = self._killed(beside=rank) or message
        if isinstance(message, Done):
            self.join(SECONDS_TO_STOP)
        self.kill()
        return message

    def tell_to_stop(self) -> None:
        """Have all stop after their step."""
        for pipe in self.pipes:
            try:
                pipe.send("stop")
            except OSError:
                continue  # it has ended by itself

    def join(self, seconds: float | None = None) -> None:
        """Wait for the processes to end, at most so long for each."""
        for process in self._begun:
            process.join(seconds)

    def kill(self) -> None:
        """End what has not ended."""
        for process in self._begun:
            process.kill()
        self.join()
        self.pipes.clear()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _begun(self) -> list[BaseProcess]:
        return [process for process in self._processes if process.pid is not None]

    def _killed(self, beside: int) -> Died | None:
        """Whether another process than the one that tells of its failure was killed, so that it could not but fail."""
        others = [process for process in self._processes if process is not self._processes[beside]]
        if others:
            wait([process.sentinel for process in others], _SECONDS_TO_EXPLAIN)
        codes = [process.exitcode for process in others if process.exitcode]
        return Died(f"exit code {codes[0]}") if codes else None


def messages(teams: Sequence[Team], seconds: float) -> Iterator[tuple[Team, Progress | End]]:
    """What teams tell, after so many seconds at most."""
    of = {pipe: team for team in teams for pipe in team.pipes}
    if not of:
        time.sleep(seconds)
        return
    ready = wait(list(of), seconds)
    for pipe, team in of.items():  # a result comes before the others' ends
        if pipe in ready and pipe in team.pipes:
            message = team.receive(pipe)
            if message is not None:
                yield team, message


def stop(teams: Sequence[Team]) -> None:
    """Tell teams to stop, wait for their checkpoints and end what has not ended by then."""
    for team in teams:
        team.tell_to_stop()
    try:
        for team in teams:
            team.join(SECONDS_TO_STOP)
    finally:
        for team in teams:
            team.kill()


@contextmanager
def deaf() -> Iterator[None]:
    """Have the processes that are started meanwhile never hear of Ctrl-C or SIGTERM, which terminals and clusters send
    to all: who started them decides when they stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(process: BaseProcess) -> None:
    """Start a process, by another fork server if the one that there was has been killed."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            with deaf():  # a server that is started here keeps this, and hands it on
                process.start()
            return
        except (EOFError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise UserError(f"no process can be started here ({error}): call the same command again.") from error
            time.sleep(0.1)  # a large process takes its time to die, and until then it seems to be there


@cache
def _context() -> ForkServerContext | SpawnContext:
    """How processes are started: by a fork server that imports torch once for all jobs, if there can be one.

    It is started for the first job, since it keeps this process's output open.
    """
    if not sys.platform.startswith("linux"):  # Windows has none, and macOS's libraries do not survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sakbench.runs.perform"])
    with deaf():  # during its imports too, and what it starts, down to the processes that read images
        forkserver.ensure_running()
    return context


def _serve(job: Job, place: Place, seat: Seat, pipe: Connection) -> None:
    """What a process does: the job or its share of it; the first one's progress and result go into `pipe`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from sakbench.runs.perform import Stopped, perform  # here, because it imports torch
    from sakbench.training.group import seated

    def report(progress: Progress) -> None:
        if seat.rank == 0:
            pipe.send(progress)

    with seated(seat.rank, seat.devices, seat.meeting):
        # Told before the group is left: leaving it lets the others fail, who know less of the reason.
        try:
            result = perform(job.work, place, report, stop=pipe.poll)
            if seat.rank == 0:
                pipe.send(Done(result))
        except Stopped:
            return
        except UserError as error:
            pipe.send(Failed(str(error)))
        except BrokenPipeError:
            return  # nobody listens any more
        except Exception as error:
            traceback.print_exc()  # a defect of ours: whoever mends it needs to see where
            pipe.send(Failed(f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """End as soon as the process that started this one is gone: soon another may be at the same run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
