"""RMSE: the root mean squared error of depth, of all pixels together or image by image."""

import torch
from torch import Tensor

from sakbench.errors import UserError
from sakbench.metrics.base import Metric, require_pixels

FARTHEST = 80.0


def squared_sums(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum of the squared errors in m^2 over the valid pixels (0 < depth < 80) and the number of these, float64 (2,)."""
    valid = (target > 0) & (target < FARTHEST)
    squares = torch.where(valid, (prediction.double() - target.double()) ** 2, 0)
    return torch.stack([squares.sum(), valid.sum().double()])


def root_mean_square(sums: Tensor) -> float:
    """RMSE in metres, from pooled `squared_sums`.

    Raises UserError for predictions that are not finite and where no pixel is valid.

    >>> root_mean_square(squared_sums(torch.tensor([4.0, 5.0, 9.0]), torch.tensor([1.0, 2.0, 255.0])))
    3.0
    """
    require_pixels(sums[1])
    if not sums[0].isfinite():
        raise UserError("the depth cannot be evaluated: a prediction is not finite")
    return (sums[0] / sums[1]).sqrt().item()


class RMSE(Metric):
    """Accumulates `squared_sums` over depth maps in metres of any shape; computes `root_mean_square` in metres."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(2, dtype=torch.float64))

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`squared_sums` of a batch."""
        return squared_sums(prediction, target)

    def reduce(self, sums: Tensor) -> float:
        """`root_mean_square` of the pooled sums."""
        return root_mean_square(sums)


def image_errors(prediction: Tensor, target: Tensor, nearest: float, farthest: float) -> Tensor:
    """Of maps (B, H, W): the sum of each image's own RMSE and the number of images, float64 (2,).

    A pixel is valid if nearest < depth < farthest, metres; an image without any is left out.
    """
    valid = ((target > nearest) & (target < farthest)).flatten(1)
    squares = (prediction.double().clamp(nearest, farthest) - target.double()).flatten(1) ** 2
    pixels = valid.sum(1)
    errors = (torch.where(valid, squares, 0).sum(1) / pixels.clamp(min=1)).sqrt()
    return torch.stack([torch.where(pixels > 0, errors, 0).sum(), (pixels > 0).sum().double()])


class ImageRMSE(Metric):
    """The mean over images of each one's RMSE in metres, as depth probes report it (DINOv2, AdaBins).

    Depths outside `nearest` to `farthest` are not counted, and predictions are brought into that range.
    """

    def __init__(self, nearest: float = 1e-3, farthest: float = 10.0) -> None:
        super().__init__(torch.zeros(2, dtype=torch.float64))
        self.nearest, self.farthest = nearest, farthest

    @property
    def protocol(self) -> str:
        """What tells it from the pooled one."""
        return f"mean of the images' own, {self.nearest:g} to {self.farthest:g} m"

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`image_errors` of a batch (B, H, W)."""
        return image_errors(prediction, target, self.nearest, self.farthest)

    def reduce(self, sums: Tensor) -> float:
        """The mean of the images' errors. Raises UserError as `root_mean_square` does."""
        require_pixels(sums[1])
        if not sums[0].isfinite():
            raise UserError("the depth cannot be evaluated: a prediction is not finite")
        return (sums[0] / sums[1]).item()
