"""Predictions as files that `sakbench score` reads back."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sakbench.errors import UserError
from sakbench.tasks import LABEL_TASKS, info

_MILLIMETRES, _DEEPEST = 1000, 65535  # 16 bits


def as_pixels(task: str, prediction: Tensor) -> NDArray[np.unsignedinteger]:
    """A decoded prediction of one image as a PNG's pixels.

    Class numbers; saliency times 255, rounded; boundary times 255, cut as the field cuts it; normals (3, h, w) as RGB
    of (n + 1) * 127.5; depth in whole millimetres, 16 bits, at most 65.535 m. Raises UserError for an unknown task.
    """
    info(task)
    values = prediction.detach().cpu().numpy()
    if task in LABEL_TASKS:
        return values.astype(np.uint8)
    if task == "boundary":
        return (255 * values).astype(np.uint8)
    if task == "saliency":
        return np.rint(255 * values).astype(np.uint8)
    if task == "normals":
        return np.rint((values.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return np.rint(values * _MILLIMETRES).clip(0, _DEEPEST).astype(np.uint16)


def write_png(path: Path, pixels: NDArray[np.unsignedinteger]) -> None:
    """A PNG, whole or not at all. Raises UserError if it cannot be written."""
    draft = path.with_name(f".draft-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                Image.fromarray(pixels).save(file, format="PNG")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): name another folder, or make room.") from error
