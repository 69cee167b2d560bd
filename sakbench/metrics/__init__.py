"""Metrics as the paper reports them: each is a functional core and a thin class that accumulates its sums."""

from sakbench.metrics.angular import MeanAngularError
from sakbench.metrics.base import IGNORE, Metric, NoValidPixel
from sakbench.metrics.boundary import OdsF
from sakbench.metrics.maxf import MaxF
from sakbench.metrics.miou import MeanIoU
from sakbench.metrics.neighbours import neighbours_classes
from sakbench.metrics.rmse import RMSE, ImageRMSE

__all__ = [
    "IGNORE",
    "RMSE",
    "ImageRMSE",
    "MaxF",
    "MeanAngularError",
    "MeanIoU",
    "Metric",
    "NoValidPixel",
    "OdsF",
    "neighbours_classes",
]
