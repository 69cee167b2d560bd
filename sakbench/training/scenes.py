"""Miniworld scenes as training batches: normalised images, targets, teachers' features, mirrored together."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sakbench.data import miniworld
from sakbench.tasks.base import Task
from sakbench.training.order import coins_of_step, rows_of_step

IMAGE_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, for every model, as in the paper
IMAGE_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
TARGET_SIZE = (64, 64)


def images_tensor(split: miniworld.Split, rows: np.ndarray, size: int) -> Tensor:
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

    `banks` are features by name, plain and mirrored: float16 (n, 4, tokens, d) each. A batch holds `image` (left out
    if `size` is None), every task's target and `features/NAME` (b, 4, tokens, d).
    """

    def __init__(
        self,
        split: miniworld.Split,
        *,
        size: int | None,
        tasks: dict[str, Task] | None = None,
        banks: Mapping[str, tuple[np.ndarray, np.ndarray | None]] | None = None,
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

    def batch(self, rows: np.ndarray, mirrored: np.ndarray) -> dict[str, Tensor]:
        """The scenes `rows`; those where `mirrored` is true are flipped left to right."""
        flip = torch.from_numpy(mirrored)
        batch: dict[str, Tensor] = {}
        if self.images is not None:
            images = self.images[rows]
            batch["image"] = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
        for name, targets in self.targets.items():
            target = targets[rows]
            target[flip] = self.tasks[name].flip(target[flip])
            batch[name] = target
        for name, (plain, mirror) in self.banks.items():
            features = plain[rows]
            if mirror is not None and mirrored.any():
                features[mirrored] = mirror[rows[mirrored]]
            batch[f"features/{name}"] = torch.from_numpy(features).float()
        return batch

    def draw(self, batch_size: int, seed: int, start: int, *, mirror: bool) -> Iterator[dict[str, Tensor]]:
        """Endless shuffled epochs from step `start` on; step k's batch is a function of `seed` and k alone."""
        step = start
        while True:
            rows = rows_of_step(self.count, batch_size, seed, step)
            yield self.batch(rows, coins_of_step(batch_size, seed, step) & mirror)
            step += 1

    def in_order(self, batch_size: int = 50) -> Iterator[dict[str, Tensor]]:
        """Every scene once, not mirrored."""
        for first in range(0, self.count, batch_size):
            rows = np.arange(first, min(first + batch_size, self.count))
            yield self.batch(rows, np.zeros(len(rows), dtype=bool))
