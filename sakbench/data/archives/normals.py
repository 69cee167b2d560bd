"""Normals as archives store them, as unit vectors."""

import numpy as np
from numpy.typing import NDArray

from sakbench.data.archives.files import Array

IGNORE = 255
_NO_DIRECTION = 0.01  # the length of mid grey: bytes 127 or 128 in every channel are the nearest to a zero vector


def unit_normals(stored: Array, valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Stored (h, w, 3), bytes of (n + 1) / 2 or floats of n, as float32 unit vectors (3, h, w).

    255 in all channels where `valid` is false or where there is no direction: length zero, or not a number. The axes
    are the archive's own; only that x runs along the rows matters here, which a mirror negates.
    """
    vectors = stored.astype(np.float32)
    if stored.dtype == np.uint8:
        vectors = vectors * np.float32(2 / 255) - np.float32(1)
    length = np.sqrt((vectors**2).sum(-1))
    known = np.isfinite(length) & (length > _NO_DIRECTION) & (stored != IGNORE).any(-1)
    if valid is not None:
        known &= valid
    unit = vectors / np.where(known, length, 1)[..., None]
    return np.ascontiguousarray(np.where(known[..., None], unit, np.float32(IGNORE)).transpose(2, 0, 1))
