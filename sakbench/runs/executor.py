"""What every executor of jobs has to do with: who shows what happens, and who keeps how jobs begin and end."""

from enum import Enum
from typing import Any, Protocol

from sakbench.runs.jobs import Job
from sakbench.training.progress import Progress


class Display(Protocol):
    """Shows what happens. The command line brings one for terminals and one for pipes."""

    def started(self, job: Job) -> None:
        """A job has begun."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A job has come so far."""

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """A job is done; `result` is what its process sent."""

    def elsewhere(self, job: Job, holder: str) -> None:
        """Another command is at a job, begun here or not; told once of each."""

    def done_elsewhere(self, job: Job) -> None:
        """Another command has done a job."""

    def died(self, job: Job, reason: str) -> None:
        """A job's process died; it goes on from its checkpoint in another one."""

    def stopping(self) -> None:
        """The jobs under way are told to stop, which takes a step of each."""


class Claim(Enum):
    """What becomes of a job that a command asks for while no other command is at it."""

    OURS = "ours"  # to be done now
    DONE = "done"  # by another command: its result is in the store and its weights are in their place


Taken = Claim | str  # a string names the command that is at it


class Record(Protocol):
    """Keeps how jobs begin and end, and which of several commands does which.

    Whoever has taken a job gives it back with `finished`, `failed` or `interrupted`. All is called by one thread, and
    not at all while there is nothing to tell, be it for hours: a claim must stay alive by itself.
    """

    def take(self, job: Job) -> Taken:
        """Claim it, if it is neither done nor another command's."""

    def lost(self) -> set[str]:
        """The ids of the jobs that were this command's and that another has taken over: nothing is stored of them.

        A job that is taken again is no longer one of them.
        """

    def died(self, job: Job, reason: str) -> None:
        """Its process died; it is about to be started again."""

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """It is done; `result` is what its process sent."""

    def failed(self, job: Job, reason: str) -> None:
        """It will not end."""

    def interrupted(self, job: Job) -> None:
        """It was stopped; what it had done is in its checkpoint."""


class Executor(Protocol):
    """Does jobs somewhere."""

    def run(self, jobs: list[Job], display: Display, record: Record) -> None:
        """Do all `jobs` that no other command does, none before those it comes after; returns when all are done.

        Raises `UserError` when a job fails. Then, as on Ctrl-C, the others are told to stop and keep their checkpoints.
        """
