"""Features of frozen backbones on disk: a frozen teacher sees each image once, not once per epoch and student."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from sakbench import backbones
from sakbench.cache import cache_folder
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.training.loop import Interrupted
from sakbench.training.scenes import images_tensor

_BATCH = 50


def bank(
    backbone: str,
    split: miniworld.Split,
    *,
    flipped: bool = False,
    report: Callable[[int, int], None] = lambda done, count: None,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """The four levels' patch tokens of `backbone` on every image of `split`: float16 (n, 4, tokens, d), on disk.

    With `flipped` the images are mirrored first. Half precision keeps three digits of un-normalised features and
    halves the file. The file's name holds the digests of the weights and of the images; it is written under another
    name and renamed, so a file with this name is whole. Raises `Interrupted` when `stop()` became true.
    """
    path = _path(backbone, split, flipped)
    if path.exists():
        return _read(path)
    encoder = backbones.create(backbone).eval()
    count = len(split.images)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}-*"):  # by processes that were killed
            if not psutil.pid_exists(int(left.name.rpartition("-")[2])):
                left.unlink(missing_ok=True)
        with draft.open("wb") as file, torch.inference_mode():
            for first in range(0, count, _BATCH):
                if stop():
                    raise Interrupted
                rows = np.arange(first, min(first + _BATCH, count))
                images = images_tensor(split, rows, encoder.image_size[0])
                maps = encoder(images.flip(-1) if flipped else images)
                tokens = torch.stack([m.flatten(2).transpose(1, 2) for m in maps], dim=1).half().numpy()
                if first == 0:
                    header = {"descr": tokens.dtype.str, "fortran_order": False, "shape": (count, *tokens.shape[1:])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(tokens.tobytes())
                report(int(rows[-1]) + 1, count)
        draft.rename(path)
    except OSError as error:
        raise UserError(
            f"the features of {backbone} could not be written to {path.parent} ({error.strerror}): make room there, or"
            " name another folder in SAKBENCH_CACHE."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(
            f"the features {path} cannot be read ({error}): delete the file to compute it again."
        ) from error


def _path(backbone: str, split: miniworld.Split, flipped: bool) -> Path:
    digest = hashlib.sha256(f"{backbones.weights_digest(backbone)} {split.checksum}".encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{backbone}-{digest}{'-flipped' if flipped else ''}.npy"
