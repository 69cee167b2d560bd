"""One step of optimisation: gradients of a batch, clipped, and AdamW or SGD."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sakbench.models.processes import total, world
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.precision import computing_in
from sakbench.training.recipe import Recipe


class Optimization:
    """An objective and its optimiser on their device; `training.loop.fit` says what they expect of each other.

    The optimiser's state may be restored before `begin`, which readies the objective for its steps.
    """

    def __init__(
        self,
        objective: nn.Module,
        recipe: Recipe,
        *,
        on_cpu: bool = True,
        prepare: Callable[[Any], Any] = lambda batch: batch,
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        self.prepare = prepare
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
        self.device = self.accelerator.device
        self.computing = computing_in(recipe.precision, self.device.type)
        objective.to(self.device)
        self.optimizer = _optimizer(_parameter_groups(objective), recipe)
        self.model: nn.Module = objective
        self.call: Callable[..., dict[str, Tensor]] = objective

    def begin(self) -> None:
        """Share the objective with the other processes; alone, compile it where that can be done."""
        self.model, _ = self.accelerator.prepare(self.objective, self.optimizer)
        self.model.train()
        # Several processes talk in the middle of a step, in BatchNorm, which compilers do not differentiate.
        self.call = Compiled(self.model) if compiles(self.device) and world() == 1 else self.model

    def step(self, step: int, parts: Sequence[Any]) -> dict[str, Tensor]:
        """Do `step` (0-based) of the recipe with a batch in parts; returns this process's share of its loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr_at(step) * group.get("lr_scale", 1.0)
        losses = self._gradients(parts)
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return losses

    def _gradients(self, parts: Sequence[Any]) -> dict[str, Tensor]:
        """Leave the gradient of the whole batch's loss in the parameters."""
        whole: tuple[dict[str, Tensor], ...] = ()
        if len(parts) > 1 or world() > 1:
            survey: Any = self.objective.survey
            counts = {name: count.to(self.device) for name, count in survey(parts).items()}
            whole = ({name: total(count) for name, count in counts.items()},)
        summed: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            # Gradients travel between the processes once, with the last part.
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(self.model):
                with self.computing:
                    losses = self.call(self.prepare(part), *whole)
                # Gradients are averaged over the processes, but their losses add up.
                self.accelerator.backward(torch.stack(list(losses.values())).sum() * world())
            for name, value in losses.items():
                summed[name] = value.detach() + summed[name] if name in summed else value.detach()
        return summed


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _parameter_groups(objective: nn.Module) -> list[dict[str, Any]]:
    groups: Callable[[], list[dict[str, Any]]] | None = getattr(objective, "parameter_groups", None)
    if groups is not None:
        return groups()
    return [{"params": [p for p in objective.parameters() if p.requires_grad]}]
