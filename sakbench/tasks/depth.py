"""Depth: the distance to the camera, in metres."""

from dataclasses import asdict

import matplotlib as mpl
import numpy as np
from torch import Tensor

from sakbench.metrics import IGNORE, RMSE
from sakbench.tasks.base import Map, Task, flip, mean_over, require_same_size
from sakbench.tasks.colouring import IGNORED, as_array
from sakbench.tasks.names import TASKS


def make() -> Task:
    """Depth, as one channel in metres."""
    return Task(
        **asdict(TASKS["depth"]),
        channels=1,
        loss=loss,
        counts=count_pixels,
        decode=decode,
        new_metric=RMSE,
        colours=colours,
        flip=flip,
    )


def count_pixels(target: Tensor) -> Tensor:
    """How many pixels are valid, int64 (1,)."""
    return ((target > 0) & (target != IGNORE)).sum()[None]


def loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """L1 distance of logits (B, 1, H, W) and metres (B, H, W), mean over the valid pixels: neither 0 nor 255."""
    require_same_size(logits, target)
    valid = (target > 0) & (target != IGNORE)
    return mean_over(valid, (decode(logits) - target).abs(), valid.sum()[None] if counts is None else counts)


def decode(logits: Tensor) -> Tensor:
    """Depth in metres, float (B, H, W)."""
    return logits[:, 0].float()


def colours(depth: Map, far: float = 10.0) -> np.ndarray:
    """Depth (H, W) in viridis from 0 m, bright, to `far` metres and beyond, dark, uint8 (H, W, 3).

    Invalid pixels are in the ignored colour.
    """
    metres = as_array(depth)
    picture = mpl.colormaps["viridis_r"](metres / far, bytes=True)[..., :3]
    invalid = (metres == IGNORE) | (metres == 0)
    return np.where(invalid[..., None], IGNORED, picture)
