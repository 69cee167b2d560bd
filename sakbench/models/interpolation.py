"""Bilinear interpolation (align_corners False) as small matrices, one per axis.

Equal to `F.interpolate` to rounding. Written so, it commutes visibly with channel mixing (see head.py), its gradient
is a matrix product, so deterministic on a GPU too, and on a CPU a training step through it costs less.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) to `size` (H, W)."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    rows = interpolation(height, size[0], maps.dtype, maps.device)
    columns = interpolation(width, size[1], maps.dtype, maps.device)
    return rows @ (maps @ columns.T)


@lru_cache(maxsize=256)
def interpolation(length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (new_length, length) that interpolates one axis linearly."""
    with torch.inference_mode(False):  # a cached matrix serves training too
        identity = torch.eye(length, dtype=torch.float64)[None]
        return F.interpolate(identity, size=new_length, mode="linear")[0].T.to(device, dtype).contiguous()


@lru_cache(maxsize=256)
def shifted_interpolation(length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (new_length, 3 * length) from the three taps of a convolution along one axis to its output.

    Column 3 * i + k holds what tap k, applied at low resolution to position i, gives to each output position of the
    convolution over the interpolated, zero-padded axis: interpolation shifted by k - 1.
    """
    with torch.inference_mode(False):
        plain = interpolation(length, new_length, dtype, device)
        padded = F.pad(plain, (0, 0, 1, 1))
        taps = [padded[tap : tap + new_length] for tap in range(3)]
        return torch.stack(taps, dim=2).flatten(1)
