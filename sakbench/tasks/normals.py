"""Surface normals: unit vectors, x to the right, y up, z towards the camera."""

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from sakbench.metrics import IGNORE, MeanAngularError
from sakbench.metrics.angular import unit, valid_normals
from sakbench.tasks.base import Map, Task, mean_over, require_same_size
from sakbench.tasks.colouring import IGNORED, as_array
from sakbench.tasks.names import TASKS


def make() -> Task:
    """Normals, as three channels that are scaled to unit length."""
    return Task(
        **asdict(TASKS["normals"]),
        channels=3,
        loss=loss,
        counts=count_pixels,
        decode=decode,
        new_metric=MeanAngularError,
        colours=colours,
        flip=flip,
    )


def count_pixels(target: Tensor) -> Tensor:
    """How many pixels are valid, int64 (1,)."""
    return valid_normals(target).sum()[None]


def loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """L1 distance of the normalised logits to the target, both (B, 3, H, W): sum over channels, mean over valid pixels.

    Invalid are pixels whose target is 255 or of zero length.
    """
    require_same_size(logits, target)
    valid = valid_normals(target)
    return mean_over(valid, (decode(logits) - target).abs().sum(1), valid.sum()[None] if counts is None else counts)


def decode(logits: Tensor) -> Tensor:
    """Unit vectors, float (B, 3, H, W)."""
    return unit(logits)


def flip(target: Tensor) -> Tensor:
    """Normals (..., 3, H, W) as a mirror shows them: places left to right, x negated; 255 stays 255."""
    x, yz = target.flip(-1).split([1, 2], dim=-3)
    return torch.cat([torch.where(x == IGNORE, x, -x), yz], dim=-3)


def colours(normals: Map) -> np.ndarray:
    """Normals (3, H, W) as the usual picture (n + 1) / 2, uint8 (H, W, 3); invalid pixels in the ignored colour."""
    n = as_array(normals).transpose(1, 2, 0)
    picture = np.rint(255 * (n.clip(-1, 1) + 1) / 2).astype(np.uint8)
    return np.where((n == IGNORE).all(-1, keepdims=True), IGNORED, picture)
