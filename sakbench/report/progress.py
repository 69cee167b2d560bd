"""Progress of the jobs of a command: bars with the time left on a terminal, a line per job elsewhere."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from sakbench.runs.jobs import Job
from sakbench.runs.spec import RunSpec
from sakbench.training.progress import Progress

if TYPE_CHECKING:
    from sakbench.training.pretrain import State

_LINE_SECONDS = 60.0
_WAITING = 0.02  # a smaller share of the time is not worth a word


class Display(AbstractContextManager["Display"]):
    """Follows jobs; one bar each and one for the whole. Lines instead where nobody watches (a pipe, CI)."""

    def __init__(self, console: Console, title: str, jobs: list[Job]) -> None:
        self.console = console
        # Runs of several seeds have the same label.
        seeds = {job.id: job.work.seed for job in jobs if isinstance(job.work, RunSpec)}
        several = len(set(seeds.values())) > 1
        self.labels = {
            job.id: f"{job.label}, seed {seeds[job.id]}" if several and job.id in seeds else job.label for job in jobs
        }
        self.width = max(map(len, self.labels.values()), default=0)
        self.jobs = len(jobs)
        self.began: dict[str, float] = {}
        self.spent: dict[str, float] = {}  # of each job's cost
        self.finished_jobs = 0
        self.others = set[str]()  # jobs that other commands are at
        self.bars: dict[str, TaskID] = {}
        self.progress = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeRemainingColumn(compact=True),
            TextColumn("left", style="progress.remaining"),
            # last, since on a narrow terminal it is what can be missed
            TextColumn(
                "{task.fields[losses]}", style="dim", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            expand=True,
            console=console,
            disable=not (console.is_terminal and jobs),
            # The mean speed since the start: jobs differ, and a short memory makes the time left jump.
            speed_estimate_period=3600,
        )
        total = sum(job.cost for job in jobs)
        self.whole = self.progress.add_task(f"[bold]{title}", total=total, count=f"0/{self.jobs}", losses="")

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, job: Job) -> None:
        """Show a bar for the job."""
        self.others.discard(job.id)
        self.began[job.id] = time.monotonic()
        self.bars[job.id] = self.progress.add_task(self.labels[job.id], total=None, count="", losses="")

    def progressed(self, job: Job, progress: Progress) -> None:
        """Move the job's bar and the whole's."""
        step, steps = progress.step, progress.steps
        terms = [f"{name} {value:.3f}" for name, value in progress.losses.items()]
        if progress.waited >= _WAITING:
            terms.insert(0, f"waits {progress.waited:.0%} for data")
        losses = "  ".join(terms)
        self.progress.update(self.bars[job.id], completed=step, total=steps, count=f"{step}/{steps}", losses=losses)
        self._advance(job, step / steps)

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """Replace the job's bar by a line with its numbers."""
        self.finished_jobs += 1
        self.progress.remove_task(self.bars.pop(job.id))
        self._advance(job, 1.0)
        numbers = "  ".join(f"{m['task']} {m['value']:.2f}" for m in result.get("metrics", []))
        self._line(job, numbers)

    def elsewhere(self, job: Job, holder: str) -> None:
        """Say who is at the job; its bar, if it was begun here, goes."""
        if job.id in self.bars:
            self.progress.remove_task(self.bars.pop(job.id))
        self.others.add(job.id)
        self._advance(job, 0.0)
        self._line(job, f"{holder} is at it")

    def done_elsewhere(self, job: Job) -> None:
        """Say that the job is done."""
        self.finished_jobs += 1
        self.others.discard(job.id)
        self._advance(job, 1.0)
        self._line(job, "another command has done it")

    def died(self, job: Job, reason: str) -> None:
        """Say that the job goes on; its bar stays."""
        self._line(job, f"its process died ({reason}); it goes on from its checkpoint")

    def stopping(self) -> None:
        """Say that the jobs are about to stop."""
        self.console.print("stopping: every run ends its step and saves; Ctrl-C again stops at once", highlight=False)

    def _advance(self, job: Job, share: float) -> None:
        self.spent[job.id] = share * job.cost
        done = f"{self.finished_jobs}/{self.jobs}"
        others = f"{len(self.others)} with other commands" if self.others else ""
        self.progress.update(self.whole, completed=sum(self.spent.values()), count=done, losses=others)

    def _line(self, job: Job, text: str) -> None:
        """What there is to say of a job, after the time since it was begun here, if it was."""
        spent = int(time.monotonic() - self.began[job.id]) if job.id in self.began else None
        clock = "" if spent is None else f"{spent // 60}:{spent % 60:02d}"
        self.console.print(f"{self.labels[job.id]:<{self.width}}  {clock:>6}  {text}", highlight=False)


class PretrainingLines:
    """A line per backbone and minute: which objective, how far, its losses."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.shown = 0.0

    def __call__(self, state: "State") -> None:
        """What `pretrain` tells of its state."""
        now, last = time.monotonic(), state.progress.step == state.progress.steps
        if not last and now - self.shown < _LINE_SECONDS:
            return
        self.shown = now
        losses = "  ".join(f"{name} {value:.3f}" for name, value in state.progress.losses.items())
        steps = f"{state.progress.step}/{state.progress.steps}"
        self.console.print(f"{state.name}  {state.objective}  {steps}  {losses}", highlight=False)


class Rendering:
    """Shows scenes being rendered: a bar on a terminal, nothing elsewhere but a line when a split is whole."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, split: str, done: int, count: int) -> None:
        """Scenes of `split` rendered so far."""
        if self.console.is_terminal:
            end = "\n" if done == count else "\r"
            self.console.print(f"rendering scenes · {split}  {done}/{count}", end=end, highlight=False)
        elif done == count:
            self.console.print(f"rendered {count} scenes · {split}", highlight=False)
