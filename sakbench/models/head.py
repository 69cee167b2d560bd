"""The task head of the paper (B.1): linears, interpolation to a quarter, concatenation, two convolutions."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sakbench.models.autocast import without_autocast
from sakbench.models.batchnorm import BatchNorm
from sakbench.models.interpolation import bilinear, lie_last, shifted_interpolation

_LARGE = 2**24  # bytes


class ConvHead(nn.Module):
    """The convolutions of a head: Conv 3x3, BatchNorm, GELU, Conv 1x1, at a quarter of the image.

    Interpolation commutes with channel mixing, so where it enlarges, the 3x3 convolution's nine taps are applied
    before it, at the low resolution: same function, same parameters, a fraction of the work.
    """

    conv: nn.Conv2d
    norm: BatchNorm
    classifier: nn.Conv2d

    def add_convolutions(self, dim: int, channels: int) -> None:
        """Make the layers; a head with layers before these makes its own first."""
        self.conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.norm = BatchNorm(dim)
        self.classifier = nn.Conv2d(dim, channels, kernel_size=1)

    def decode(self, levels: list[Tensor], output_size: tuple[int, int]) -> Tensor:
        """Levels (B, h, w, c_level), their channels C together, to logits (B, channels, H, W) at `output_size`."""
        quarter = (output_size[0] // 4, output_size[1] // 4)
        if _enlarges(levels, quarter):
            convolved = self._convolve_then_interpolate(torch.cat(levels, dim=-1), quarter)
        else:
            convolved = self._interpolate_then_convolve(levels, quarter)
        logits = self._classified(convolved)
        with without_autocast(logits.device):  # an eighth of a logit is too coarse for boundaries and depths
            return bilinear(logits.to(torch.promote_types(logits.dtype, torch.float32)), output_size)

    def _classified(self, convolved: Tensor) -> Tensor:
        """What follows the 3x3 convolution, at its resolution.

        A training step keeps the convolution's output for its backward pass and, where that is large, makes what
        follows from it anew: two maps as large, for a few operations on each element. Compilers do so by themselves.
        """
        large = convolved.numel() * convolved.element_size() >= _LARGE
        if not (large and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return self._follow(convolved)
        return checkpoint(
            self._follow,
            convolved,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), self.norm.repeating()),
        )

    def _follow(self, convolved: Tensor) -> Tensor:
        return self._classify(F.gelu(self.norm(convolved)))

    def _classify(self, features: Tensor) -> Tensor:
        """The 1x1 convolution of (B, C, h, w); where the channels lie last it is a linear layer."""
        if not lie_last(features):
            return self.classifier(features)
        weight, bias = self.classifier.weight.flatten(1), self.classifier.bias
        # few channels: first again, since each is interpolated alone
        return F.linear(features.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2).contiguous()

    def _interpolate_then_convolve(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        """The head as the paper writes it: levels (B, h, w, c_level) to (B, C, H/4, W/4)."""
        return self.conv(torch.cat([bilinear(level.permute(0, 3, 1, 2), size) for level in levels], dim=1))

    def _convolve_then_interpolate(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """The same map (B, C, H/4, W/4) from (B, h, w, C), with the taps applied at low resolution."""
        batch, height, width, dim = features.shape
        kernel = self.conv.weight.permute(1, 3, 2, 0).reshape(dim, -1)  # input x (column tap, row tap, output)
        # The middle tap's interpolation sums to one everywhere, so that it can carry the bias.
        bias = F.pad(self.conv.get_parameter("bias"), (4 * dim, 4 * dim))
        taps = torch.addmm(bias, features.flatten(0, 2), kernel)
        columns = shifted_interpolation(width, size[1], taps.dtype, taps.device)
        wide = columns @ taps.view(batch * height, 3 * width, 3 * dim)
        wide = wide.view(batch, height, size[1], 3, dim).transpose(2, 3)  # each row tap beside its row
        rows = shifted_interpolation(height, size[0], taps.dtype, taps.device)
        full = rows @ wide.reshape(batch, 3 * height, size[1] * dim)
        return full.view(batch, *size, dim).permute(0, 3, 1, 2)


class Head(ConvHead):
    """From four levels of `dims` channels to a task's logits; C is the last level's.

    Four Linear(C_level, C/4), bilinear to 1/4 of the image, concatenation, Conv 3x3, BatchNorm, GELU, Conv 1x1; the
    logits are interpolated to the full size.
    """

    def __init__(self, dims: Sequence[int], channels: int):
        super().__init__()
        dim = dims[-1]
        self.linears = nn.ModuleList(nn.Linear(width, dim // 4) for width in dims)
        self.add_convolutions(dim, channels)

    def forward(self, maps: Sequence[Tensor], output_size: tuple[int, int]) -> Tensor:
        """Four maps (B, C_level, h, w) to logits (B, channels, H, W), `output_size` being (H, W)."""
        reduced = [linear(level.permute(0, 2, 3, 1)) for linear, level in zip(self.linears, maps, strict=True)]
        return self.decode(reduced, output_size)


def _enlarges(levels: list[Tensor], size: tuple[int, int]) -> bool:
    """Whether all levels (B, h, w, c) share one grid that interpolation to `size` at least doubles in area."""
    grids = {tuple(level.shape[1:3]) for level in levels}
    if len(grids) > 1:
        return False
    height, width = grids.pop()
    return size[0] * size[1] >= 2 * height * width
