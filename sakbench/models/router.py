"""Mixture-of-Representations routers (MoR, paper 3.3): all tasks' routers of one level in one stacked module."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench import plugins
from sakbench.errors import unknown
from sakbench.models.processes import standard_normal

Noise = Literal["position", "global"]
LEAST_NOISE = 1e-2


class Routers(nn.Module):
    """One router per task (Eq. 4): Linear(d, d/2), LayerNorm, GELU, Linear(d/2, 2(N+1)), mean over the patches.

    The first N+1 outputs are the gates' logits, the last N+1 give the standard deviation of their noise.
    Noisy gates are for training. `noise="position"` draws anew at every patch, as the authors' code does, although
    the gates of evaluation are global; `noise="global"` draws once per image, as the paper says.
    """

    def __init__(self, tasks: int, experts: int, dim: int, noise: Noise = "position"):
        super().__init__()
        hidden = dim // 2
        self.noise = noise
        self.hidden_weight = nn.Parameter(torch.empty(tasks, hidden, dim))
        self.hidden_bias = nn.Parameter(torch.empty(tasks, hidden))
        self.norm_weight = nn.Parameter(torch.empty(tasks, hidden))
        self.norm_bias = nn.Parameter(torch.empty(tasks, hidden))
        self.gate_weight = nn.Parameter(torch.empty(tasks, 2 * experts, hidden))
        self.gate_bias = nn.Parameter(torch.empty(tasks, 2 * experts))

    def forward(self, tokens: Tensor, *, noisy: bool) -> Tensor:
        """The stem's patch tokens (B, n, d) to gates (B, T, N+1), or (B, n, T, N+1) with noise per position."""
        logits, raw = self._pooled(tokens)
        if not noisy:
            return logits.softmax(dim=-1)
        spread = F.softplus(raw) + LEAST_NOISE
        if self.noise == "position":
            batch, patches, _ = tokens.shape
            noise = standard_normal(batch, patches, *logits.shape[1:], like=logits)
            return (logits[:, None] + noise * spread[:, None]).softmax(dim=-1)
        return (logits + standard_normal(*logits.shape, like=logits) * spread).softmax(dim=-1)

    def _pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and raw noise parameters, each (B, T, N+1). The mean is taken before the last linear: the same."""
        tasks, hidden, _ = self.hidden_weight.shape
        features = F.linear(tokens, self.hidden_weight.flatten(0, 1), self.hidden_bias.flatten())
        normed = F.layer_norm(features.unflatten(-1, (tasks, hidden)), (hidden,), eps=1e-5)
        pooled = F.gelu(torch.addcmul(self.norm_bias, normed, self.norm_weight)).mean(dim=1)
        logits, raw = (torch.einsum("bth,toh->bto", pooled, self.gate_weight) + self.gate_bias).chunk(2, dim=-1)
        return logits, raw


# Of (tasks, experts, dim, noise) a module that is called as `Routers` is.
Make = Callable[[int, int, int, Noise], nn.Module]

ROUTERS: dict[str, Make] = {"mor": Routers}


def register(name: str, make: Make) -> None:
    """Add routers of one's own under a name: `make(tasks, experts, dim, noise)` gives those of one level.

    Raises UserError for a name of the package's own.
    """
    plugins.claim("router", name, ROUTERS)
    ROUTERS[name] = make


def make(name: str, tasks: int, experts: int, dim: int, noise: Noise) -> nn.Module:
    """The routers of that name for one level. Raises UserError for an unknown one."""
    plugins.load()
    if name not in ROUTERS:
        raise unknown("router", name, ROUTERS)
    return ROUTERS[name](tasks, experts, dim, noise)


def fuse(experts: Tensor, gates: Tensor) -> Tensor:
    """The gate-weighted sum of experts (N+1, B, n, d) for every task: (T, B, n, d)."""
    weights = "bnte" if gates.dim() == 4 else "bte"
    return torch.einsum(f"{weights},ebnd->tbnd", gates, experts)
