"""maxF: the best F-measure over thresholds, for saliency."""

import torch
from torch import Tensor

from sakbench.metrics.base import IGNORE, Metric, forbid_pixels, histogram, require_pixels

THRESHOLDS = 19  # k / 20
BETA_SQUARED = 0.3


def _levels(probability: Tensor, thresholds: int) -> Tensor:
    """How many of the thresholds k / (n + 1), k = 1 to n, each probability reaches (`>=`), int32.

    One level more where it is not in 0..1; at most 126 thresholds.
    """
    p, steps = probability.float(), thresholds + 1
    # the product may round to the wrong side of a threshold; a float32 0.35 reaches the float32 threshold 7 / 20
    floor = (p * steps).floor_()
    level = floor.to(torch.int8)  # bytes, since memory is what takes the time
    level += (p >= (floor + 1).div_(steps)).view(torch.int8)
    level -= (p < floor / steps).view(torch.int8)
    return torch.where((p >= 0) & (p <= 1), level.clamp_(max=thresholds), steps).int()


def _at_least(counts: Tensor) -> Tensor:
    """Counts per level (..., T + 1) turned into counts of what reaches each of the T thresholds (..., T)."""
    return counts.flip(-1).cumsum(-1).flip(-1)[..., 1:]


def level_counts(prediction: Tensor, target: Tensor) -> Tensor:
    """Pixels by truth and by the number of thresholds that their probability reaches, int64 (3, 21).

    Rows: truth 0, truth 1, truth out of range; columns: 0 to 19 thresholds, and probabilities out of range.
    Pixels whose target is 255 are left out.
    """
    columns = THRESHOLDS + 2
    truth = target.clamp(max=2).int()
    truth = torch.where(target < 0, 2, truth) if target.dtype.is_signed else truth
    return histogram(truth * columns + _levels(prediction, THRESHOLDS), target != IGNORE, (3, columns))


def max_f(counts: Tensor) -> float:
    """maxF in percent, from pooled `level_counts`: thresholds 0.05 to 0.95, prediction >= threshold, beta^2 = 0.3.

    Without a hit F is 0. Raises UserError for values out of range and where no pixel is valid.

    >>> prediction, target = torch.tensor([0.9, 0.6, 0.2, 0.7]), torch.tensor([1, 1, 0, 255])
    >>> max_f(level_counts(prediction, target))
    100.0
    """
    forbid_pixels(counts[2].sum(), f"their saliency target is none of 0, 1 and {IGNORE}")
    forbid_pixels(counts[:, -1].sum(), "their saliency prediction is not a probability from 0 to 1")
    require_pixels(counts.sum())
    background, salient = counts[:2, :-1].double()
    hits, false_alarms = _at_least(salient), _at_least(background)
    # (1 + b) P R / (b P + R) with P = hits / predicted and R = hits / salient
    f = (1 + BETA_SQUARED) * hits / (BETA_SQUARED * salient.sum() + hits + false_alarms).clamp(min=BETA_SQUARED)
    return 100 * f.max().item()


class MaxF(Metric):
    """Accumulates `level_counts` over foreground probabilities of any shape; computes `max_f` in percent."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(3, THRESHOLDS + 2, dtype=torch.int64))

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`level_counts` of a batch."""
        return level_counts(prediction, target)

    def reduce(self, sums: Tensor) -> float:
        """`max_f` of the pooled counts."""
        return max_f(sums)
