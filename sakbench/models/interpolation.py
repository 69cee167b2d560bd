"""Bilinear interpolation (align_corners False) as small matrices, one per axis.

Equal to `F.interpolate` to rounding. Written so, it commutes visibly with channel mixing (see head.py), its gradient
is a matrix product, so deterministic on a GPU too, and on a CPU a training step through it costs less.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) to `size` (H, W), their channels lying where they lay in memory, first or last."""
    batch, channels, height, width = maps.shape
    if (height, width) == size:
        return maps
    rows = interpolation(height, size[0], maps.dtype, maps.device)
    columns = interpolation(width, size[1], maps.dtype, maps.device)
    if not lie_last(maps):
        return rows @ (maps @ columns.T)
    wide = columns @ maps.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
    full = rows @ wide.view(batch, height, size[1] * channels)
    return full.view(batch, *size, channels).permute(0, 3, 1, 2)


def lie_last(maps: Tensor) -> bool:
    """Whether the channels of maps (B, C, h, w) lie side by side in memory, as they do in tokens."""
    return maps.stride(1) == 1 < maps.shape[1]


_Key = tuple[bool, int, int, torch.dtype, torch.device]

_KEPT: dict[_Key, Tensor] = {}  # a dictionary, not a cached function: a compiler knows what lies in one
_MOST = 256


def interpolation(length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (new_length, length) that interpolates one axis linearly."""
    return _kept((False, length, new_length, dtype, device))


def shifted_interpolation(length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (new_length, 3 * length) from the three taps of a convolution along one axis to its output.

    Column 3 * i + k holds what tap k, applied at low resolution to position i, gives to each output position of the
    convolution over the interpolated, zero-padded axis: interpolation shifted by k - 1.
    """
    return _kept((True, length, new_length, dtype, device))


def _kept(key: _Key) -> Tensor:
    if key not in _KEPT:
        if len(_KEPT) >= _MOST:
            _KEPT.clear()
        _KEPT[key] = _made(*key)
    return _KEPT[key]


def _made(shifted: bool, length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what is kept serves training too
        identity = torch.eye(length, dtype=torch.float64)[None]
        plain = F.interpolate(identity, size=new_length, mode="linear")[0].T
        if shifted:
            padded = F.pad(plain, (0, 0, 1, 1))
            plain = torch.stack([padded[tap : tap + new_length] for tap in range(3)], dim=2).flatten(1)
        return plain.to(device, dtype).contiguous()
