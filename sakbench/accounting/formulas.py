"""What a module costs as its authors write it, which need not be how it is computed here."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from sakbench.accounting.operators import BILINEAR, NORM
from sakbench.backbones.sam import FoldedAttention
from sakbench.models.adapter import Adapters, OutputNorms
from sakbench.models.head import ConvHead, Head
from sakbench.models.router import Routers


class Cost(NamedTuple):
    """Multiplications under the paper's convention, and all of them (None: as its operators count)."""

    paper: int
    full: int | None = None


def linear(module: nn.Linear, args: Sequence[Any], output: Tensor) -> Cost:
    """One product per weight and position."""
    return Cost(module.in_features * output.numel())


def convolution(module: nn.Conv2d, args: Sequence[Any], output: Tensor) -> Cost:
    """One product per weight and position."""
    return Cost(module.weight[0].numel() * output.numel())


def sam_attention(module: FoldedAttention, args: Sequence[Any], output: Tensor) -> Cost:
    """Projections of all tokens, padding included; attention's two products and those with the relative positions.

    For all of them queries and keys are scaled too, as torch writes attention where it has no kernel for it.
    """
    maps: Tensor = args[0]
    batch, *map_size, dim = maps.shape
    height, width = module.window_size((map_size[0], map_size[1]))
    tokens = batch * -(-map_size[0] // height) * -(-map_size[1] // width) * height * width
    paper = tokens * (module.qkv.weight.numel() + module.proj.weight.numel())
    return Cost(paper, paper + tokens * dim * (2 * height * width + height + width + 2))


def norm(module: nn.Module, args: Sequence[Any], output: Tensor) -> Cost:
    """4 per element."""
    return Cost(NORM * output.numel())


def adapters(module: Adapters, args: Sequence[Any], output: Tensor) -> Cost:
    """Two linears per teacher and token; the scale multiplies every element."""
    linears = 2 * module.down_weight.shape[2] * output.numel()
    return Cost(linears, linears + output.numel())


def output_norms(module: OutputNorms, args: Sequence[Any], output: Tensor) -> Cost:
    """A LayerNorm per teacher."""
    return Cost(NORM * output.numel(), NORM * output.numel())


def routers(module: Routers, args: Sequence[Any], output: Tensor) -> Cost:
    """Per task and patch token two linears with a LayerNorm between them; the mean comes after both."""
    tokens: Tensor = args[0]
    tasks, hidden, dim = module.hidden_weight.shape
    cost = tasks * tokens.shape[0] * tokens.shape[1] * hidden * (dim + NORM + module.gate_weight.shape[1])
    return Cost(cost, cost)


def head(module: Head, args: Sequence[Any], output: Tensor) -> Cost:
    """Linears at the levels' own resolution, everything else after the interpolation."""
    maps: Sequence[Tensor] = args[0]
    weights = [layer.get_parameter("weight").numel() for layer in module.linears]
    linears = sum(level[:, 0].numel() * weight for level, weight in zip(maps, weights, strict=True))
    convolutions = conv_head(module, args, output)
    assert convolutions.full is not None
    return Cost(linears + convolutions.paper, linears + convolutions.full)


def conv_head(module: ConvHead, args: Sequence[Any], output: Tensor) -> Cost:
    """Interpolation to a quarter, Conv 3x3, BatchNorm, Conv 1x1, and interpolation of the logits."""
    dim, (height, width) = module.conv.out_channels, args[1]
    positions = output.shape[0] * (height // 4) * (width // 4)
    paper = positions * (module.conv.weight.numel() + NORM * dim + module.classifier.weight.numel())
    return Cost(paper, paper + BILINEAR * (positions * dim + output.numel()))


FORMULAS: list[tuple[type[nn.Module], Callable[..., Cost]]] = [
    (Head, head),
    (ConvHead, conv_head),
    (Adapters, adapters),
    (OutputNorms, output_norms),
    (Routers, routers),
    (FoldedAttention, sam_attention),
    (nn.Linear, linear),
    (nn.Conv2d, convolution),
    (nn.LayerNorm, norm),
    (nn.BatchNorm2d, norm),
]


def formula(module: nn.Module) -> Callable[..., Cost] | None:
    """The formula of a module, if it has one: then nothing inside it counts by itself."""
    return next((count for kind, count in FORMULAS if isinstance(module, kind)), None)
