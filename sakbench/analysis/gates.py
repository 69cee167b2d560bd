"""The routers' gates over seeds (paper Figures 4, 7 and 8)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def stacked(gates: Sequence[ArrayLike]) -> Floats:
    """The mean gates of several runs, each (levels, tasks, experts) with the stem first, as (runs, levels, ...).

    Raises `ValueError` where there is none, their shapes differ, or the experts of a task do not add up to 1.
    """
    shapes = {np.shape(one) for one in gates}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ValueError(f"gates of one shape (levels, tasks, experts) are needed; here are {sorted(shapes)}.")
    weights = np.asarray(gates, dtype=np.float64)
    if not np.allclose(weights.sum(-1), 1, atol=1e-3):
        raise ValueError("the gates of a task at a level are shares: they do not add up to 1.")
    return weights


def over_seeds(weights: ArrayLike) -> tuple[Floats, Floats | None]:
    """Mean and sample standard deviation over the first axis; no deviation of a single seed."""
    values = np.asarray(weights, dtype=np.float64)
    return values.mean(axis=0), values.std(axis=0, ddof=1) if len(values) > 1 else None
