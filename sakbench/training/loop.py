"""The one training loop: pre-training, stage 1, stage 2, baselines and probes differ only by their objective."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sakbench.errors import UserError
from sakbench.training import checkpoint
from sakbench.training.recipe import Recipe

Batch = dict[str, Tensor]
_REPORT_SECONDS = 0.5
_CHECKPOINT_SECONDS = float(os.environ.get("SAKBENCH_CHECKPOINT_SECONDS", "20"))


class Interrupted(Exception):
    """The run was asked to stop; its last step is in the checkpoint."""


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows: `step` of `steps` done, and the last step's loss terms."""

    step: int
    steps: int
    losses: dict[str, float]


def fit(
    objective: nn.Module,
    batches: Callable[[int], Iterator[Any]],
    recipe: Recipe,
    *,
    seed: int,
    checkpoints: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Train the parameters of `objective` that require gradients, in place; returns the seconds that it took.

    `objective(batch)` returns named loss terms, whose sum is minimised; it may define `after_step(step)` (an
    exponential moving average, say) and `parameter_groups()` (AdamW groups; an `lr_scale` there multiplies the
    recipe's rate). `batches(start)` yields the batches of steps `start`, `start + 1`, ...; each must be a function of
    its step alone. Every step draws its random numbers from a stream of its own, made from `seed` and the step, so
    a run that goes on from `checkpoints` ends with the same weights as one that was never stopped.

    The seconds include those before an interruption. Raises `UserError` when the loss is not finite, `Interrupted`
    when `stop()` became true.
    """
    # Scale mini is for the CPU: the same sums on every machine, whatever else it has.
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    # Accelerate keeps one precision per process; this way every training has its own.
    half = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    optimizer = torch.optim.AdamW(
        _parameter_groups(objective), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    start, spent = checkpoint.restore(checkpoints, objective, optimizer) if checkpoints else (0, 0.0)
    model, optimizer = accelerator.prepare(objective, optimizer)
    model.train()
    began = reported = saved = time.monotonic()
    finite = torch.ones((), dtype=torch.bool)
    stream = batches(start)
    after_step: Callable[[int], None] | None = getattr(objective, "after_step", None)
    for step in range(start, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step) * group.get("lr_scale", 1.0)
        torch.manual_seed(_stream(seed, step))
        with half:
            losses = model(next(stream))
        total = torch.stack(list(losses.values())).sum()
        finite &= torch.isfinite(total.detach())
        accelerator.backward(total)
        if recipe.clip is not None:
            accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after_step is not None:
            after_step(step)

        done, now = step + 1, time.monotonic()
        if done == recipe.steps or now - reported > _REPORT_SECONDS:
            reported = now
            _require_finite(finite, losses, done)
            if report:
                report(Progress(done, recipe.steps, {k: v.detach().item() for k, v in losses.items()}))
        interrupted = stop()
        if checkpoints and (interrupted or done == recipe.steps or now - saved > _CHECKPOINT_SECONDS):
            saved = now
            _require_finite(finite, losses, done)
            checkpoint.save(checkpoints, done, spent + now - began, objective, optimizer.optimizer)
        if interrupted and done < recipe.steps:
            raise Interrupted
    objective.eval()
    return spent + time.monotonic() - began


def _parameter_groups(objective: nn.Module) -> list[dict[str, Any]]:
    groups: Callable[[], list[dict[str, Any]]] | None = getattr(objective, "parameter_groups", None)
    if groups is not None:
        return groups()
    return [{"params": [p for p in objective.parameters() if p.requires_grad]}]


def _stream(seed: int, step: int) -> int:
    """One seed per (run seed, step); the multiplier keeps neighbouring run seeds' streams apart."""
    return (seed * 1_000_003 + step) % 2**63


def _require_finite(finite: Tensor, losses: dict[str, Tensor], step: int) -> None:
    if not finite.item():
        terms = ", ".join(f"{name} {value.detach().item():.4g}" for name, value in losses.items())
        raise UserError(
            f"the loss is no longer finite at step {step} ({terms}): the run is given up and none of its numbers is"
            " kept; with a lower learning rate or other data it would be another run."
        )
