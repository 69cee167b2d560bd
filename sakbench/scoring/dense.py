"""mIoU, maxF, mErr and RMSE of saved predictions: semseg, parsing, saliency, normals and depth."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sakbench import tasks
from sakbench.errors import UserError
from sakbench.metrics import IGNORE, Metric
from sakbench.scoring.files import GREY, LABELS, pairs, read, read_deep

PIXELS, ARRAYS = (".png",), (".npy",)


@dataclass(frozen=True)
class Reader:
    """How a task's files become what its metric takes: a prediction and a truth, each a map of one image."""

    suffixes: tuple[str, ...]
    prediction: Callable[[Path], Tensor]
    truth: Callable[[Path], Tensor]


def reader(task: str, depth_unit: float = 0.001) -> Reader:
    """The reader of a task; a depth PNG counts in steps of `depth_unit` metres. Raises UserError for an unknown task.

    Label maps are PNGs of class numbers, 255 ignored. Saliency: 0 to 255 is a probability, a truth is salient above
    127 (or 1, where nothing is higher). Normals: an RGB PNG of (n + 1) * 127.5, black being no normal, or an array
    (h, w, 3). Depth: a PNG of 8 or 16 bits, 0 being no depth, or an array (h, w) in metres.
    """
    readers = {
        "semseg": Reader(PIXELS, _labels, _labels),
        "parsing": Reader(PIXELS, _labels, _labels),
        "saliency": Reader(PIXELS, lambda path: _tensor(read(path, GREY)).float() / 255, _salient),
        "normals": Reader(PIXELS + ARRAYS, _normals, _normals),
        "depth": Reader(PIXELS + ARRAYS, *(2 * [lambda path: _depth(path, depth_unit)])),
    }
    tasks.info(task)
    return readers[task]


def score(
    task: str,
    predictions: Path,
    truth: Path,
    *,
    classes: int | None = None,
    depth_unit: float = 0.001,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[float, int, int]:
    """The task's metric over all images, how many these are, and how many predictions have no truth.

    Raises UserError for whatever is wrong with the files.
    """
    reads = reader(task, depth_unit)
    metric: Metric = tasks.make(task, classes=classes).new_metric()
    found, alone = pairs(predictions, truth, reads.suffixes)
    for place, pair in enumerate(found):
        if len(pair.truths) > 1:
            raise UserError(f"{pair.truths[0].parent} holds {len(pair.truths)} truths: {task} takes one per image.")
        guess, right = reads.prediction(pair.prediction), reads.truth(pair.truths[0])
        if guess.shape != right.shape:
            raise UserError(
                f"{pair.prediction} has the shape {tuple(guess.shape)}, its truth {pair.truths[0]} has "
                f"{tuple(right.shape)}: predictions are saved at the truth's size."
            )
        metric.update(guess[None], right[None])
        progress(place + 1, len(found))
    return metric.compute(), len(found), alone


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(path: Path) -> Tensor:
    return _tensor(read(path, LABELS))


def _salient(path: Path) -> Tensor:
    values = _tensor(read(path, LABELS))
    return (values > (0 if values.max() <= 1 else 127)).byte()


def _normals(path: Path) -> Tensor:
    if path.suffix.lower() in ARRAYS:
        return _array(path, (3,)).permute(2, 0, 1)
    colours = _tensor(read(path, ("RGB",))).float().permute(2, 0, 1)
    return torch.where((colours == 0).all(0), float(IGNORE), colours / 127.5 - 1)


def _depth(path: Path, unit: float) -> Tensor:
    if path.suffix.lower() in ARRAYS:
        return _array(path, ())
    return _tensor(read_deep(path).astype(np.float64) * unit).float()


def _array(path: Path, channels: tuple[int, ...]) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    if array.ndim != 2 + len(channels) or array.shape[2:] != channels or array.dtype.kind != "f":
        wanted = ", ".join(["h", "w", *map(str, channels)])
        raise UserError(f"{path} holds {array.dtype} of shape {array.shape}: floats of shape ({wanted}) are due.")
    return _tensor(array).float()
