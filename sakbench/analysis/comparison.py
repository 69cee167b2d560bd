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
    """By how much a second row's mean over seeds is above the first's, with the ends of its 95% interval; None where
    nothing can be said of them."""

    first: float
    second: float
    low: float | None
    high: float | None

    @property
    def mean(self) -> float:
        """The difference itself."""
        return self.second - self.first

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Draws:
    """Bootstrap draws of images and seeds, the same for every row and task, so that differences are paired.

    Each draw takes as many images, and as many seeds, as there are, with replacement: a seed is another training, an
    image another test.
    """

    def __init__(self, images: int, seeds: int, count: int = 1000, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.images = random.multinomial(images, np.full(images, 1 / images), size=count)
        self.seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds

    def values(self, sums: Sequence[ArrayLike], reduce: Callable[[NDArray], float]) -> Floats:
        """Each draw's metric (draws,), mean over its seeds. `sums` are each seed's sums by image (n, ...), `reduce`
        makes the metric of the sums (...) of a draw's images."""
        found = np.zeros(len(self.images))
        for number, each in enumerate(sums):
            values = np.asarray(each)
            drawn = (self.images @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
            chosen = self.seeds[:, number] > 0
            found[chosen] += self.seeds[chosen, number] * [reduce(one) for one in drawn[chosen]]
        return found


def of_draws(first: float, second: float, drawn_first: Floats, drawn_second: Floats) -> Difference:
    """The difference of two rows whose means are these, with the percentile interval of the draws."""
    ends = np.quantile(drawn_second - drawn_first, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(first, second, float(ends[0]), float(ends[1]))


def of_seeds(first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference of two rows from their values of the same seeds, with Student's interval of the paired gaps.

    One seed has no interval. Raises `ValueError` where the numbers of seeds differ.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape:
        raise ValueError(f"paired values are needed; here are {len(a)} and {len(b)}.")
    low = high = None
    if len(a) > 1:
        gaps = b - a
        reach = stats.t.ppf((1 + LEVEL) / 2, len(a) - 1) * gaps.std(ddof=1) / np.sqrt(len(a))
        low, high = float(gaps.mean() - reach), float(gaps.mean() + reach)
    return Difference(float(a.mean()), float(b.mean()), low, high)


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
