"""Counting the multiply-accumulate operations of a model, by running it on the meta device."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sakbench.accounting.formulas import formula
from sakbench.accounting.operators import Multiplications


@dataclass(frozen=True)
class Macs:
    """How many multiplications a model does, three answers to the question.

    `paper`: the paper's convention: linears and convolutions, and 4 per element of LayerNorm and BatchNorm; neither
    attention's two matrix products nor interpolation nor products of whole tensors.
    `full`: all of these too, of the model as its authors write it (see `Multiplications`).
    `executed`: all that this package's code runs for it: heads convolve before they interpolate, adapters fold in their
    scale, routers average before their last linear, SAM projects no padding and has its relative positions in longer
    queries and keys.
    """

    paper: int
    full: int
    executed: int


def count(model: nn.Module, run: Callable[[], Any], *, unseen: Container[nn.Module] = ()) -> Macs:
    """The multiplications of `run()`, which calls `model`, on whatever device its tensors are.

    Layers count by formula (`sakbench.accounting.formulas`), each where the model has it as a module; for the full
    conventions torch's operators are counted as they run, so that nothing is missed that no module stands for.
    Modules that are `unseen` do not count under the paper's convention.
    """
    paper = correction = 0
    began: list[int] = []
    operators = Multiplications()

    def before(module: nn.Module, args: Any) -> None:
        began.append(operators.total)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal paper, correction
        executed = operators.total - began.pop()
        counted = formula(module)
        assert counted is not None
        cost = counted(module, args, output)
        paper += cost.paper
        correction += 0 if cost.full is None else cost.full - executed

    handles = [
        handle
        for layer in _layers(model, unseen)
        for handle in (layer.register_forward_pre_hook(before), layer.register_forward_hook(after))
    ]
    try:
        with torch.no_grad(), operators:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return Macs(paper, operators.total + correction, operators.total)


def _layers(module: nn.Module, unseen: Container[nn.Module]) -> list[nn.Module]:
    """The outermost modules that have a formula."""
    if module in unseen:
        return []
    if formula(module):
        return [module]
    return [layer for child in module.children() for layer in _layers(child, unseen)]
