"""Runs jobs in processes of this machine. Nothing but the process that calls writes to the store."""

from collections.abc import Iterator, Sequence

from sakbench.runs import team
from sakbench.runs.executor import Display, Record
from sakbench.runs.jobs import Job
from sakbench.runs.place import Place
from sakbench.runs.schedule import End, carry_out
from sakbench.training.progress import Progress


class LocalExecutor:
    """Runs jobs at `place` on `devices`, each on as many as it asks for: cores ("cpu"), or GPUs by their numbers."""

    def __init__(self, devices: Sequence[str], place: Place) -> None:
        self.devices = devices
        self.place = place

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs`: see `Executor`."""
        carry_out(jobs, _Teams(self.devices, self.place), display, record)


class _Teams:
    """A pool of teams that share this machine's devices."""

    def __init__(self, devices: Sequence[str], place: Place) -> None:
        self.place = place
        self.free = list(devices)
        self.teams: list[team.Team] = []

    def fits(self, job: Job) -> bool:
        return len(self.free) >= job.devices

    def start(self, job: Job) -> None:
        taken, self.free = self.free[: job.devices], self.free[job.devices :]
        current = team.Team(job, self.place, taken)
        self.teams.append(current)
        current.begin()

    def messages(self, seconds: float) -> Iterator[tuple[Job, Progress | End]]:
        for current, message in team.messages(self.teams, seconds):
            if not isinstance(message, Progress):
                self._let_go(current)
            yield current.job, message

    def kill(self, job: Job) -> None:
        current = next(current for current in self.teams if current.job == job)
        current.kill()
        self._let_go(current)

    def stop(self) -> None:
        team.stop(self.teams)

    def _let_go(self, current: team.Team) -> None:
        self.teams.remove(current)
        self.free += current.devices
