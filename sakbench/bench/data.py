"""How fast photographs come: decoded, augmented as in stage 2 and collated, by workers or by the training process."""

import io
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from PIL import Image

from sakbench.data.transforms import TuneTransform
from sakbench.training import loader
from sakbench.training.loader import AHEAD

_ROUND_SECONDS = 2.0
_FILES = 32  # different ones: more than a batch
_SIDES = (375, 500)  # of PASCAL's photographs


class Photographs:
    """A data set of smooth random photographs (JPEG) with labels (PNG), encoded in memory, augmented as in stage 2."""

    def __init__(self, size: tuple[int, int], tasks: Sequence[str]) -> None:
        draw = np.random.default_rng(0)
        coarse = draw.integers(0, 256, (_FILES, 12, 16, 3), dtype=np.uint8)
        self.pictures = [_encoded(Image.fromarray(one), "JPEG", Image.Resampling.BICUBIC) for one in coarse]
        labels = draw.integers(0, 7, (_FILES, 6, 8), dtype=np.uint8)
        self.labels = [_encoded(Image.fromarray(one), "PNG", Image.Resampling.NEAREST) for one in labels]
        self.tasks = tuple(tasks)
        self.augmented = TuneTransform(size)

    def __len__(self) -> int:
        return 100 * _FILES

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        row, seed = place
        item: dict[str, Any] = {"name": str(row), "image": _decoded(self.pictures[row % _FILES])}
        labels = _decoded(self.labels[row % _FILES])
        for task in self.tasks:
            item[task] = _target(task, labels)
        return self.augmented(item, seed)


def loading(images: int, size: tuple[int, int], tasks: Sequence[str], workers: int, rounds: int) -> list[float]:
    """Images a second in each round, of batches of so many, when nothing else is asked of the machine.

    A round begins when what workers have read ahead is used up.
    """
    rates = []
    with closing(loader.draw(Photographs(size, tasks), images, seed=0, start=0, workers=workers)) as stream:
        for _ in range(rounds):
            for _ in range(AHEAD * workers + 1):
                next(stream)
            began, batches = time.perf_counter(), 0
            while batches < 2 or time.perf_counter() - began < _ROUND_SECONDS:
                next(stream)
                batches += 1
            rates.append(batches * images / (time.perf_counter() - began))
    return rates


def _target(task: str, labels: np.ndarray) -> np.ndarray:
    if task == "normals":
        normals = np.stack([labels, labels + 1, np.full_like(labels, 9)]).astype(np.float32)
        return normals / np.linalg.norm(normals, axis=0)
    if task == "depth":
        return 1 + labels.astype(np.float32)
    return labels if task in ("semseg", "parsing") else (labels > 3).astype(np.uint8)


def _encoded(picture: Image.Image, form: str, how: Image.Resampling) -> bytes:
    file = io.BytesIO()
    picture.resize((_SIDES[1], _SIDES[0]), how).save(file, form)
    return file.getvalue()


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))
