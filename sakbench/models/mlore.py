"""The MLoRE decoder (Yang et al., Multi-Task Dense Prediction via Mixture of Low-Rank Experts, CVPR 2024).

Each level is projected to C channels, for every task, and passes two blocks. In a block, task t's features x become

    z = A_t x                                                   1x1 convolution of its own
    y = BN_t(sum_i g_ti E_i z) + m_t T_t z + G sg(z)            E_i, T_t low-rank, G a plain 3x3 convolution
    x' = B_t GELU(BN'_t y)                                      1x1 convolution of its own

E_i (15 experts of growing rank) and the generic path G serve all tasks; T_t is the task's own. A low-rank convolution
is a 3x3 to its rank and a 1x1 back, with nothing between them, so that all paths together are one 3x3 convolution,
another for each image. The router gives g_t, of which the `active` largest count, and the scale m_t. sg stops the
gradient: the generic path does not train what is before it.

The levels of a task are then summed with weights that a small network gives per position (softmax over the levels),
enlarged to 1/4 of the image and decoded by Conv 3x3, BatchNorm, GELU, Conv 1x1.

Like the authors' code, with these differences: experts are stacked and shared work is done for all tasks at once (the
same function); the router's positional weights are of a fixed grid, interpolated to the map's (theirs fit one image
size); levels are un-normalised (their last one passes the backbone's final norm); the loss that balances the experts'
load (weight 0.0001 to 0.0005) is not part of a decoder and is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench.models.batchnorm import BatchNorm
from sakbench.models.head import ConvHead
from sakbench.models.interpolation import bilinear
from sakbench.models.processes import standard_normal

BLOCKS = 2  # per level
POSITIONS = (32, 32)  # where a router has weights: the patches of an image of 512 pixels


@dataclass(frozen=True)
class Settings:
    """The size of a decoder: its width C, the experts' ranks, the rank of a task's own path, how many experts count.

    `renormalised` gates sum to one over the active experts; otherwise they are what softmax over all gave them.
    """

    dim: int
    ranks: tuple[int, ...]
    task_rank: int
    active: int = 9
    renormalised: bool = False


# By the backbone's width: what the authors configure for PASCAL-Context
PASCAL = {
    384: Settings(192, tuple(range(8, 65, 4)), 32),
    768: Settings(640, tuple(range(16, 129, 8)), 64),
    1024: Settings(452, tuple(range(16, 129, 8)), 72),
}
NYUD_LARGE = Settings(768, tuple(range(16, 241, 16)), 16, renormalised=True)


def settings_for(width: int) -> Settings:
    """The authors' settings for a backbone of that width; for other widths those of ViT-S in proportion."""
    dim = width // 2
    return PASCAL.get(width) or Settings(dim, tuple(max(1, dim * step // 48) for step in range(2, 17)), dim // 6)


class MLoRE(nn.Module):
    """The decoder for levels of `dims` channels and tasks with so many output channels; `settings` size it."""

    def __init__(self, dims: Sequence[int], tasks: Mapping[str, int], settings: Settings | None = None):
        super().__init__()
        settings = settings or settings_for(dims[-1])
        self.projections = nn.ModuleList(nn.Conv2d(width, settings.dim, kernel_size=1) for width in dims)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(tuple(tasks), settings) for _ in range(BLOCKS))) for _ in dims
        )
        self.fusions = nn.ModuleDict({task: Fusion(settings.dim, len(dims)) for task in tasks})
        self.heads = nn.ModuleDict({task: MapHead(settings.dim, channels) for task, channels in tasks.items()})

    def forward(self, maps: Mapping[str, Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Four maps (B, C_level, h, w) per task to each task's logits (B, c, H, W) at `output_size`."""
        levels = []
        for index, (project, blocks) in enumerate(zip(self.projections, self.blocks, strict=True)):
            stacked = torch.stack([maps[task][index] for task in self.heads])
            levels.append(blocks(project(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])))
        return {
            task: head(self.fusions[task]([level[index] for level in levels]), output_size)
            for index, (task, head) in enumerate(self.heads.items())
        }


class Block(nn.Module):
    """One MLoRE module: the experts and the generic path of all tasks, and each task's own parts."""

    def __init__(self, tasks: Sequence[str], settings: Settings):
        super().__init__()
        self.experts = LowRankExperts(settings.dim, settings.ranks)
        self.generic = nn.Conv2d(settings.dim, settings.dim, kernel_size=3, padding=1)
        self.tasks = nn.ModuleDict({task: TaskPart(settings) for task in tasks})

    def forward(self, features: Tensor) -> Tensor:
        """All tasks' features (T, B, C, h, w) to the same shape."""
        parts: list[Any] = list(self.tasks.values())
        entered = [part.entry(x) for part, x in zip(parts, features, strict=True)]
        gates, scales = zip(*(part.router(z) for part, z in zip(parts, entered, strict=True)), strict=True)
        together = torch.cat(entered)
        experts = self.experts(together, torch.cat(gates)).chunk(len(parts))
        generic = self.generic(together.detach()).chunk(len(parts))
        of_tasks = zip(parts, entered, scales, experts, generic, strict=True)
        return torch.stack([part(*paths) for part, *paths in of_tasks])


class TaskPart(nn.Module):
    """What a block has for one task alone: its entry and exit, its router, its low-rank path, its norms."""

    def __init__(self, settings: Settings):
        super().__init__()
        dim = settings.dim
        self.entry = nn.Conv2d(dim, dim, kernel_size=1)
        self.router = Router(settings)
        self.path = LowRankExperts(dim, (settings.task_rank,))
        self.experts_norm = BatchNorm(dim)
        self.norm = BatchNorm(dim)
        self.exit = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, z: Tensor, scale: Tensor, experts: Tensor, generic: Tensor) -> Tensor:
        """The entry's output z and what experts and generic path made of it, each (B, C, h, w); scale (B, 1)."""
        return self.exit(F.gelu(self.norm(self.experts_norm(experts) + self.path(z, scale) + generic)))


class LowRankExperts(nn.Module):
    """Low-rank convolutions (3x3 to the rank, 1x1 back, both with bias), stacked, and their weighted sum.

    Expert i has `ranks[i]` consecutive channels between the two. The weights act there, where channels are few.
    """

    def __init__(self, dim: int, ranks: Sequence[int]):
        super().__init__()
        self.ranks = tuple(ranks)
        self.down = nn.Conv2d(dim, sum(ranks), kernel_size=3, padding=1)
        self.up = nn.Conv2d(sum(ranks), dim, kernel_size=1, bias=False)
        self.up_bias = nn.Parameter(torch.zeros(len(ranks), dim))
        nn.init.zeros_(self.down.get_parameter("bias"))
        for weight, rank in zip(self.up.weight.split(list(ranks), dim=1), ranks, strict=True):
            nn.init.uniform_(weight, -(rank**-0.5), rank**-0.5)  # as in a convolution of its own

    def forward(self, maps: Tensor, weights: Tensor) -> Tensor:
        """Maps (B, C, h, w) and the experts' weights (B, E) to the weighted sum of their outputs (B, C, h, w)."""
        shares = zip(weights.split(1, dim=1), self.ranks, strict=True)
        channels = torch.cat([weight.expand(-1, rank) for weight, rank in shares], dim=1)
        return self.up(self.down(maps) * channels[:, :, None, None]) + (weights @ self.up_bias)[:, :, None, None]


class Router(nn.Module):
    """From a task's features to its gates and the scale of its own path.

    What is there anywhere (an MLP of each position, averaged) beside what is where (a learned weighting of the
    positions), and a linear of both. Gates are noisy in training; the router learns how much.
    """

    def __init__(self, settings: Settings):
        super().__init__()
        dim, quarter, self.experts = settings.dim, settings.dim // 4, len(settings.ranks)
        self.active, self.renormalised = settings.active, settings.renormalised
        self.hidden = nn.Linear(dim, quarter)
        self.hidden_norm = nn.LayerNorm(quarter)
        self.anywhere = nn.Linear(quarter, quarter)
        self.positions = nn.Parameter(torch.empty(1, 1, *POSITIONS))
        self.position_norm = nn.LayerNorm(dim)
        self.somewhere = nn.Linear(dim, quarter)
        self.gate = nn.Linear(2 * quarter, 2 * self.experts + 1)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, h, w) to gates (B, E), no more than `active` of them above zero, and a scale (B, 1)."""
        tokens = maps.flatten(2).transpose(1, 2)
        anywhere = self.anywhere(F.gelu(self.hidden_norm(self.hidden(tokens))).mean(dim=1))
        weights = bilinear(self.positions, (maps.shape[2], maps.shape[3])).flatten(1)
        somewhere = self.somewhere(F.gelu(self.position_norm(weights @ tokens).squeeze(1)))
        parts = self.gate(torch.cat([anywhere, somewhere], dim=1))
        logits, spread, scale = parts.split([self.experts, self.experts, 1], dim=1)
        if self.training:
            logits = logits + standard_normal(*logits.shape, like=logits) * spread
        return self._sparse(logits.softmax(dim=1)), scale

    def _sparse(self, gates: Tensor) -> Tensor:
        """Only the largest gates (B, E)."""
        kept = gates * torch.zeros_like(gates).scatter(1, gates.topk(self.active, dim=1).indices, 1.0)
        return kept / kept.sum(dim=1, keepdim=True) if self.renormalised else kept


class Fusion(nn.Module):
    """A task's levels to one map: their sum, weighted per position by softmax over the levels."""

    def __init__(self, dim: int, levels: int):
        super().__init__()
        self.reduce = nn.Conv2d(levels * dim, dim, kernel_size=1)
        self.norm = BatchNorm(dim)
        self.weigh = nn.Conv2d(dim, levels, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, h_level, w_level) to one (B, C, h, w) on the finest of their grids."""
        height, width = max(level.shape[2] for level in maps), max(level.shape[3] for level in maps)
        levels = torch.stack([bilinear(level, (height, width)) for level in maps], dim=1)
        weights = self.weigh(F.gelu(self.norm(self.reduce(levels.flatten(1, 2))))).softmax(dim=1)
        return (levels * weights[:, :, None]).sum(dim=1)


class MapHead(ConvHead):
    """From one map (B, C, h, w) to a task's logits."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.add_convolutions(dim, channels)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)

    def forward(self, level: Tensor, output_size: tuple[int, int]) -> Tensor:
        """The map to logits (B, channels, H, W) at `output_size`."""
        return self.decode([level.permute(0, 2, 3, 1)], output_size)
