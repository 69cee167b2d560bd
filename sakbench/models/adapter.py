"""Teacher-Specific Adapter Paths (TSAP, paper 3.2): all teachers' adapters beside one block in one stacked module."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench import plugins
from sakbench.errors import unknown

REDUCTION = 4  # d / r, paper B.1


class Adapters(nn.Module):
    """One adapter per teacher (Eq. 3): scale * Linear(GELU(Linear(x))) + x, stacked over the teachers.

    An adapter has 2 * d * d/4 + d/4 + d + 1 parameters.
    """

    def __init__(self, teachers: int, dim: int):
        super().__init__()
        reduced = dim // REDUCTION
        self.down_weight = nn.Parameter(torch.empty(teachers, dim, reduced))
        self.down_bias = nn.Parameter(torch.empty(teachers, 1, reduced))
        self.up_weight = nn.Parameter(torch.empty(teachers, reduced, dim))
        self.up_bias = nn.Parameter(torch.empty(teachers, 1, dim))
        self.scale = nn.Parameter(torch.empty(teachers, 1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, B, n, d) to the same shape, teacher i's through adapter i."""
        flat = tokens.flatten(1, 2)
        hidden = F.gelu(torch.baddbmm(self.down_bias, flat, self.down_weight))
        # the scale is folded into the small matrices instead of multiplying every token
        change = torch.baddbmm(self.scale * self.up_bias, hidden, self.scale * self.up_weight)
        return (flat + change).view_as(tokens)


class OutputNorms(nn.Module):
    """One LayerNorm (eps 1e-5) per teacher, on the paths' output at one level."""

    def __init__(self, teachers: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(teachers, 1, 1, dim))
        self.bias = nn.Parameter(torch.empty(teachers, 1, 1, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, B, n, d) to the same shape."""
        return torch.addcmul(self.bias, F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5), self.weight)


class AdapterPaths(nn.Module):
    """The adapter paths of N teachers along a stem of L blocks (Eq. 2), L + 1 adapters each.

    R_0 = a_0(Z_0), R_l = a_l(R_{l-1} + Z_l); the outputs are R_l at `levels`, each through its norm.
    """

    def __init__(self, teachers: int, dim: int, depth: int, levels: Sequence[int]):
        super().__init__()
        self.teachers, self.levels = teachers, tuple(levels)
        self.adapters = nn.ModuleList(Adapters(teachers, dim) for _ in range(depth + 1))
        self.norms = nn.ModuleList(OutputNorms(teachers, dim) for _ in levels)

    def forward(self, stem: Sequence[Tensor], prefix_tokens: int) -> list[Tensor]:
        """Z_0 to Z_L, each (B, prefix + n, d), to one (N, B, n, d) per level, patch tokens only."""
        path = self.adapters[0](stem[0].expand(self.teachers, -1, -1, -1))
        paths = [path]
        for adapters, tokens in zip(self.adapters[1:], stem[1:], strict=True):
            path = adapters(path + tokens)
            paths.append(path)
        return [norm(paths[level][:, :, prefix_tokens:]) for norm, level in zip(self.norms, self.levels, strict=True)]


# Of (teachers, dim, depth, levels) a module that is called as `AdapterPaths` is.
Make = Callable[[int, int, int, Sequence[int]], nn.Module]

ADAPTERS: dict[str, Make] = {"bottleneck": AdapterPaths}


def register(name: str, make: Make) -> None:
    """Add adapter paths of one's own under a name: `make(teachers, dim, depth, levels)` gives those of all teachers.

    Their parameters are stacked over the teachers if one is to be added later (D.4). Raises UserError for a name of the
    package's own.
    """
    plugins.claim("adapter", name, ADAPTERS)
    ADAPTERS[name] = make


def make(name: str, teachers: int, dim: int, depth: int, levels: Sequence[int]) -> nn.Module:
    """The adapter paths of that name. Raises UserError for an unknown one."""
    plugins.load()
    if name not in ADAPTERS:
        raise unknown("adapter", name, ADAPTERS)
    return ADAPTERS[name](teachers, dim, depth, levels)
