"""Decoders: from each task's four maps to its logits. A student takes one by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from sakbench import plugins
from sakbench.errors import unknown
from sakbench.models.head import Head
from sakbench.models.linear_depth import LinearDepth
from sakbench.models.mlore import MLoRE


class Decoder(Protocol):
    """What a student calls its decoder with."""

    def __call__(self, maps: Mapping[str, Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Four maps (B, C_level, h, w) per task to each task's logits (B, c, H, W) at `output_size`."""


class Heads(nn.ModuleDict):
    """A head of its own for every task, in order: the paper's simple decoder (B.1)."""

    def __init__(self, dims: Sequence[int], tasks: Mapping[str, int]):
        super().__init__({task: Head(dims, channels) for task, channels in tasks.items()})

    def forward(self, maps: Mapping[str, Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Four maps (B, C_level, h, w) per task to each task's logits (B, c, H, W) at `output_size`."""
        return {task: head(maps[task], output_size) for task, head in self.items()}


Make = Callable[[Sequence[int], Mapping[str, int]], nn.Module]

DECODERS: dict[str, Make] = {
    "simple": Heads,
    "mlore": MLoRE,
    "lin1": partial(LinearDepth, levels=1),
    "lin4": partial(LinearDepth, levels=4),
}


def register(name: str, make: Make) -> None:
    """Add a decoder under a name: `make` gives a module that is called as `Decoder` says.

    Raises UserError for a name of the package's own.
    """
    plugins.claim("decoder", name, DECODERS)
    DECODERS[name] = make


def make(name: str, dims: Sequence[int], tasks: Mapping[str, int]) -> nn.Module:
    """The decoder of that name, for four levels of `dims` channels and tasks with so many output channels.

    Without tasks (stage 1) it has no parameters. Raises UserError for an unknown name.
    """
    plugins.load()
    if name not in DECODERS:
        raise unknown("decoder", name, DECODERS)
    return DECODERS[name](dims, tasks) if tasks else Heads(dims, tasks)
