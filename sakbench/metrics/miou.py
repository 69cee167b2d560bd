"""mIoU: mean intersection over union, for semseg and parsing."""

import torch
from torch import Tensor

from sakbench.metrics.base import IGNORE, Metric, forbid_pixels, histogram, require_pixels


def confusion(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """Confusion matrix of two integer label maps of one shape, int64 (classes + 1, classes + 1), truth in the rows.

    Pixels whose target is 255 are left out; labels that are no class fall into the last row and column.
    """
    # as int32 before they are multiplied: labels come as bytes
    truth, guess = (torch.where(x < 0, classes, x.clamp(max=classes)).int() for x in (target, prediction))
    return histogram(truth * (classes + 1) + guess, target != IGNORE, (classes + 1, classes + 1))


def mean_iou(matrix: Tensor) -> float:
    """mIoU in percent, from a pooled `confusion`: the mean over all classes, of which an absent one counts 0.

    Raises UserError for labels out of range and where no pixel is valid.

    >>> prediction, target = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 255])
    >>> mean_iou(confusion(prediction, target, classes=2))
    50.0
    """
    classes = len(matrix) - 1
    forbid_pixels(matrix[-1].sum(), f"their target is neither a class 0..{classes - 1} nor {IGNORE}")
    forbid_pixels(matrix[:, -1].sum(), f"their prediction is not a class 0..{classes - 1}")
    require_pixels(matrix.sum())
    matrix = matrix[:-1, :-1].double()
    hits = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - hits
    return 100 * (hits / union.clamp(min=1)).mean().item()


class MeanIoU(Metric):
    """Accumulates `confusion` over label maps of any shape; computes `mean_iou` in percent."""

    def __init__(self, classes: int):
        super().__init__(torch.zeros(classes + 1, classes + 1, dtype=torch.int64))
        self.classes = classes

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`confusion` of a batch."""
        return confusion(prediction, target, self.classes)

    def reduce(self, sums: Tensor) -> float:
        """`mean_iou` of the pooled confusion."""
        return mean_iou(sums)
