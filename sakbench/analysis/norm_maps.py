"""What a representation attends to: norms of its tokens, and how they change with an object (paper Figure 6)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Maps = NDArray[np.float64]

_OUTLYING = 3.0  # times an image's median norm


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


def shares(mask: ArrayLike, grid: tuple[int, int], extent: tuple[float, float] | None = None) -> Maps:
    """The share of each token's cell that a mask (n, H, W) covers, (n, h, w), to the exact fraction of a pixel.

    The grid covers the mask's first `extent` pixels, all of them if None. Raises `ValueError` for an extent beyond it.
    """
    values = np.asarray(mask, dtype=np.float64)
    for axis, cells in enumerate(grid, start=1):
        covered = values.shape[axis] if extent is None else extent[axis - 1]
        if not 0 < covered <= values.shape[axis] + 1e-9:
            raise ValueError(f"a grid that covers {covered:g} pixels is none of masks of {values.shape[1:]}.")
        values = _means(values, axis, np.linspace(0, covered, cells + 1))
    return values


def contrast(values: ArrayLike, share: ArrayLike, around: ArrayLike | None = None) -> NDArray[np.float64]:
    """Mean inside over mean around an object, (n,), of maps (n, h, w) whose cells lie inside with `share` (n, h, w).

    Around is what is not inside, or what lies there with the share `around`. 1 where the object makes no difference;
    NaN where it covers everything or nothing.
    """
    inside, outside = mean_of(values, share), mean_of(values, 1 - np.asarray(share) if around is None else around)
    with np.errstate(divide="ignore", invalid="ignore"):
        return inside / outside


def mean_of(values: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """The mean of maps (n, h, w) over cells that count with `share` (n, h, w), (n,); NaN where none does."""
    maps, weights = np.asarray(values, dtype=np.float64), np.asarray(share, dtype=np.float64)
    total = weights.sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, (maps * weights).sum((1, 2)) / total, np.nan)


def outliers(norms: ArrayLike) -> NDArray[np.bool_]:
    """Tokens of unusual norm, (n, h, w): more than three times the median of their image.

    Register-like artefacts (Darcet et al., 2024) have norms of several times the others'; the median knows no unit, so
    that one criterion serves all models.
    """
    values = np.asarray(norms, dtype=np.float64)
    return values > _OUTLYING * np.median(values, axis=(1, 2), keepdims=True)


def inside_share(change: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Of the squared change of an image's tokens (n, h, w), the share that lies inside the object, (n,); NaN if 0."""
    squared, inside = np.asarray(change, dtype=np.float64) ** 2, np.asarray(share, dtype=np.float64)
    total = squared.sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, (squared * inside).sum((1, 2)) / total, np.nan)


def _means(values: Maps, axis: int, edges: NDArray[np.float64]) -> Maps:
    """Means along an axis between edges that need not fall on pixels."""
    moved = np.moveaxis(values, axis, 0)
    total = np.concatenate([np.zeros_like(moved[:1]), moved.cumsum(0)])
    below = np.minimum(edges.astype(int), len(moved) - 1)
    part = (edges - below).reshape(-1, *[1] * (moved.ndim - 1))
    at_edges = total[below] + part * moved[below]
    widths = np.diff(edges).reshape(-1, *[1] * (moved.ndim - 1))
    return np.moveaxis(np.diff(at_edges, axis=0) / widths, 0, axis)


def _maps(features: ArrayLike) -> Maps:
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 4:
        raise ValueError(f"feature maps have the shape (n, d, h, w); this is {values.shape}.")
    return values
