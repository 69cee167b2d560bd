"""What goes in: maps of one image as NumPy arrays, checked once at every door."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sakbench.errors import UserError

BoolMap = NDArray[np.bool_]
ByteMap = NDArray[np.uint8]


def require_map(name: str, array: Any, dtype: type, dimensions: int = 2) -> None:
    """Raise UserError unless `array` is a NumPy array of that type and number of dimensions, of at least one pixel."""
    if not isinstance(array, np.ndarray):
        raise UserError(f"{name} is a {type(array).__name__}, not a NumPy array.")
    wanted = np.dtype(dtype)
    if array.dtype != wanted:
        raise UserError(
            f"{name} holds {array.dtype}, not {wanted}: convert it first, so that nothing is rounded unseen."
        )
    if array.ndim != dimensions or 0 in array.shape:
        raise UserError(f"{name} has the shape {array.shape}; it takes {dimensions} dimensions and at least one pixel.")
