"""tolF: a boundary F-measure with a tolerance and without matching. It is not odsF.

A predicted pixel is right where a true one lies within the tolerance, and a true pixel is found where a predicted one
does; nothing is thinned and no pixel is used up by a match, so that lines up to twice the tolerance too thick cost
nothing. Counts are pooled over the data set, and the best threshold's F is the number.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sakbench.metrics.base import IGNORE, Metric, at_least, forbid_pixels, histogram, levels, require_pixels

THRESHOLDS = torch.arange(1, 100, dtype=torch.float64) / 100
PREDICTED, RIGHT, TRUE, OUT_OF_RANGE = range(4)


def tolerance(height: int, width: int, max_dist: float) -> float:
    """How far a pixel may lie from another and count as the same, in pixels: max_dist x diagonal, but at least 1."""
    return max(1.0, max_dist * math.hypot(height, width))


def dilate(maps: Tensor, radius: float) -> Tensor:
    """Maximum of maps (B, H, W), values not negative, over the disc dx^2 + dy^2 <= radius^2 around each pixel."""
    reach, height = int(radius), maps.shape[1]
    padded = F.pad(maps, (0, 0, reach, reach))
    rows = []
    for dy in range(-reach, reach + 1):
        half = int(math.sqrt(radius**2 - dy**2))
        shifted = padded[:, reach + dy : reach + dy + height]
        rows.append(F.max_pool2d(shifted, (1, 2 * half + 1), stride=1, padding=(0, half)))
    return torch.stack(rows).amax(0)


def level_counts(prediction: Tensor, target: Tensor, radius: float) -> Tensor:
    """Boundary pixels by the number of thresholds that a probability reaches, int64 (4, 101).

    Rows: predicted pixels; those with a true one within the radius (in pixels); true pixels, by the highest
    probability within the radius; target values out of range. Columns: 0 to 99 thresholds, and probabilities out of
    range. Maps are (B, H, W); pixels whose target is 255 exist neither as predicted nor as true ones.
    """
    columns = len(THRESHOLDS) + 2
    valid, true = target != IGNORE, target == 1
    reached = torch.where(valid, levels(prediction, THRESHOLDS), 0)
    near_true = dilate(true.float(), radius) > 0
    near_predicted = dilate(reached.float(), radius).long()
    stray = valid & ~true & (target != 0)
    rows = torch.stack([reached, reached, near_predicted, reached])
    rows += columns * torch.arange(4, device=rows.device).reshape(4, 1, 1, 1)
    return histogram(rows, torch.stack([valid, near_true, true, stray]), (4, columns))


def tolerance_f(counts: Tensor) -> float:
    """tolF in percent, from pooled `level_counts`: the best F of precision and recall over 99 thresholds.

    Without a hit F is 0. Raises UserError for values out of range and where no pixel is valid.

    >>> line, beside = torch.zeros(2, 1, 5, 5)
    >>> line[:, 2], beside[:, 3] = 1, 1
    >>> tolerance_f(level_counts(beside, line, radius=1))
    100.0
    """
    forbid_pixels(counts[OUT_OF_RANGE].sum(), f"their boundary target is none of 0, 1 and {IGNORE}")
    forbid_pixels(counts[PREDICTED, -1], "their boundary prediction is not a probability from 0 to 1")
    require_pixels(counts[PREDICTED].sum())
    reached = at_least(counts[:, :-1].double())
    precision = reached[RIGHT] / reached[PREDICTED].clamp(min=1)
    recall = reached[TRUE] / counts[TRUE].sum().clamp(min=1)
    f = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
    return 100 * f.max().item()


class ToleranceF(Metric):
    """Accumulates `level_counts` over boundary probabilities (B, H, W); computes `tolerance_f` in percent.

    The tolerance is `max_dist` of the image's diagonal (0.0075 for PASCAL-Context, 0.011 for NYUD-v2), but at least
    one pixel, which at mini's 64x64 holds for both.
    """

    def __init__(self, max_dist: float = 0.0075):
        super().__init__(torch.zeros(4, len(THRESHOLDS) + 2, dtype=torch.int64))
        self.max_dist = max_dist

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`level_counts` of a batch; raises ValueError where the maps are not (B, H, W)."""
        if target.ndim != 3:
            raise ValueError(f"boundary maps have the shape (B, H, W), not {tuple(target.shape)}")
        return level_counts(prediction, target, tolerance(target.shape[1], target.shape[2], self.max_dist))

    def reduce(self, sums: Tensor) -> float:
        """`tolerance_f` of the pooled counts."""
        return tolerance_f(sums)
