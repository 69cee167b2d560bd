"""Progress of the jobs of a command: bars with the time left on a terminal, a line per job elsewhere."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sakbench.runs.jobs import Job

if TYPE_CHECKING:
    from sakbench.training.pretrain import State

_LINE_SECONDS = 60.0


class Display(AbstractContextManager["Display"]):
    """Follows jobs; one bar each and one for the whole. Lines instead where nobody watches (a pipe, CI)."""

    def __init__(self, console: Console, title: str, jobs: list[Job]) -> None:
        self.console = console
        self.width = max((len(job.label) for job in jobs), default=0)
        self.began: dict[str, float] = {}
        self.count = 0
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}", style="dim"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self.whole = self.progress.add_task(f"[bold]{title}", total=len(jobs), losses="")

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, job: Job) -> None:
        """Show a bar for the job."""
        self.began[job.id] = time.monotonic()
        self.bars[job.id] = self.progress.add_task(job.label, total=None, losses="")

    def progressed(self, job: Job, step: int, steps: int, losses: dict[str, float]) -> None:
        """Move the job's bar."""
        terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.progress.update(self.bars[job.id], completed=step, total=steps, losses=terms)

    def finished(self, job: Job, result: dict[str, Any]) -> None:
        """Replace the job's bar by a line with its numbers."""
        self.count += 1
        self.progress.remove_task(self.bars.pop(job.id))
        self.progress.update(self.whole, completed=self.count)
        numbers = "  ".join(
            f"{m['task']} {m['value']:.2f}" for m in result.get("metrics", []) if m["metric"] != "cosine"
        )
        spent = time.monotonic() - self.began[job.id]
        clock = f"{int(spent) // 60}:{int(spent) % 60:02d}"
        self.console.print(f"{job.label:<{self.width}}  {clock:>6}  {numbers}", highlight=False)


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
