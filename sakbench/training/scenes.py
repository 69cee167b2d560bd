"""Miniworld scenes as training batches: normalised images, targets, teachers' features, mirrored together."""

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sakbench.backbones.inputs import IMAGENET
from sakbench.data import miniworld
from sakbench.tasks.base import Task
from sakbench.training.order import coins_of_step, rows_of_step

IMAGE_MEAN, IMAGE_STD = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
TARGET_SIZE = (64, 64)


def images_tensor(split: miniworld.Pictured, rows: np.ndarray, size: int) -> Tensor:
    """Images `rows` of a split, normalised: float32 (b, 3, size, size).

    64 pixels are 2x2 means of the 128 that were rendered; for any other size these are resized (bicubic).
    """
    pixels = miniworld.images64(split, rows) if size == 64 else split.images[rows]
    images = torch.from_numpy(np.asarray(pixels, dtype=np.float32)).permute(0, 3, 1, 2)
    if size not in (64, 128):
        images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 255)
    return (images / 255 - IMAGE_MEAN) / IMAGE_STD


class Scenes:
    """A split in memory, ready to be drawn from.

    `banks` are features by name, plain and mirrored: four levels each, float16 (n, h, w, d). A batch holds `image`
    (left out if `size` is None), every task's target and `features/NAME`, four maps (b, d, h, w).
    """

    def __init__(
        self,
        split: miniworld.Split,
        *,
        size: int | None,
        tasks: dict[str, Task] | None = None,
        banks: Mapping[str, tuple[list[np.ndarray], list[np.ndarray] | None]] | None = None,
    ) -> None:
        self.count = len(split.images)
        everything = np.arange(self.count)
        self.images = None if size is None else images_tensor(split, everything, size)
        self.tasks = tasks or {}
        self.targets = {
            name: torch.from_numpy(np.ascontiguousarray(target))
            for name, target in miniworld.targets(split, everything, tuple(self.tasks)).items()
        }
        self.banks = banks or {}

    def batch(self, rows: np.ndarray, mirrored: np.ndarray) -> dict[str, Any]:
        """The scenes `rows`; those where `mirrored` is true are flipped left to right."""
        flip = torch.from_numpy(mirrored)
        batch: dict[str, Any] = {}
        if self.images is not None:
            images = self.images[rows]
            batch["image"] = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
        for name, targets in self.targets.items():
            target = targets[rows]
            target[flip] = self.tasks[name].flip(target[flip])
            batch[name] = target
        for name, (plain, mirror) in self.banks.items():
            levels = [level[rows] for level in plain]
            if mirror is not None and mirrored.any():
                for level, other in zip(levels, mirror, strict=True):
                    level[mirrored] = other[rows[mirrored]]
            batch[f"features/{name}"] = [torch.from_numpy(level).float().permute(0, 3, 1, 2) for level in levels]
        return batch

    def draw(self, batch_size: int, seed: int, start: int, *, mirror: bool) -> Generator[dict[str, Any]]:
        """Endless shuffled epochs from step `start` on; step k's batch is a function of `seed` and k alone."""
        step = start
        while True:
            rows = rows_of_step(self.count, batch_size, seed, step)
            yield self.batch(rows, coins_of_step(batch_size, seed, step) & mirror)
            step += 1

    def in_order(self, batch_size: int = 50) -> Iterator[dict[str, Any]]:
        """Every scene once, not mirrored."""
        for first in range(0, self.count, batch_size):
            rows = np.arange(first, min(first + batch_size, self.count))
            yield self.batch(rows, np.zeros(len(rows), dtype=bool))
