"""mIoU, maxF, mErr and RMSE of saved predictions: semseg, parsing, saliency, normals and depth."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sakbench import tasks
from sakbench.errors import UserError, unknown
from sakbench.metrics import NoValidPixel
from sakbench.scoring.files import GREY, LABELS, pairs, read, read_deep

PIXELS, ARRAYS = (".png",), (".npy",)
SALIENCY_AS = ("grey", "labels")


@dataclass(frozen=True)
class Reader:
    """How a task's files become what its metric takes: a prediction and a truth, each a map of one image."""

    suffixes: tuple[str, ...]
    prediction: Callable[[Path], Tensor]
    truth: Callable[[Path], Tensor]


def reader(task: str, *, saliency_as: str = "grey", depth_unit: float = 0.001) -> Reader:
    """The reader of a task. Raises UserError for an unknown task, kind of saliency and for a unit that is none.

    Label maps are PNGs of class numbers, 255 ignored. Saliency: 0 to 255 is a probability; a truth is salient above 127
    (`grey`), or holds 0, 1 and 255 for ignored (`labels`). Normals: an RGB PNG of (n + 1) * 127.5 or an array
    (h, w, 3); a truth that is black or of no length is no normal. Depth: a PNG of 8 or 16 bits in steps of
    `depth_unit` metres, or an array (h, w) in metres; a truth of 0 is no depth.
    """
    if saliency_as not in SALIENCY_AS:
        raise unknown("kind of truth", saliency_as, SALIENCY_AS)
    if not 0 < depth_unit < float("inf"):
        raise UserError(f"a depth unit is a length in metres above 0, such as 0.001, not {depth_unit}.")
    readers = {
        "semseg": Reader(PIXELS, _labels, _labels),
        "parsing": Reader(PIXELS, _labels, _labels),
        "saliency": Reader(PIXELS, _probability, _salient if saliency_as == "grey" else _labels),
        "normals": Reader(PIXELS + ARRAYS, _normals, _true_normals),
        "depth": Reader(PIXELS + ARRAYS, *(2 * [partial(_depth, unit=depth_unit)])),
    }
    tasks.info(task)
    return readers[task]


def score(
    task: str,
    predictions: Path,
    truth: Path,
    reads: Reader,
    *,
    classes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[float, int, int]:
    """The task's metric over all images, how many these are, and how many predictions have no truth.

    Raises UserError for whatever is wrong with the files; it names the file.
    """
    new_metric = tasks.make(task, classes=classes).new_metric
    whole = new_metric()
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
        metric = new_metric()
        metric.update(guess[None], right[None])
        try:
            metric.compute()
        except NoValidPixel:
            pass  # of one image
        except UserError as error:
            raise UserError(f"{pair.prediction} or its truth {pair.truths[0]}: {error}") from error
        whole.merge(metric)
        progress(place + 1, len(found))
    return whole.compute(), len(found), alone


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(path: Path) -> Tensor:
    return _tensor(read(path, LABELS))


def _probability(path: Path) -> Tensor:
    return _tensor(read(path, GREY)).float() / 255


def _salient(path: Path) -> Tensor:
    values = _tensor(read(path, LABELS))
    if (values == 1).any():
        raise UserError(f"{path} holds the value 1: if it is a map of 0, 1 and 255 (ignored), say --truth-as labels.")
    return (values > 127).byte()


def _normals(path: Path) -> Tensor:
    """Vectors (3, h, w); black is the zero vector, which is 90 degrees off whatever is true."""
    if path.suffix.lower() in ARRAYS:
        return _array(path, (3,)).permute(2, 0, 1)
    colours = _tensor(read(path, ("RGB",))).float().permute(2, 0, 1)
    return torch.where((colours == 0).all(0), 0, colours / 127.5 - 1)


def _true_normals(path: Path) -> Tensor:
    """The same with what is no direction at zero: a zero vector saved as (n + 1) * 127.5 comes back as a short one."""
    vectors = _normals(path)
    return torch.where(vectors.norm(dim=0) < 0.1, 0, vectors)


def _depth(path: Path, unit: float) -> Tensor:
    if path.suffix.lower() in ARRAYS:
        return _array(path, ())
    return _tensor(read_deep(path).astype(np.float64) * unit).float()


def _array(path: Path, channels: tuple[int, ...]) -> Tensor:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # whatever NumPy meets in a broken head: SyntaxError, TokenError, TypeError, ...
        raise UserError(f"{path} cannot be read ({error}): is it an array saved with np.save?") from error
    if array.ndim != 2 + len(channels) or array.shape[2:] != channels or array.dtype.kind != "f":
        wanted = ", ".join(["h", "w", *map(str, channels)])
        raise UserError(f"{path} holds {array.dtype} of shape {array.shape}: floats of shape ({wanted}) are due.")
    return _tensor(array.astype(np.float32))
