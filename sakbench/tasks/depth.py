"""Depth: the distance to the camera, in metres."""

from dataclasses import asdict, replace

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from sakbench.metrics import IGNORE, RMSE, ImageRMSE
from sakbench.tasks.base import Map, Task, flip, mean_over, require_same_size
from sakbench.tasks.colouring import IGNORED, as_array
from sakbench.tasks.names import TASKS

_EPSILON = 1e-3  # metres: keeps the logarithms finite
_LEAST_SQUARE = 1e-12  # below it the root has no gradient


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


def make_linear() -> Task:
    """Depth as DINOv2's linear probes learn and report it (paper Table 27)."""
    return replace(make(), loss=scale_invariant_loss, counts=count_images, new_metric=ImageRMSE)


def count_pixels(target: Tensor) -> Tensor:
    """How many pixels are valid, int64 (1,)."""
    return ((target > 0) & (target != IGNORE)).sum()[None]


def loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """L1 distance of logits (B, 1, H, W) and metres (B, H, W), mean over the valid pixels: neither 0 nor 255."""
    require_same_size(logits, target)
    valid = (target > 0) & (target != IGNORE)
    return mean_over(valid, (decode(logits) - target).abs(), valid.sum()[None] if counts is None else counts)


def count_images(target: Tensor) -> Tensor:
    """How many images have a valid pixel, int64 (1,)."""
    return _valid(target).flatten(1).any(1).sum()[None]


def scale_invariant_loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """Of metres (B, 1, H, W) against metres (B, H, W), mean over the images that have a valid pixel.

    With g the difference of the logarithms: sqrt(var(g) + 0.15 mean(g)^2) (AdaBins), plus half of the sum over four
    scales of |g(p) - g(p + 2)| along rows and columns over the number of valid pixels (MegaDepth's gradient term).
    Each image is taken alone, so that a batch's loss does not depend on how it is laid out; DINOv2's code takes the
    pixels of a GPU's two images together.
    """
    require_same_size(logits, target)
    valid = _valid(target)
    known = torch.where(valid, target, 1.0)
    gap = torch.where(valid, (decode(logits) + _EPSILON).log() - (known + _EPSILON).log(), 0.0)
    images = valid.flatten(1).any(1)
    value = _spread(gap, valid) + 0.5 * sum(_roughness(gap, valid, step) for step in (1, 2, 4, 6))
    count = count_images(target) if counts is None else counts
    return torch.where(images, value, 0).sum() / count[0].clamp(min=1)


def _valid(target: Tensor) -> Tensor:
    return (target > 0) & (target != IGNORE)


def _spread(gap: Tensor, valid: Tensor) -> Tensor:
    """sqrt(var + 0.15 mean^2) of each image's valid gaps, (B,)."""
    count = valid.flatten(1).sum(1)
    mean = gap.flatten(1).sum(1) / count.clamp(min=1)
    squares = torch.where(valid, (gap - mean[:, None, None]) ** 2, 0).flatten(1).sum(1)
    return (squares / (count - 1).clamp(min=1) + 0.15 * mean**2).clamp(min=_LEAST_SQUARE).sqrt()


def _roughness(gap: Tensor, valid: Tensor, step: int) -> Tensor:
    """How the gap changes from a pixel to the next but one, of every `step`-th pixel, (B,)."""
    gap, valid = gap[:, ::step, ::step], valid[:, ::step, ::step]
    total = torch.zeros(len(gap), dtype=gap.dtype, device=gap.device)
    for here, there in (
        ((slice(None), slice(None, -2)), (slice(None), slice(2, None))),
        ((slice(None), slice(None), slice(None, -2)), (slice(None), slice(None), slice(2, None))),
    ):
        both = valid[here] & valid[there]
        total = total + torch.where(both, (gap[here] - gap[there]).abs(), 0).flatten(1).sum(1)
    return total / valid.flatten(1).sum(1).clamp(min=1)


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
