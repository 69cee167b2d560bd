"""Saliency: does a pixel belong to what catches the eye?"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Tensor

from sakbench.metrics import IGNORE, MaxF
from sakbench.tasks.base import Task, flip
from sakbench.tasks.colouring import grey_colours
from sakbench.tasks.names import TASKS


def make() -> Task:
    """Saliency, as two classes: background and foreground."""
    return Task(
        **asdict(TASKS["saliency"]),
        channels=2,
        loss=loss,
        counts=count_pixels,
        decode=decode,
        new_metric=MaxF,
        colours=grey_colours,
        flip=flip,
    )


def count_pixels(target: Tensor) -> Tensor:
    """How many pixels are valid, foreground and background, int64 (3,)."""
    return torch.stack([(target != IGNORE).sum(), (target == 1).sum(), (target == 0).sum()])


def loss(logits: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """Two-class cross-entropy of logits (B, 2, H, W) and {0, 1, 255} (B, H, W), balanced over the batch.

    Background weighs as much as the fraction of the valid pixels that is foreground, and the other way round; the
    weighted sum is divided by the number of valid pixels.
    """
    valid, positive, negative = count_pixels(target) if counts is None else counts
    pixels = valid.clamp(min=1)
    weight = torch.stack([positive, negative]) / pixels
    total = F.cross_entropy(logits.float(), target.long(), weight, ignore_index=IGNORE, reduction="sum")
    return total / pixels


def decode(logits: Tensor) -> Tensor:
    """Probability of the foreground, float (B, H, W)."""
    return logits.float().softmax(1)[:, 1]
