"""What a module must know of the processes that share a batch: process r of W holds its r-th W-th, in order."""

from typing import Any

import torch
from torch import Tensor, distributed


def world() -> int:
    """How many processes train together; 1 where nothing is distributed."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def standard_normal(batch: int, *shape: int, like: Tensor) -> Tensor:
    """This process's share (batch, *shape) of the noise of the whole batch, of the kind and device of `like`.

    All processes draw the whole from the same stream, so that an image's noise does not depend on their number.
    """
    noise = torch.randn(batch * world(), *shape, device=like.device, dtype=like.dtype)
    return noise[rank() * batch : (rank() + 1) * batch]


def uniform_choice(batch: int, among: int, *, device: torch.device) -> Tensor:
    """This process's share (batch,) of the whole batch's draws of a number below `among`, int64."""
    drawn = torch.randint(among, (batch * world(),), device=device)
    return drawn[rank() * batch : (rank() + 1) * batch]


def total(value: Tensor) -> Tensor:
    """The sum over all processes, without gradients; the value itself where there is but one."""
    if world() == 1:
        return value
    value = value.detach().clone()
    distributed.all_reduce(value)
    return value


def gathered(value: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, process by process; each may have another number of them."""
    if world() == 1:
        return value
    count = torch.tensor([len(value)], device=value.device)
    counts = [torch.zeros_like(count) for _ in range(world())]
    distributed.all_gather(counts, count)
    most = max(int(each) for each in counts)
    padded = torch.cat([value, value.new_zeros(most - len(value), *value.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(each)] for part, each in zip(parts, counts, strict=True)])


def in_order(mine: Tensor) -> Tensor:
    """The images' values (n, ...) of all processes, of which the r-th has had every W-th image from the r-th on."""
    if world() == 1:
        return mine
    device = "cuda" if distributed.get_backend() == "nccl" else mine.device
    ranks = gathered(torch.full((len(mine),), rank(), device=device))
    places = torch.cat([torch.arange(int((ranks == r).sum())) * world() + r for r in range(world())])
    return gathered(mine.to(device)).cpu()[places.argsort()]


def summed(value: Tensor) -> Tensor:
    """The sum over all processes; gradients flow back into every process's value."""
    return value if world() == 1 else _Sum.apply(value)


class _Sum(torch.autograd.Function):
    """Every process's loss depends on every value, so that gradients are summed as the values were."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)
