"""What every metric shares: the ignore value, the accumulating class, and counting without a Python loop."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from sakbench.errors import UserError

IGNORE = 255

_PIECE = 2**18  # values of a map that a CPU takes at once: what its caches hold


class NoValidPixel(UserError):
    """Of an image this may be; of a whole data set it is a mistake."""


class Metric(ABC):
    """Sums over pixels that `update` adds to, `merge` joins across processes and `compute` turns into the number.

    The sums (int64 or float64) live where the predictions live, and `update` never waits for the device (but for odsF,
    which is counted on the CPU): what is wrong with the pixels' values is therefore counted too, and told by `compute`.
    """

    def __init__(self, sums: Tensor):
        self.sums = sums

    @abstractmethod
    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The sums of one batch, of the shape of `self.sums`."""

    @abstractmethod
    def reduce(self, sums: Tensor) -> float:
        """The metric of the whole, from its sums."""

    @property
    def protocol(self) -> str:
        """What else has to be known to compare the number with another; empty where the metric has no variants."""
        return ""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch; raises ValueError where the shapes do not match."""
        if prediction.shape != target.shape:
            raise ValueError(f"a prediction of shape {tuple(prediction.shape)} does not match {tuple(target.shape)}")
        prediction, target = prediction.detach(), target.to(prediction.device)
        size = len(target) if prediction.is_cuda else max(1, len(target) * _PIECE // max(1, target.numel()))
        for piece in zip(prediction.split(size), target.split(size), strict=True):
            counts = self.count(*piece)
            self.sums = self.sums.to(counts.device) + counts

    def counted(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The sums of each image of a batch, (B, ...): what a metric of some of the images, or of one, is made of.

        Raises ValueError where the shapes do not match.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"a prediction of shape {tuple(prediction.shape)} does not match {tuple(target.shape)}")
        prediction, target = prediction.detach(), target.to(prediction.device)
        return torch.stack([self.count(prediction[i : i + 1], target[i : i + 1]) for i in range(len(target))])

    def merge(self, other: Self) -> None:
        """Add what another metric of the same kind and settings has seen; raises ValueError where it is not."""
        if self._settings() != other._settings():
            raise ValueError(f"cannot merge {other._settings()} into {self._settings()}")
        self.sums = self.sums + other.sums.to(self.sums.device)

    def compute(self) -> float:
        """The metric of all that was seen; raises UserError where no pixel was valid or a value made no sense."""
        return self.reduce(self.sums.cpu())

    def _settings(self) -> tuple[str, dict[str, object]]:
        return type(self).__name__, {name: value for name, value in vars(self).items() if name != "sums"}


def histogram(cells: Tensor, counted: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A table of `shape`, int64: how often `cells` (flat indices) names each of its cells where `counted` is true."""
    size = torch.Size(shape).numel()
    # ignored pixels fall into one cell too many, which is dropped
    places = torch.where(counted, cells, size).flatten()
    if not places.is_cuda:
        return torch.bincount(places, minlength=size + 1)[:size].reshape(shape)
    # bincount makes a GPU wait
    table = torch.zeros(size + 1, dtype=torch.int64, device=places.device)
    return table.index_add_(0, places, table.new_ones(()).expand_as(places))[:size].reshape(shape)


def require_pixels(count: Tensor) -> None:
    """Raise NoValidPixel where nothing was counted."""
    if not count:
        raise NoValidPixel(f"there is no valid pixel to evaluate: every target pixel is invalid or ignored ({IGNORE})")


def forbid_pixels(count: Tensor, what: str) -> None:
    """Raise UserError where pixels were counted that must not be."""
    if count:
        raise UserError(f"{int(count)} pixels cannot be evaluated: {what}")
