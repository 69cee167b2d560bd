"""Boundary: does an object's outline run through a pixel?"""

from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sakbench.metrics import IGNORE, OdsF
from sakbench.tasks.base import Map, Task, flip, mean_over, require_same_size, valid_pixels
from sakbench.tasks.colouring import grey_colours
from sakbench.tasks.names import TASKS

POSITIVE_WEIGHT = 0.95


def make() -> Task:
    """Boundary, as one channel of logits."""
    return Task(
        **asdict(TASKS["boundary"]),
        channels=1,
        loss=loss,
        counts=valid_pixels,
        decode=decode,
        new_metric=OdsF,
        colours=colours,
        flip=flip,
    )


def loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits (B, 1, H, W) and {0, 1, 255} (B, H, W), mean over the valid pixels.

    A boundary pixel weighs 0.95, any other 0.05.
    """
    require_same_size(logits, target)
    positive = (target == 1).float()
    weight = torch.where(target == 1, POSITIVE_WEIGHT, 1 - POSITIVE_WEIGHT)
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0].float(), positive, weight, reduction="none")
    return mean_over(target != IGNORE, entropy, valid_pixels(target) if counts is None else counts)


def decode(logits: Tensor) -> Tensor:
    """Probability of a boundary, float (B, H, W)."""
    return logits[:, 0].float().sigmoid()


def colours(boundary: Map) -> np.ndarray:
    """Boundary probability or target (H, W) as dark lines on white, uint8 (H, W, 3)."""
    return grey_colours(boundary, dark=True)
