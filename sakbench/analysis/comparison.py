"""Is one row better than another? Paired differences with confidence intervals, over seeds and images or seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sakbench.analysis.gain import relative_improvement

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """By how much a second row's mean over `seeds` is above the first's, with the ends of its 95% interval; None where
    nothing can be said of them."""

    first: float
    second: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def mean(self) -> float:
        """The difference itself."""
        return self.second - self.first

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves zero out; never of one seed, which says nothing of another training."""
        return self.seeds > 1 and self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Draws:
    """Bootstrap draws of images, the same for every row, so that differences are paired.

    Each draw takes as many images as there are, with replacement.
    """

    def __init__(self, images: int, count: int = 1000, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.images = random.multinomial(images, np.full(images, 1 / images), size=count)

    def values(self, sums: Sequence[ArrayLike], reduce: Callable[[NDArray], float]) -> Floats:
        """Each seed's metric of each draw (seeds, draws). `sums` are each seed's sums by image (n, ...), `reduce` makes
        the metric of the sums (...) of a draw's images."""
        found = []
        for each in sums:
            values = np.asarray(each)
            drawn = (self.images @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
            found.append([reduce(one) for one in drawn])
        return np.array(found)


def of_images(first: ArrayLike, second: ArrayLike, drawn_first: Floats, drawn_second: Floats) -> Difference:
    """The difference of two rows from their values of the same seeds (n,) and of the draws of the images (n, draws).

    The paired gaps' variance over seeds, divided by n, is what another training would do. What other images would do to
    all trainings alike is the variance of the draws' mean over seeds, less what of it each seed has alone, which is in
    the first part. Student's interval of their sum has Welch and Satterthwaite's degrees of freedom: with three seeds
    it holds the truth in 92 to 95% of cases, where a bootstrap of the seeds would do so in three quarters. One seed has
    the images' interval alone.
    Raises `ValueError` where the numbers of seeds differ.
    """
    a, b = _paired(first, second)
    gaps, drawn, seeds = b - a, drawn_second - drawn_first, len(a)
    by_images = float(drawn.mean(0).var(ddof=1))
    by_seeds = 0.0
    if seeds > 1:
        by_seeds = float(gaps.var(ddof=1)) / seeds
        own = (float(drawn.var(1, ddof=1).mean()) - by_images) / (seeds - 1)
        by_images = max(0.0, by_images - own)
    variance = by_seeds + by_images
    # There are so many images that their part's freedom has no end.
    freedom = variance**2 / (by_seeds**2 / (seeds - 1)) if by_seeds else np.inf
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance)) if variance else 0.0
    mean = float(gaps.mean())
    return Difference(float(a.mean()), float(b.mean()), mean - reach, mean + reach, seeds)


def of_seeds(first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference of two rows from their values of the same seeds (n,), with Student's interval of the paired gaps.

    One seed has no interval, nor have gaps that no seed changes. Raises `ValueError` where the numbers of seeds differ.
    """
    a, b = _paired(first, second)
    gaps, low, high = b - a, None, None
    if len(a) > 1 and np.ptp(gaps) > 0:
        reach = stats.t.ppf((1 + LEVEL) / 2, len(a) - 1) * gaps.std(ddof=1) / np.sqrt(len(a))
        low, high = float(gaps.mean() - reach), float(gaps.mean() + reach)
    return Difference(float(a.mean()), float(b.mean()), low, high, len(a))


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape:
        raise ValueError(f"paired values are needed; here are {len(a)} and {len(b)}.")
    return a, b


def gains(values: Mapping[str, Floats], baseline: Mapping[str, Floats], higher_is_better: Mapping[str, bool]) -> Floats:
    """Δm of every draw or seed (n,), from each task's values (n,) and those of the baseline (Eq. 7)."""
    count = len(next(iter(values.values())))
    return np.array(
        [
            np.mean(
                list(
                    relative_improvement(
                        {task: each[i] for task, each in values.items()},
                        {task: baseline[task][i] for task in values},
                        higher_is_better,
                    ).values()
                )
            )
            for i in range(count)
        ]
    )


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
