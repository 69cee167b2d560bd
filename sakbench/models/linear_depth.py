"""DINOv2's linear depth heads (paper Table 27): bins of depth from a convolution 1x1 on the last or on four levels."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sakbench.errors import UserError
from sakbench.models.autocast import without_autocast
from sakbench.models.interpolation import bilinear

BINS = 256
NEAREST, FARTHEST = 1e-3, 10.0  # metres, of NYUd
_LEAST = 0.1  # what every bin has, so that the shares of one never vanish together
_UPSAMPLED = 4
_MOST_VALUES = 2**22


class LinearDepth(nn.Module):
    """From the last `levels` of four levels to depth in metres, as a weighted mean of 256 evenly spaced depths.

    The levels are enlarged four times and concatenated, a linear layer gives a value to each bin, and relu(value) + 0.1
    is its weight. Interpolation commutes with the layer, so that the layer comes first, at the low resolution.
    Raises UserError for other tasks than depth alone.
    """

    centres: Tensor

    def __init__(self, dims: Sequence[int], tasks: Mapping[str, int], *, levels: Literal[1, 4]):
        super().__init__()
        if dict(tasks) != {"depth": 1}:
            raise UserError(f"DINOv2's linear heads are for depth alone, not for {', '.join(tasks)}.")
        self.levels = levels
        self.linear = nn.Linear(sum(dims[-levels:]), BINS)
        self.register_buffer("centres", torch.linspace(NEAREST, FARTHEST, BINS), persistent=False)

    def forward(self, maps: Mapping[str, Sequence[Tensor]], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Four maps (B, C_level, h, w) of depth to its metres (B, 1, H, W) at `output_size`, NEAREST to FARTHEST."""
        chosen = list(maps["depth"])[-self.levels :]
        height, width = chosen[0].shape[-2:]
        weights = self.linear.weight.split([level.shape[1] for level in chosen], dim=1)
        with without_autocast(self.linear.weight.device):  # the weights of 256 bins are small differences
            parts: dict[torch.Size, Tensor] = {}  # by their size: what is as large is added up before it is enlarged
            for level, weight in zip(chosen, weights, strict=True):
                part = F.conv2d(level.float(), weight[..., None, None])
                size = part.shape[-2:]
                parts[size] = parts[size] + part if size in parts else part
            enlarged = (_UPSAMPLED * height, _UPSAMPLED * width)
            # A CPU takes an image at a time: larger blocks than its allocator keeps are fetched anew at every step.
            apart = not chosen[0].is_cuda and len(chosen[0]) * BINS * enlarged[0] * enlarged[1] > _MOST_VALUES
            pieces = zip(*(part.split(1 if apart else len(part)) for part in parts.values()), strict=True)
            depth = torch.cat([self._expected(piece, enlarged) for piece in pieces])
            return {"depth": bilinear(depth[:, None], output_size)}

    def _expected(self, parts: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The bins' values, in parts (B, 256, h, w) that are added up at `size`, to mean depths (B, H, W)."""
        values = torch.stack([bilinear(part, size) for part in parts]).sum(0)
        shares = (values + self.linear.bias.view(-1, 1, 1)).relu() + _LEAST
        return torch.einsum("bkhw,k->bhw", shares, self.centres) / shares.sum(1)
