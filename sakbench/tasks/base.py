"""What a task is, and what the losses share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sakbench.errors import UserError
from sakbench.metrics import IGNORE, Metric
from sakbench.tasks.names import TaskInfo

__all__ = ["IGNORE", "Task", "check_classes", "flip", "mean_over", "require_same_size", "valid_pixels"]

Map = Tensor | np.ndarray


class Loss(Protocol):
    """A task's loss."""

    def __call__(self, logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
        """Scalar loss; `counts` are those of the whole batch where the target is a part of one."""


@dataclass(frozen=True)
class Task(TaskInfo):
    """A dense task: what its head puts out, how that is trained, decoded, measured and shown.

    `loss` takes logits (B, channels, H, W) and a target and gives a scalar, not yet times `loss_weight`; `counts` gives
    the numbers of pixels that it divides by (int64, so that those of the parts of a batch add up: given their sum, the
    losses of the parts add up to the loss of the batch); `decode` turns logits into what the metric takes; `flip`
    mirrors a target (..., H, W) left to right, as its image is mirrored; `colours` turns one prediction or target into
    a picture, uint8 (H, W, 3).
    """

    channels: int
    loss: "Loss"
    counts: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    new_metric: Callable[[], Metric]
    colours: Callable[[Map], np.ndarray]
    flip: Callable[[Tensor], Tensor]


def check_classes(name: str, classes: int) -> None:
    """Raise UserError unless the labels of `classes` classes fit beside the ignore value in a byte."""
    if not 2 <= classes < IGNORE:
        raise UserError(f"task {name!r} takes from 2 to {IGNORE - 1} classes, background included, not {classes}.")


def flip(target: Tensor) -> Tensor:
    """A map (..., H, W) mirrored left to right, its values unchanged."""
    return target.flip(-1)


def valid_pixels(target: Tensor) -> Tensor:
    """How many pixels are not ignored, int64 (1,): what most losses divide by."""
    return (target != IGNORE).sum()[None]


def mean_over(valid: Tensor, values: Tensor, counts: Tensor) -> Tensor:
    """Sum of the values at valid pixels / number of valid pixels (1,); 0, with a gradient of 0, where none is valid."""
    return torch.where(valid, values, 0).sum() / counts[0].clamp(min=1)


def require_same_size(logits: Tensor, target: Tensor) -> None:
    """Raise ValueError where batch, height or width differ, which broadcasting would hide."""
    if (len(logits), *logits.shape[-2:]) != (len(target), *target.shape[-2:]):
        raise ValueError(f"logits of shape {tuple(logits.shape)} do not fit a target of shape {tuple(target.shape)}")
