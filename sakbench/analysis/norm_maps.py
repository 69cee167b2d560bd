"""What a representation attends to: norms of its tokens, and how they change with an object (paper Figure 6)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Maps = NDArray[np.float64]


def norm_maps(features: ArrayLike) -> Maps:
    """The L2 norm of every token, (n, h, w), of maps (n, d, h, w)."""
    return np.linalg.norm(_maps(features), axis=1)


def changes(before: ArrayLike, after: ArrayLike) -> Maps:
    """How far each token moves, (n, h, w), between two sets of maps (n, d, h, w).

    The unit is the root mean square norm of an image's tokens before and after, so that models compare.
    Raises `ValueError` for shapes that differ.
    """
    first, second = _maps(before), _maps(after)
    if first.shape != second.shape:
        raise ValueError(f"maps to compare have the shapes {first.shape} and {second.shape}.")
    size = np.sqrt(((first**2).sum(1) + (second**2).sum(1)).mean((1, 2)) / 2)
    if not size.all():
        raise ValueError("tokens that are zero everywhere have no change to be measured.")
    return np.linalg.norm(second - first, axis=1) / size[:, None, None]


def shares(mask: ArrayLike, grid: tuple[int, int]) -> Maps:
    """The share of each token's cell that a mask (n, H, W) covers, (n, h, w).

    Raises `ValueError` where the grid does not divide the mask.
    """
    values = np.asarray(mask, dtype=np.float64)
    _, height, width = values.shape
    if height % grid[0] or width % grid[1]:
        raise ValueError(f"a grid of {grid} does not divide masks of {(height, width)}.")
    return values.reshape(len(values), grid[0], height // grid[0], grid[1], width // grid[1]).mean((2, 4))


def contrast(values: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Mean inside over mean outside an object, (n,), of maps (n, h, w) whose cells lie inside with `share` (n, h, w).

    1 where the object makes no difference; NaN where it covers everything or nothing.
    """
    maps, inside = np.asarray(values, dtype=np.float64), np.asarray(share, dtype=np.float64)
    within, around = inside.sum((1, 2)), (1 - inside).sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ((maps * inside).sum((1, 2)) / within) / ((maps * (1 - inside)).sum((1, 2)) / around)
    return np.where((within > 0) & (around > 0), ratio, np.nan)


def inside_share(change: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Of the squared change of an image's tokens (n, h, w), the share that lies inside the object, (n,); NaN if 0."""
    squared, inside = np.asarray(change, dtype=np.float64) ** 2, np.asarray(share, dtype=np.float64)
    total = squared.sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, (squared * inside).sum((1, 2)) / total, np.nan)


def _maps(features: ArrayLike) -> Maps:
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 4:
        raise ValueError(f"feature maps have the shape (n, d, h, w); this is {values.shape}.")
    return values
