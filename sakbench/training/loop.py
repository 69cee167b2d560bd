"""The one training loop: pre-training, stage 1, stage 2, baselines and probes differ only by their objective."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sakbench.errors import UserError
from sakbench.models.processes import rank, total, world
from sakbench.training import checkpoint
from sakbench.training.optimization import Optimization
from sakbench.training.progress import Progress
from sakbench.training.recipe import Recipe

_REPORT_SECONDS = 0.5
_AGREE_SECONDS = 2.0
_CHECKPOINT_SECONDS = float(os.environ.get("SAKBENCH_CHECKPOINT_SECONDS", "20"))


class Interrupted(Exception):
    """The run was asked to stop; its last step is in the checkpoint."""


def fit(
    objective: nn.Module,
    batches: Callable[[int], Generator[Any]],
    recipe: Recipe,
    *,
    seed: int,
    parts: int = 1,
    on_cpu: bool = True,
    prepare: Callable[[Any], Any] = lambda batch: batch,
    checkpoints: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Train the parameters of `objective` that require gradients, in place; returns the seconds that it took.

    `objective(batch)` returns named loss terms, whose sum is minimised; it may define `after_step(step)` (an
    exponential moving average, say) and `parameter_groups()` (AdamW groups; an `lr_scale` there multiplies the
    recipe's rate). `batches(start)` yields the batches of steps `start`, `start + 1`, ...; each must be a function of
    its step alone. Every step draws its random numbers from a stream of its own, made from `seed` and the step, so
    a run that goes on from `checkpoints` ends with the same weights as one that was never stopped (to rounding, where
    steps are compiled: the first step of a process is not).

    A step's batch may come in `parts`, whose gradients are accumulated, and be shared by the processes of a
    `torch.distributed` group; then `batches` yields this process's parts one after the other, and the objective, which
    must have `survey(parts)`, gets its sum over all parts and processes as a second argument, so that the parts' terms
    add up to the batch's. `prepare` brings a part to the device, as late as possible. On a GPU the objective is
    compiled, if that can be done there: see `Compiled`.

    The seconds include those before an interruption. Raises `UserError` when the loss is not finite, `Interrupted`
    when `stop()` became true.
    """
    optimization = Optimization(objective, recipe, on_cpu=on_cpu, prepare=prepare)
    start, spent = checkpoint.restore(checkpoints, objective, optimization.optimizer) if checkpoints else (0, 0.0)
    optimization.begin()
    began = time.monotonic()
    finite = torch.ones((), dtype=torch.bool, device=optimization.device)
    pace = _Pace(optimization.device)
    after_step: Callable[[int], None] | None = getattr(objective, "after_step", None)
    with closing(batches(start)) as stream:  # whoever reads images for it is let go
        for step in range(start, recipe.steps):
            torch.manual_seed(_stream(seed, step))
            asked = time.monotonic()
            batch = [next(stream) for _ in range(parts)]
            pace.waited += time.monotonic() - asked
            losses = optimization.step(step, batch)
            finite &= torch.isfinite(torch.stack(list(losses.values())).sum())
            if after_step is not None:
                after_step(step)

            done = step + 1
            last = done == recipe.steps
            if not pace.is_due(done, last):
                continue
            interrupted = pace.agree(done, stop())
            waited = pace.share_waited()
            reports, saves = pace.reports(last), interrupted or last or pace.saves()
            if reports or saves:
                _require_finite(finite, losses, done)
            if reports:
                shown = {name: total(value).item() for name, value in losses.items()}
                if report:
                    report(Progress(done, recipe.steps, shown, waited))
            if checkpoints and rank() == 0 and saves:
                with pace.saving():
                    seconds = spent + time.monotonic() - began
                    checkpoint.save(checkpoints, done, seconds, objective, optimization.optimizer)
            if interrupted and not last:
                raise Interrupted
    objective.eval()
    return spent + time.monotonic() - began


class _Pace:
    """When to report, to save and to look whether one should stop.

    A process alone looks at every step. Several can only do so together, so they agree on the step of the next time:
    about every two seconds by the first one's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.step = 0
        self.every = 1
        self.looked = self.reported = self.saved = time.monotonic()
        self.waited = 0.0  # seconds for data, since the last report
        self.between_saves = _CHECKPOINT_SECONDS

    def is_due(self, done: int, last: bool) -> bool:
        """Whether to look after `done` steps."""
        if world() == 1 or last or not self.step:
            return True
        return done >= self.step + self.every

    def agree(self, done: int, stop: bool) -> bool:
        """Whether any process wants to stop; all set the same next step."""
        now = time.monotonic()
        if world() == 1:
            return stop
        steps = max(1, done - self.step)
        every = max(1, round(_AGREE_SECONDS * steps / max(now - self.looked, 1e-3))) if rank() == 0 else 0
        wish, self.every = total(torch.tensor([int(stop), min(every, 1000)], device=self.device)).tolist()
        self.step, self.looked = done, now
        return wish > 0

    def reports(self, last: bool) -> bool:
        """Whether it is time to report: with several processes always, since only all can."""
        now = time.monotonic()
        if not (last or world() > 1 or now - self.reported > _REPORT_SECONDS):
            return False
        self.reported, self.waited = now, 0.0
        return True

    def share_waited(self) -> float:
        """Of the time since the last report, the share that was spent waiting for data."""
        return self.waited / max(time.monotonic() - self.reported, 1e-9)

    def saves(self) -> bool:
        """Whether it is time to save: so seldom that it takes 2% of the time at most."""
        return time.monotonic() - self.saved > self.between_saves

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time a saving."""
        began = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.between_saves = max(_CHECKPOINT_SECONDS, 50 * (self.saved - began))


def _stream(seed: int, step: int) -> int:
    """One seed per (run seed, step); the multiplier keeps neighbouring run seeds' streams apart."""
    return (seed * 1_000_003 + step) % 2**63


def _require_finite(finite: Tensor, losses: dict[str, Tensor], step: int) -> None:
    if world() > 1:  # one process's loss reaches all through the gradients
        finite = total((~finite).int()) == 0
    if not finite.item():
        terms = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
        raise UserError(
            f"the loss is no longer finite at step {step} ({terms}): the run is given up and none of its numbers is"
            " kept; with a lower learning rate or other data it would be another run."
        )
