"""Where features of frozen backbones are kept on the disk, and what they take of it (no torch here)."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sakbench.cache import cache_folder


def place() -> Path:
    """The folder of all features."""
    return cache_folder() / "features"


def folder(name: str, images: str, size: int, *, flipped: bool) -> Path:
    """The folder of one backbone's features of some images at `size` pixels.

    Its name holds a digest of `name`, which says all of the backbone that they depend on, and of the images' checksum.
    """
    digest = hashlib.sha256(f"{name} {size} {images}".encode()).hexdigest()[:16]
    readable = name.split()[0].replace("/", "-")
    return place() / f"{readable}-{digest}{'-flipped' if flipped else ''}"


def size_in_bytes(count: int, levels: Iterable[tuple[int, int, int]]) -> int:
    """What the features (h, w, d) of some levels take for `count` images in half precision, without files' headers."""
    return count * sum(height * width * dim for height, width, dim in levels) * np.dtype(np.float16).itemsize
