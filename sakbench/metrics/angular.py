"""mErr: the mean angular error of surface normals."""

import torch
from torch import Tensor

from sakbench.errors import UserError
from sakbench.metrics.base import IGNORE, Metric, require_pixels


def valid_normals(target: Tensor) -> Tensor:
    """Where a normal map (..., 3, H, W) holds a direction, bool (..., H, W): neither 255 nor of zero length."""
    x, y, z = target.unbind(-3)  # ten times faster than reducing over an inner axis
    return (x != IGNORE) & (y != IGNORE) & (z != IGNORE) & ((x != 0) | (y != 0) | (z != 0))


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 3, H, W) scaled to unit length, float; a zero vector stays zero."""
    vectors = vectors.float()
    # ten times faster on a CPU than a norm over an inner axis, and safe to differentiate at zero
    return vectors * vectors.square().sum(-3, keepdim=True).clamp(min=1e-24).rsqrt()


def angular_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Angle between the directions of two normal maps (..., 3, H, W), in degrees (..., H, W).

    2 atan2(|p - g|, |p + g|) on unit vectors, which is exact for small and for opposite directions too.
    """
    p, g = unit(prediction), unit(target)
    apart, together = (v.square().sum(-3).sqrt() for v in (p - g, p + g))
    return torch.rad2deg(2 * torch.atan2(apart, together))


def error_sums(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum of the angular errors in degrees over the valid pixels and the number of these, float64 (2,)."""
    valid = valid_normals(target)
    angles = torch.where(valid, angular_error(prediction, target), 0)
    return torch.stack([angles.sum(dtype=torch.float64), valid.sum().double()])


def mean_error(sums: Tensor) -> float:
    """mErr in degrees, from pooled `error_sums`.

    Raises UserError for values that are not finite and where no pixel is valid.

    >>> right, up = torch.eye(3).reshape(3, 3, 1, 1)[:2]
    >>> round(mean_error(error_sums(right, up)), 4)
    90.0
    """
    require_pixels(sums[1])
    if not sums[0].isfinite():
        raise UserError("the normals cannot be evaluated: a prediction or a target is not finite")
    return (sums[0] / sums[1]).item()


class MeanAngularError(Metric):
    """Accumulates `error_sums` over normal maps (..., 3, H, W); computes `mean_error` in degrees."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(2, dtype=torch.float64))

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`error_sums` of a batch; raises ValueError where the maps have not three channels."""
        if target.ndim < 3 or target.shape[-3] != 3:
            raise ValueError(f"normals have the shape (..., 3, H, W), not {tuple(target.shape)}")
        return error_sums(prediction, target)

    def reduce(self, sums: Tensor) -> float:
        """`mean_error` of the pooled sums."""
        return mean_error(sums)
