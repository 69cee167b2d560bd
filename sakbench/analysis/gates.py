"""The routers' gates over seeds (paper Figures 4, 7 and 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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


@dataclass(frozen=True)
class Departures:
    """How far mean gates are from uniform, each (levels, tasks, experts): the mean over seeds minus 1 / experts, half
    the width of Student's 95% interval, and Holm's adjusted p-value over all gates of the report."""

    gap: Floats
    reach: Floats
    adjusted: Floats

    @property
    def beyond_noise(self) -> NDArray[np.bool_]:
        """Which gates' own intervals leave zero out."""
        return np.abs(self.gap) > self.reach

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Which of them stay so when all gates are looked at together, at a family-wise error of 5%."""
        return self.adjusted < 0.05


def departures(weights: ArrayLike) -> Departures:
    """Which gates of some seeds' `weights` (runs, levels, tasks, experts) differ from uniform beyond the seeds' noise.

    Raises `ValueError` for fewer than two seeds, which have no noise to be beyond.
    """
    values = np.asarray(weights, dtype=np.float64)
    runs, experts = len(values), values.shape[-1]
    if runs < 2:
        raise ValueError("one seed has no noise: gates of at least two are needed.")
    gap = values.mean(0) - 1 / experts
    error = values.std(0, ddof=1) / np.sqrt(runs)
    p = 2 * stats.t.sf(np.abs(gap) / np.maximum(error, 1e-12), runs - 1)
    order = np.argsort(p, axis=None)
    ranks = np.arange(p.size, 0, -1)
    stepped = np.minimum(1, np.maximum.accumulate(p.ravel()[order] * ranks))
    adjusted = np.empty(p.size)
    adjusted[order] = stepped
    return Departures(gap, stats.t.ppf(0.975, runs - 1) * error, adjusted.reshape(p.shape))
