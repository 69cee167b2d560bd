"""Features of frozen backbones on disk: a frozen teacher sees each image once, not once per epoch and student."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from sakbench import backbones
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
        return np.load(path, mmap_mode="r")
    encoder = backbones.create(backbone).eval()
    count = len(split.images)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft.npy")
    features: np.memmap | None = None
    try:
        with torch.inference_mode():
            for first in range(0, count, _BATCH):
                if stop():
                    draft.unlink(missing_ok=True)
                    raise InterruptedError
                rows = np.arange(first, min(first + _BATCH, count))
                images = images_tensor(split, rows, encoder.image_size[0])
                maps = encoder(images.flip(-1) if flipped else images)
                tokens = torch.stack([m.flatten(2).transpose(1, 2) for m in maps], dim=1).half().numpy()
                if features is None:
                    features = open_memmap(draft, mode="w+", dtype=np.float16, shape=(count, *tokens.shape[1:]))
                features[rows] = tokens
                report(int(rows[-1]) + 1, count)
        assert features is not None
        features.flush()
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(
            f"the features of {backbone} could not be written to {path.parent} ({error.strerror}): make room there, or"
            " name another folder in SAKBENCH_CACHE."
        ) from error
    return np.load(path, mmap_mode="r")


def _path(backbone: str, split: miniworld.Split, flipped: bool) -> Path:
    digest = hashlib.sha256(f"{backbones.weights_digest(backbone)} {split.checksum}".encode()).hexdigest()[:16]
    return miniworld.cache_folder() / "features" / f"{backbone}-{digest}{'-flipped' if flipped else ''}.npy"
