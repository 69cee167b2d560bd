"""Features of frozen backbones on disk: a frozen teacher sees each image once, not once per epoch and student."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sakbench import whole
from sakbench.backbones.encoder import Encoder
from sakbench.data import miniworld
from sakbench.errors import UserError
from sakbench.training import kept
from sakbench.training.alone import alone
from sakbench.training.loop import Interrupted
from sakbench.training.scenes import images_tensor

Levels = list[np.ndarray]  # four arrays (n, h, w, d), float16, on disk

_BATCH = 50


def bank(
    name: str,
    encoder: Callable[[], Encoder],
    split: miniworld.Split,
    size: int,
    *,
    flipped: bool = False,
    summed: bool = False,
    report: Callable[[int, int], None] = lambda done, count: None,
    stop: Callable[[], bool] = lambda: False,
) -> Levels:
    """The four levels of a backbone on every image of `split` at `size` pixels: float16 (n, h, w, d) each, on disk.

    `name` says all of the backbone that its features depend on; `encoder` builds it if it is needed. With `flipped`
    the images are mirrored first. Half precision keeps three digits of un-normalised features and halves the files.
    What is on the disk is used if its sizes and, `summed`, its bytes agree with its manifest; otherwise it is computed
    again, which is told. Of several processes that need the same features one computes them. Raises `Interrupted` when
    `stop()` became true, and `UserError` where they cannot be written.
    """
    folder = kept.folder(name, split.checksum, size, flipped=flipped)
    if kept.trouble(folder, summed=summed):
        with alone(folder.with_name(f".{folder.name}.lock"), stop):
            if wrong := kept.trouble(folder, summed=summed):  # whoever waited here finds what the other one computed
                if folder.exists():
                    print(f"the features {folder} are computed again: {wrong}", file=sys.stderr, flush=True)
                _write(folder, encoder().eval(), split, size, flipped, report, stop)
    return _read(folder)


def _write(
    folder: Path,
    encoder: Encoder,
    split: miniworld.Split,
    size: int,
    flipped: bool,
    report: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> None:
    count = len(split.images)
    draft = whole.draft_of(folder)
    try:
        whole.clear(folder.parent)
        draft.mkdir()
        with torch.inference_mode():
            for first in range(0, count, _BATCH):
                if stop():
                    raise Interrupted
                rows = np.arange(first, min(first + _BATCH, count))
                images = images_tensor(split, rows, size)
                maps = encoder(images.flip(-1) if flipped else images)
                for level, features in zip(kept.LEVELS, maps, strict=True):
                    _append(draft / level, features, count)
                report(int(rows[-1]) + 1, count)
        kept.write_manifest(draft)
        whole.settle(draft, folder)
    except OSError as error:
        if kept.trouble(folder, summed=True) is None:
            return  # another process was faster, where the file system knows no locks
        raise UserError(
            f"features could not be written to {folder.parent} ({error.strerror}): make room there, or name another"
            " folder in SAKBENCH_CACHE."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _append(path: Path, features: Tensor, count: int) -> None:
    """Add maps (b, d, h, w) to the array file of `count` images."""
    values = features.permute(0, 2, 3, 1).half().numpy()
    new = not path.exists()
    with path.open("ab") as file:
        if new:
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": (count, *values.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(values.tobytes())


def _read(folder: Path) -> Levels:
    try:
        return [np.load(folder / level, mmap_mode="r") for level in kept.LEVELS]
    except (OSError, ValueError) as error:
        raise UserError(
            f"the features {folder} cannot be read ({error}): delete the folder to compute them again."
        ) from error
